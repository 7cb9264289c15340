//! Two workers, one job; the worker that runs it is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_testbed::conversation::{Conversation, Question};
use agentry_testbed::fleet::{Engine, Fleet};
use agentry_testbed::until;
use agentry_testbed::world::Setup;

use super::{Bench, Figure};
use crate::progress::{median_and_worst, show};

/// A job that takes two seconds.
const BEHAVIOURS: &str = r#"{ kind = "tasks", allow = ["*"], types = { shout = { executor = "command",
    program = "sh", args = ["-c", "sleep 2; tr a-z A-Z"], attempts = 3, concurrency = 4 } } }"#;

/// After the result, the number of blocks in which no other one may follow.
const QUIET: u64 = 60;

impl Bench<'_> {
    pub(super) fn workers(&mut self) -> Vec<Figure> {
        let setup = Setup {
            senders: self.options.workers + 1,
            behaviours: BEHAVIOURS,
            tables: "[tasks]\non_workers = [\"shout\"]\n",
            ..self.setup()
        };
        let mut fleet = Fleet::new("measure", &mut self.dice, setup, Engine::own());
        for name in Fleet::names(2) {
            fleet.start(&name, &[]);
        }
        fleet.await_places();
        let conversation = Conversation::plain(&Arc::clone(&fleet.world));
        let once = || {
            let tallies = conversation.tally();
            let tally = tallies.get(&Question::Job).copied().unwrap_or_default();
            assert_eq!(tally.wrong, 0, "a result that is wrong, or there twice");
            tally.once
        };
        let mut times = Vec::new();
        for at in 0..self.options.workers {
            let workers = [0, 1].map(|worker| fleet.worker(&format!("gpu{at}{worker}")));
            conversation.ask_for(Question::Job, &mut self.dice);
            let runs = |worker: &agentry_testbed::process::Process| {
                worker.log().contains("running a task")
            };
            until("a worker runs the job", || workers.iter().any(runs));
            let [one, two] = workers;
            let (first, _second) = if runs(&one) { (one, two) } else { (two, one) };
            first.kill();
            let since = Instant::now();
            until("the job has its result", || once() == at + 1);
            times.push(since.elapsed());
            self.progress.say(&format!(
                "the result came {} after the worker was killed",
                show(since.elapsed())
            ));
        }
        let chain = &fleet.world.chain;
        chain.await_blocks(chain.head(), QUIET);
        assert_eq!(once(), times.len());
        fleet.stop();
        fleet.check();
        let Some((_, worst)) = median_and_worst(&times) else {
            return Vec::new();
        };
        vec![Figure::new(
            format!(
                "two workers, one job of 2 s, worker killed: one result on chain, worst of {}",
                times.len()
            ),
            show(worst),
            "≤ 15 s",
            worst <= Duration::from_secs(15),
        )]
    }
}
