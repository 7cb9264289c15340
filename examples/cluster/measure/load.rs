//! Processor time of a message under load: on one machine, in a cluster of one host, and in one of two
//! hosts, each of which follows what the other owns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agentry_testbed::chain::open;
use agentry_testbed::fleet::{Engine, Fleet};
use agentry_testbed::postgres::Server;
use agentry_testbed::process::Process;
use agentry_testbed::world::{Setup, World};
use agentry_testbed::{PATIENCE, pause, until, within};

use super::{Bench, Figure};
use crate::progress::{grouped, show};

/// How many messages are answered before anything is measured.
const WARM: usize = 200;

/// How long the processor time without messages is measured.
const IDLE: Duration = Duration::from_secs(3);

/// Until everything about a message is stored, after its answer is mined: `final_depth` blocks, and some.
const REST: u64 = 14;

/// What a load has cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Processor time of all hosts for each message.
    hosts: Duration,
    /// The same of the primary's processes, and of the standby's.
    primary: Duration,
    standby: Duration,
    /// Processor time of all hosts in a second without messages.
    idle: Duration,
    /// From the first block until the last answer was mined.
    took: Duration,
    /// The appends for each message.
    records: f64,
}

/// The transactions of the agents that are mined: their answers.
fn answers(world: &World) -> usize {
    let db = open(&world.chain.db());
    let mine: Vec<_> = world
        .agents
        .iter()
        .map(|agent| format!("'{}'", agent.address))
        .collect();
    let sql = format!(
        "SELECT count(*) FROM \"transaction\" WHERE sender IN ({})",
        mine.join(",")
    );
    let count: i64 = db.query_row(&sql, [], |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}

fn sum<'a>(hosts: impl IntoIterator<Item = &'a Process>) -> Duration {
    hosts.into_iter().map(Process::processor_time).sum()
}

/// Their processor time by the names of their threads.
fn by_thread(hosts: &[&Process]) -> BTreeMap<String, Duration> {
    let mut all: BTreeMap<String, Duration> = BTreeMap::new();
    for (name, time) in hosts
        .iter()
        .flat_map(|host| host.processor_time_by_thread())
    {
        *all.entry(name).or_default() += time;
    }
    all
}

/// Has so many pings answered.
fn answer(world: &World, pings: usize, dice: &mut agentry_testbed::dice::Dice) {
    let before = answers(world);
    for _ in 0..pings {
        world.ping(dice.below(world.agents.len()));
    }
    world.chain.resume();
    let mut done = 0;
    let answered = within(PATIENCE * 3, || {
        pause(Duration::from_millis(40));
        done = answers(world) - before;
        (done >= pings).then_some(())
    });
    assert!(answered.is_some(), "{done} of {pings} pings were answered");
}

impl Bench<'_> {
    fn load_setup(&self) -> Setup {
        Setup {
            senders: WARM + self.options.messages,
            ..self.setup()
        }
    }

    /// Puts a load on hosts, which run.
    fn cost(&mut self, world: &World, hosts: &[&Process], fleet: Option<&Fleet>) -> Cost {
        let mut dice = self.dice.fork();
        answer(world, WARM, &mut dice);
        world.chain.await_blocks(world.chain.head(), REST);
        let before = sum(hosts.iter().copied());
        pause(IDLE);
        let idle = (sum(hosts.iter().copied()) - before).div_f64(IDLE.as_secs_f64());
        world.chain.pause();
        let messages = self.options.messages;
        let before_posting = answers(world);
        for _ in 0..messages {
            world.ping(dice.below(world.agents.len()));
        }
        let servers = |fleet: &Fleet| {
            let engine = &fleet.engine;
            [&engine.primary, &engine.standby].map(Server::processor_time)
        };
        let records = |fleet: &Fleet| fleet.places().iter().map(|place| place.head).sum::<u64>();
        let database = fleet.map(|fleet| (records(fleet), servers(fleet)));
        let threads = by_thread(hosts);
        let (before, since) = (sum(hosts.iter().copied()), Instant::now());
        world.chain.resume();
        until("the load is answered", || {
            pause(Duration::from_millis(40));
            answers(world) - before_posting >= messages
        });
        let took = since.elapsed();
        world.chain.await_blocks(world.chain.head(), REST);
        let used = sum(hosts.iter().copied()) - before;
        let count = u32::try_from(messages).unwrap();
        let (records, [primary, standby]) = match (fleet, database) {
            (Some(fleet), Some((records_before, before))) => {
                let now = servers(fleet);
                (
                    records(fleet) - records_before,
                    [0, 1].map(|server| now[server] - before[server]),
                )
            }
            _ => (0, [Duration::ZERO; 2]),
        };
        let cost = Cost {
            hosts: used / count,
            primary: primary / count,
            standby: standby / count,
            idle,
            took,
            #[expect(clippy::cast_precision_loss, reason = "counts of thousands")]
            records: records as f64 / messages as f64,
        };
        self.progress.say(&format!("{cost:?}"));
        let mut busy: Vec<_> = by_thread(hosts)
            .into_iter()
            .map(|(name, time)| {
                let before = threads.get(&name).copied().unwrap_or_default();
                (time.saturating_sub(before) / count, name)
            })
            .collect();
        busy.sort_unstable();
        let busy = busy.iter().rev().take(8);
        let busy = busy.map(|(time, name)| format!("{name} {}", show(*time)));
        let busy = busy.collect::<Vec<_>>().join(", ");
        self.progress
            .say(&format!("processor time of a message by thread: {busy}"));
        cost
    }

    fn alone(&mut self) -> Cost {
        let setup = self.load_setup();
        let world = World::new("measure", &mut self.dice, setup);
        let runtime = world.run();
        let cost = self.cost(&world, &[&runtime], None);
        runtime.stop();
        cost
    }

    fn together(&mut self, hosts: usize) -> Cost {
        let setup = self.load_setup();
        let engine = Engine::durable();
        let mut fleet = Fleet::new("measure", &mut self.dice, setup, engine);
        for name in Fleet::names(hosts) {
            fleet.start_without_links(&name);
        }
        fleet.await_places();
        let world = std::sync::Arc::clone(&fleet.world);
        let processes = fleet.hosts.iter().filter_map(|host| host.runtime.as_ref());
        let processes: Vec<_> = processes.collect();
        let cost = self.cost(&world, &processes, Some(&fleet));
        fleet.stop();
        cost
    }

    pub(super) fn load(&mut self) -> Vec<Figure> {
        let mut costs: [Vec<Cost>; 3] = Default::default();
        for _ in 0..self.options.repeat.max(1) {
            costs[0].push(self.alone());
            costs[1].push(self.together(1));
            costs[2].push(self.together(2));
        }
        let [alone, one, two] = costs.map(|mut costs| {
            costs.sort_unstable_by_key(|cost| cost.hosts);
            costs[costs.len() / 2]
        });
        let ratio = |cost: &Cost| cost.hosts.as_secs_f64() / alone.hosts.as_secs_f64();
        let messages = grouped(self.options.messages);
        let mut figures = vec![Figure::only(
            format!("processor time of a message, one machine, {messages} messages in full blocks"),
            show(alone.hosts),
        )];
        let sides = [
            ("a cluster of one host", &one, 1.3),
            ("a cluster of two hosts that follow each other", &two, 1.6),
        ];
        for (what, cost, aim) in sides {
            figures.push(Figure::new(
                format!("the same, {what}: all hosts together"),
                format!("{} ({:.2} ×)", show(cost.hosts), ratio(cost)),
                format!("≤ {aim} ×"),
                ratio(cost) <= aim,
            ));
        }
        for (what, cost, _) in sides {
            figures.push(Figure::new(
                format!("database CPU of a message, {what} (primary)"),
                show(cost.primary),
                "≤ 100 µs",
                cost.primary <= Duration::from_micros(100),
            ));
        }
        figures.push(Figure::only(
            "the same of the standby; appends of a message",
            format!("{}; {:.3}", show(two.standby), two.records),
        ));
        figures.push(Figure::only(
            "messages a second: one machine, one host, two hosts",
            [alone, one, two]
                .map(|cost| {
                    let rate = f64::from(u32::try_from(self.options.messages).unwrap())
                        / cost.took.as_secs_f64();
                    format!("{rate:.0}")
                })
                .join(", "),
        ));
        figures.push(Figure::only(
            "processor time of all hosts in an idle second: the same",
            [alone, one, two].map(|cost| show(cost.idle)).join(", "),
        ));
        figures
    }
}
