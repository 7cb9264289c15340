//! A slow node: the runtime's reads over RPC leave most of its time to others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::nodes::own_port;
use crate::support::proxy::SlowNode;
use agentry_testbed::dice::Dice;
use agentry_testbed::process::Process;
use agentry_testbed::world::{Setup, Source, World};
use agentry_testbed::{until, within};

/// As on the real chain.
const BLOCK_TIME: Duration = Duration::from_secs(2);

/// How many blocks there are at the start.
const BLOCKS: u64 = 60;

/// Far longer than any start takes.
const LONG: Duration = Duration::from_secs(120);

/// A runtime that reads a node over RPC and posts to it; the node needs `takes` for each block.
fn begin(test: &str, takes: Duration) -> (Arc<World>, SlowNode, Process) {
    let mut dice = Dice::new(test);
    let port = own_port(&mut dice);
    let slow = SlowNode::start(port, takes);
    let setup = Setup {
        port,
        block_time: BLOCK_TIME,
        source: Source::Rpc,
        front: Some(slow.port()),
        ..Setup::default()
    };
    let world = Arc::new(World::new(test, &mut dice, setup));
    for _ in 0..BLOCKS {
        world.chain.with(|node| node.mine().map(drop)).unwrap();
    }
    let mut runtime = world.spawn(&[], &[]);
    let hosts = within(LONG, || runtime.told().then_some(()));
    assert!(hosts.is_some(), "it did not host its agents in time");
    let ready = within(LONG, || (runtime.get("/ready").0 == 200).then_some(()));
    assert!(ready.is_some(), "it did not become ready in time");
    (world, slow, runtime)
}

/// Counts the requests for blocks, mempools and accounts while blocks are made, independent of the
/// speed of this machine. An answer is sent for each block, so that the runtime posts to the node and
/// reads its mempool.
#[test]
fn a_node_that_takes_25_ms_per_block_keeps_nine_tenths_of_its_time() {
    let test = "a_node_that_takes_25_ms_per_block_keeps_nine_tenths_of_its_time";
    let (world, slow, runtime) = begin(test, Duration::from_millis(25));
    let (began, before) = (Instant::now(), slow.worked());
    let first = world.chain.head();
    for block in 1..=10 {
        world.ping(0);
        until("a block is made", || world.chain.head() >= first + block);
    }
    let (all, used) = (began.elapsed(), slow.worked() - before);
    println!("{used:?} of the node's {all:?}");
    assert!(used * 10 < all, "{used:?} of {all:?}");
    world.settle();
    runtime.stop();
}

/// The longest that a real node takes for a block.
#[test]
fn a_node_that_takes_55_ms_for_a_block_is_read_and_answered_on() {
    let test = "a_node_that_takes_55_ms_for_a_block_is_read_and_answered_on";
    let (world, slow, runtime) = begin(test, Duration::from_millis(55));
    let used = slow.worked();
    println!("{used:?} until it is ready");
    // Each page begins with the last block of the page before; the start reads a few more.
    assert!(used < Duration::from_millis(55) * u32::try_from(BLOCKS).unwrap() * 3);
    world.ping(0);
    world.settle();
    runtime.stop();
}
