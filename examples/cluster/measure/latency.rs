//! What the log adds to the time from a ping to its accepted answer.

use std::time::{Duration, Instant};

use agentry_devnet::Devnet;
use agentry_testbed::chain::open;
use agentry_testbed::fleet::{Engine, Fleet};
use agentry_testbed::pause;
use agentry_testbed::world::{Setup, World};
use rusqlite::Connection;

use super::{Bench, Figure};
use crate::progress::{median_and_worst, show};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A world in which the blocks are made one by one.
struct Timed<'a> {
    world: &'a World,
    mempool: Connection,
    sent: usize,
    times: Vec<Duration>,
}

impl<'a> Timed<'a> {
    fn new(world: &'a World) -> Self {
        world.chain.pause();
        Self {
            world,
            mempool: open(&world.chain.mempool()),
            sent: 0,
            times: Vec::new(),
        }
    }

    fn pending(&self) -> i64 {
        let sql = "SELECT count(*) FROM mempool";
        self.mempool.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// A ping in a block of its own: the time from the commit of the block until the answer is in the
    /// mempool of the node.
    fn ping(&mut self) {
        self.world.ping(self.sent % self.world.agents.len());
        self.sent += 1;
        // With the answer to the ping before.
        self.world.chain.with(Devnet::mine).unwrap();
        let since = Instant::now();
        while self.pending() == 0 {
            assert!(
                since.elapsed() < LIMIT,
                "a ping was not answered in {LIMIT:?}"
            );
            std::thread::sleep(Duration::from_micros(100));
        }
        self.times.push(since.elapsed());
    }
}

impl Bench<'_> {
    pub(super) fn latency(&mut self) -> Vec<Figure> {
        let setup = Setup {
            senders: self.options.pings + 100,
            ..self.setup()
        };
        let alone = World::new("measure", &mut self.dice, setup.clone());
        let runtime = alone.run();
        let engine = Engine::durable();
        let mut fleet = Fleet::new("measure", &mut self.dice, setup, engine);
        for name in Fleet::names(2) {
            fleet.start_without_links(&name);
        }
        fleet.await_places();
        let mut sides = [Timed::new(&alone), Timed::new(&fleet.world)];
        for _ in 0..self.options.pings {
            for side in &mut sides {
                // Both have finished what the last ping led to.
                pause(Duration::from_millis(10) + self.dice.up_to(Duration::from_millis(20)));
                side.ping();
            }
        }
        let [one, many] = sides.map(|side| side.times);
        alone.chain.resume();
        fleet.world.chain.resume();
        alone.settle();
        runtime.stop();
        fleet.finish();
        let (Some((one, _)), Some((many, _))) = (median_and_worst(&one), median_and_worst(&many))
        else {
            return Vec::new();
        };
        let added = many.saturating_sub(one);
        vec![
            Figure::only(
                format!(
                    "block committed → answer accepted, one machine, median of {}",
                    self.options.pings
                ),
                show(one),
            ),
            Figure::only(
                "the same, cluster of two hosts, synchronous standby",
                show(many),
            ),
            Figure::new(
                "ping → accepted, added by the log",
                show(added),
                "≤ 4 ms",
                added <= Duration::from_millis(4),
            ),
        ]
    }
}
