//! The drill: pings and tasks, while hosts are killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentry_testbed::conversation::{BEHAVIOURS, Conversation, Question, Tally};
use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::{Engine, Fleet, Place, SHARDS, setup};
use agentry_testbed::process::Process;
use agentry_testbed::world::Setup;
use agentry_testbed::{PATIENCE, is_interrupted, pause, until, within};
use clap::Args;
use serde_json::json;

use super::Common;
use super::progress::{Progress, grouped, median_and_worst, show};
use super::table;

/// How long the messages between two kills are spread over: longer than it takes until others answer.
const PART: Duration = Duration::from_secs(6);

/// The latest moment of a kill, within the messages of its part.
const LATEST: Duration = Duration::from_millis(1_500);

/// The host processes, and those that run tasks.
const HOSTS: usize = 3;
const WORKERS: [&str; 2] = ["gpu1", "gpu2"];

/// After everything is answered, the number of blocks in which nothing may happen.
const QUIET: u64 = 20;

/// What is sent, and how often hosts are killed.
#[derive(Clone, Debug, Args)]
pub(super) struct DrillOptions {
    /// How many pings are sent
    #[arg(long, default_value_t = 1_000)]
    pings: usize,
    /// How many tasks are sent, which workers run
    #[arg(long, default_value_t = 100)]
    tasks: usize,
    /// How often a host is killed; each kill takes some ten seconds
    #[arg(long, default_value_t = 5)]
    kills: usize,
}

/// Messages that are sent, spread over some time, on a thread of their own.
struct Sending {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sending {
    fn begin(conversation: &Arc<Conversation>, questions: Vec<Question>, mut dice: Dice) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (conversation, ended) = (Arc::clone(conversation), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            // The mean of random pauses is half of the longest.
            let longest = PART * 2 / u32::try_from(questions.len().max(1)).unwrap();
            let mut looked = Instant::now();
            for question in questions {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                conversation.ask_for(question, &mut dice);
                std::thread::sleep(dice.up_to(longest));
                if looked.elapsed() > Duration::from_secs(1) {
                    conversation.repost();
                    looked = Instant::now();
                }
            }
        });
        Self {
            end,
            thread: Some(thread),
        }
    }

    /// Waits until all are sent.
    fn finish(mut self) {
        until("the messages are sent", || {
            self.thread.as_ref().is_none_or(JoinHandle::is_finished)
        });
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // What failed is reported already.
            drop(thread.join());
        }
    }
}

/// What a drill has shown.
struct Outcome {
    seed: u64,
    tallies: BTreeMap<Question, Tally>,
    strays: usize,
    destroyed: usize,
    killed: usize,
    claims: u64,
    after_kills: Vec<Duration>,
    took: Duration,
}

/// Runs the drill and prints the table. Returns whether everything was answered once.
pub(super) fn run(options: &DrillOptions, common: &Common) -> bool {
    let progress = Progress::begin();
    let seed = common.seed.unwrap_or_else(Dice::any_seed);
    progress.say(&format!("seed {seed} (--seed {seed} repeats the choices)"));
    let mut drill = Drill::set(options, common, seed, progress);
    let after_kills = drill.kill_hosts(options);
    drill.settle();
    let outcome = drill.finish(seed, after_kills);
    outcome.print(common.json);
    outcome.is_good()
}

/// A cluster, and what is sent to it.
struct Drill {
    workers: Vec<Process>,
    fleet: Fleet,
    conversation: Arc<Conversation>,
    dice: Dice,
    progress: Progress,
    /// Those with which the drill begins.
    epochs: u64,
}

fn epochs(places: &[Place]) -> u64 {
    places.iter().map(|place| place.epoch).sum()
}

/// The numbers of the shards that a host owns.
fn shards(places: &[Place], host: &str) -> String {
    let owned = places.iter().enumerate();
    let owned = owned.filter(|(_, place)| place.owner == host);
    let numbers: Vec<_> = owned.map(|(shard, _)| shard.to_string()).collect();
    match numbers.len() {
        0 => "no shard".to_owned(),
        1 => format!("shard {}", numbers[0]),
        _ => format!("shards {}", numbers.join(" and ")),
    }
}

impl Drill {
    fn set(options: &DrillOptions, common: &Common, seed: u64, progress: Progress) -> Self {
        let mut dice = Dice::of(seed);
        let setup = Setup {
            // One wallet for each message; each kill sends a ping of its own.
            senders: options.pings + options.tasks + options.kills,
            behaviours: BEHAVIOURS,
            tables: "[tasks]\non_workers = [\"shout\"]\n",
            log: None,
            dir: common.dir.clone(),
            keep: common.keep,
            ..setup()
        };
        let agents = setup.agents;
        let engine = Engine::own();
        progress.say(&format!(
            "PostgreSQL: a primary on port {}, its synchronous standby on port {}",
            engine.primary.port(),
            engine.standby.port()
        ));
        let mut fleet = Fleet::new("the drill", &mut dice, setup, engine);
        progress.say(&format!(
            "node: {}, a block every {}; {agents} agents in {SHARDS} shards",
            fleet.world.chain.url(),
            show(fleet.world.chain.block_time())
        ));
        if common.keep {
            progress.say(&format!("files: {}", fleet.world.path().display()));
        }
        for name in Fleet::names(HOSTS) {
            fleet.start(&name, &[]);
        }
        let workers = WORKERS.iter().map(|name| fleet.worker(name)).collect();
        fleet.await_places();
        let places = fleet.places();
        for name in fleet.running() {
            progress.say(&format!("host {name} owns {}", shards(&places, &name)));
        }
        progress.say(&format!("workers {} take tasks", WORKERS.join(" and ")));
        Self {
            workers,
            conversation: Arc::new(Conversation::plain(&fleet.world)),
            fleet,
            dice,
            progress,
            epochs: epochs(&places),
        }
    }

    /// Sends everything, and kills hosts meanwhile. Returns how long it took each time until others
    /// answered.
    fn kill_hosts(&mut self, options: &DrillOptions) -> Vec<Duration> {
        // Each kill has a ping of its own.
        let free = options.pings.saturating_sub(options.kills);
        let all = free + options.tasks;
        let question = |at: usize| match (at * options.tasks) % all < options.tasks {
            true => Question::Job,
            false => Question::Ping,
        };
        let questions: Vec<_> = (0..all).map(question).collect();
        let parts = options.kills + 1;
        let mut after_kills = Vec::new();
        for (part, questions) in questions.chunks(all.div_ceil(parts).max(1)).enumerate() {
            let dice = self.dice.fork();
            let sending = Sending::begin(&self.conversation, questions.to_vec(), dice);
            let victim = (part < options.kills).then(|| {
                pause(self.dice.up_to(LATEST));
                let (name, took) = self.kill_one();
                after_kills.push(took);
                name
            });
            sending.finish();
            self.tell();
            if let Some(name) = victim {
                self.fleet.start(&name, &[]);
                self.fleet.await_places();
                let places = self.fleet.places();
                let owned = shards(&places, &name);
                self.progress
                    .say(&format!("host {name} was started again, and owns {owned}"));
            }
        }
        after_kills
    }

    /// Kills a host, and waits until others answer its agents.
    fn kill_one(&mut self) -> (String, Duration) {
        let names = self.fleet.running();
        let name = names[self.dice.below(names.len())].clone();
        let before = self.fleet.places();
        let killed = self.fleet.kill_owner(&name);
        self.progress.say(&format!(
            "kill -9 of host {name}, which owned {}",
            shards(&before, &name)
        ));
        let agent = self.dice.pick(&killed.agents);
        self.conversation
            .ask_of(agent, Question::Ping, &mut self.dice);
        let took = killed.await_answer(&self.fleet);
        let after = self.fleet.places();
        let moved = before.iter().zip(&after).enumerate();
        let moved = moved.filter(|(_, (old, new))| old.epoch != new.epoch);
        let claims: Vec<_> = moved
            .map(|(shard, (_, new))| format!("shard {shard} by {}", new.owner))
            .collect();
        self.progress.say(&format!(
            "answered from elsewhere after {}; claimed: {}",
            show(took),
            claims.join(", ")
        ));
        (name, took)
    }

    fn tell(&self) {
        let tallies = self.conversation.tally();
        let sum = |of: fn(&Tally) -> usize| tallies.values().map(of).sum::<usize>();
        let (sent, once) = (sum(|tally| tally.sent), sum(|tally| tally.once));
        self.progress.say(&format!(
            "{} messages sent, {} answered",
            grouped(sent),
            grouped(once)
        ));
    }

    /// Waits until everything is answered, or until that takes too long.
    fn settle(&self) {
        let mut told = Instant::now();
        within(PATIENCE, || {
            if told.elapsed() > Duration::from_secs(2) {
                self.tell();
                self.conversation.repost();
                told = Instant::now();
            }
            pause(Duration::from_millis(100));
            let tallies = self.conversation.tally();
            tallies.values().all(|tally| tally.open == 0).then_some(())
        });
        let chain = &self.fleet.world.chain;
        chain.await_blocks(chain.head(), QUIET);
    }

    /// Stops all processes, and reads chain, logs and tables.
    fn finish(mut self, seed: u64, after_kills: Vec<Duration>) -> Outcome {
        self.progress.say("stopping the hosts and the workers");
        self.fleet.await_places();
        let claims = epochs(&self.fleet.places()) - self.epochs;
        self.fleet.stop();
        for worker in std::mem::take(&mut self.workers) {
            worker.stop();
        }
        self.progress
            .say("reading the chain, the logs and the tables of every host");
        let chain = &self.fleet.world.chain;
        chain.await_blocks(chain.head(), QUIET);
        let ours = self.conversation.hashes();
        let mut destroyed = chain.destroyed();
        destroyed.retain(|hash| !ours.contains(hash));
        self.fleet.check();
        Outcome {
            seed,
            tallies: self.conversation.tally(),
            strays: self.conversation.strays().len(),
            destroyed: destroyed.len(),
            killed: after_kills.len(),
            claims,
            after_kills,
            took: self.progress.elapsed(),
        }
    }
}

impl Outcome {
    fn is_good(&self) -> bool {
        let all = self.tallies.values();
        let (sent, once) = all.fold((0, 0), |(sent, once), tally| {
            (sent + tally.sent, once + tally.once)
        });
        sent == once && self.strays == 0 && self.destroyed == 0 && !is_interrupted()
    }

    fn of(&self, question: Question) -> Tally {
        self.tallies.get(&question).copied().unwrap_or_default()
    }

    fn print(&self, as_json: bool) {
        let kinds = [("pings", Question::Ping), ("tasks", Question::Job)];
        if as_json {
            let count = |question| {
                let tally = self.of(question);
                json!({ "sent": tally.sent, "answered_once": tally.once, "lost": tally.open,
                        "wrong": tally.wrong })
            };
            let seconds: Vec<_> = self.after_kills.iter().map(Duration::as_secs_f64).collect();
            let report = json!({
                "seed": self.seed,
                "pings": count(Question::Ping),
                "tasks": count(Question::Job),
                "unasked": self.strays,
                "blocks_destroyed": self.destroyed,
                "hosts_killed": self.killed,
                "claims": self.claims,
                "kill_to_answer_s": seconds,
                "took_s": self.took.as_secs_f64(),
                "ok": self.is_good(),
            });
            println!("{report:#}");
            return;
        }
        println!();
        let rows = kinds.map(|(name, question)| {
            let Tally {
                sent,
                once,
                open,
                wrong,
            } = self.of(question);
            let numbers = [sent, once, open, wrong].map(grouped);
            [vec![name.to_owned()], numbers.to_vec()].concat()
        });
        table::print(
            &["", "SENT", "ANSWERED ONCE", "LOST", "TWICE OR WRONG"],
            &rows,
        );
        println!();
        let times = match median_and_worst(&self.after_kills) {
            Some((median, worst)) => format!("median {}, worst {}", show(median), show(worst)),
            None => "-".to_owned(),
        };
        let facts = [
            ("hosts killed", self.killed.to_string()),
            (
                "claims of shards, also by hosts that came back",
                self.claims.to_string(),
            ),
            ("from a kill to the first answer from elsewhere", times),
            (
                "messages that nobody had asked for",
                self.strays.to_string(),
            ),
            (
                "blocks destroyed by posting again",
                self.destroyed.to_string(),
            ),
            ("logs and tables of every host", "the same".to_owned()),
            ("time", format!("{} s", self.took.as_secs())),
        ];
        for (what, value) in facts {
            println!("{what:<48}{value}");
        }
        println!();
        match self.is_good() {
            true => println!("ok: each message was answered once"),
            false => println!(
                "FAILED: not each message was answered once (seed {})",
                self.seed
            ),
        }
    }
}
