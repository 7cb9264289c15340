//! Hosts and servers fail under a flow of pings: some thirty a second, to twelve agents.

use std::time::Duration;

use agentry_testbed::fleet::logs::silences;
use agentry_testbed::fleet::rounds::Rounds;
use agentry_testbed::fleet::{Engine, Fleet, PACE};
use agentry_testbed::until;
use agentry_testbed::world::Setup;

use super::{Bench, Figure};
use crate::progress::{grouped, median_and_worst, show};

/// How many hosts the clusters have.
const HOSTS: usize = 3;

/// The senders of a flow: each pings once.
fn senders(seconds: usize) -> usize {
    // Thirty-three a second, with something to spare.
    500 + 40 * seconds
}

impl Bench<'_> {
    /// A cluster of so many hosts that are started with these variables, and the seconds for which there
    /// are senders.
    fn fleet(&mut self, hosts: usize, variables: &[(&str, &str)], seconds: usize) -> Fleet {
        let setup = Setup {
            senders: senders(seconds),
            ..self.setup()
        };
        let mut fleet = Fleet::new("measure", &mut self.dice, setup, Engine::own());
        for name in Fleet::names(hosts) {
            fleet.start(&name, variables);
        }
        fleet.await_places();
        fleet
    }

    /// The time from the SIGKILL of a host to the first answer from elsewhere.
    pub(super) fn kill(&mut self) -> Vec<Figure> {
        let mut times = Vec::new();
        while times.len() < self.options.kills {
            // Long lives of a chain make the audit slow.
            let next = 20.min(self.options.kills - times.len());
            let mut fleet = self.fleet(HOSTS, &[], next * 20);
            let flow = fleet.world.flow(self.dice.fork(), PACE);
            for _ in 0..next {
                fleet.await_places();
                let names = fleet.running();
                let name = names[self.dice.below(names.len())].clone();
                fleet.await_answer(&fleet.agents_of(&name), fleet.world.chain.head());
                let took = fleet.kill_and_await_answer(&name);
                times.push(took);
                self.progress.say(&format!(
                    "kill {} of {}: answered after {}",
                    times.len(),
                    self.options.kills,
                    show(took)
                ));
                fleet.start(&name, &[]);
            }
            flow.stop();
            fleet.world.settle();
            fleet.await_places();
            fleet.finish();
        }
        let Some((median, worst)) = median_and_worst(&times) else {
            return Vec::new();
        };
        let what = "SIGKILL of a host under load → first answer from elsewhere";
        vec![
            Figure::new(
                format!("{what}, median of {}", times.len()),
                show(median),
                "≤ 3.5 s",
                median <= Duration::from_millis(3_500),
            ),
            Figure::new(
                format!("the same, worst of {}", times.len()),
                show(worst),
                "≤ 5 s",
                worst <= Duration::from_secs(5),
            ),
        ]
    }

    /// How long agents are silent while their shard is handed over and comes back.
    pub(super) fn moves(&mut self) -> Vec<Figure> {
        let mut fleet = self.fleet(HOSTS, &[], self.options.moves * 20);
        let flow = fleet.world.flow(self.dice.fork(), PACE);
        for at in 0..self.options.moves {
            let names = fleet.running();
            let name = &names[at % names.len()];
            fleet.await_answer(&fleet.agents_of(name), fleet.world.chain.head());
            let order = |order| {
                let output = fleet.command(name, &["cluster", order]).output().unwrap();
                assert!(output.status.success(), "cluster {order}: {output:?}");
            };
            order("drain");
            until("a drained host owns nothing", || {
                let places = fleet.places();
                places
                    .iter()
                    .all(|place| !place.owner.is_empty() && place.owner != *name)
            });
            order("resume");
            fleet.await_places();
        }
        let logs = fleet.hosts.iter_mut().map(|host| host.runtime().log());
        let silences = silences(&logs.collect::<String>());
        flow.stop();
        fleet.world.settle();
        fleet.finish();
        let Some((median, worst)) = median_and_worst(&silences) else {
            return Vec::new();
        };
        let aim = Duration::from_millis(500);
        let what = "planned move of a shard (drain, join): its agents are silent for";
        vec![
            Figure::new(
                format!("{what}, median of {}", silences.len()),
                show(median),
                "≤ 0.5 s",
                median <= aim,
            ),
            Figure::new(
                format!("the same, worst of {}", silences.len()),
                show(worst),
                "≤ 0.5 s",
                worst <= aim,
            ),
        ]
    }

    /// What is lost or answered twice. The audit panics if anything is.
    pub(super) fn rounds(&mut self) -> Vec<Figure> {
        let setup = self.setup();
        let rounds = Rounds::run("measure", &mut self.dice, &setup, self.options.rounds);
        let mut figures = vec![Figure::new(
            format!(
                "lost / twice over {} rounds of kill, stop, cut, promote ({} pings)",
                rounds.done,
                grouped(rounds.answered)
            ),
            "0 / 0",
            "0 / 0",
            true,
        )];
        for (what, times) in [
            ("kills", &rounds.after_kills),
            ("promotions", &rounds.after_promotions),
        ] {
            if let Some((median, worst)) = median_and_worst(times) {
                figures.push(Figure::only(
                    format!("{} {what} in these rounds → first answer", times.len()),
                    format!("median {}, worst {}", show(median), show(worst)),
                ));
            }
        }
        figures
    }

    /// What owners do that go on past their leases, since no kernel timer ends them.
    pub(super) fn zombie(&mut self) -> Vec<Figure> {
        let timer = [("AGENTRY_KERNEL_TIMER", "off")];
        let mut fleet = self.fleet(2, &timer, self.options.zombies * 20);
        let flow = fleet.world.flow(self.dice.fork(), PACE);
        let (mut commits, mut posts) = (0, 0);
        for at in 0..self.options.zombies {
            let names = fleet.running();
            let name = &names[at % names.len()];
            fleet.await_answer(&fleet.agents_of(name), fleet.world.chain.head());
            agentry_testbed::pause(self.dice.up_to(fleet.world.chain.block_time() * 3));
            let zombie = fleet.freeze_past_lease(name);
            // It counts all that there are.
            commits = zombie.commits;
            posts += zombie.posts;
        }
        flow.stop();
        fleet.world.settle();
        fleet.finish();
        vec![Figure::new(
            format!(
                "commits / POSTs by an owner resumed past its lease, {} times",
                self.options.zombies
            ),
            format!("{commits} / {posts}"),
            "0 / 0",
            commits == 0 && posts == 0,
        )]
    }

    /// The time from the moment when the promoted standby takes writes to the first answer.
    pub(super) fn primary(&mut self) -> Vec<Figure> {
        let mut fleet = self.fleet(2, &[], self.options.failovers * 30);
        let flow = fleet.world.flow(self.dice.fork(), PACE);
        let mut times = Vec::new();
        for _ in 0..self.options.failovers {
            fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
            let took = fleet.fail_over_and_await_answer();
            self.progress
                .say(&format!("answered {} after the promotion", show(took)));
            times.push(took);
            fleet.restore_standby();
            fleet.await_places();
        }
        flow.stop();
        fleet.world.settle();
        fleet.finish();
        let Some((median, worst)) = median_and_worst(&times) else {
            return Vec::new();
        };
        let aim = Duration::from_secs(2);
        let what = "primary killed → answers again, after the engine takes writes";
        vec![
            Figure::new(
                format!("{what}, median of {}", times.len()),
                show(median),
                "≤ 2 s",
                median <= aim,
            ),
            Figure::new(
                format!("the same, worst of {}", times.len()),
                show(worst),
                "≤ 2 s",
                worst <= aim,
            ),
        ]
    }
}
