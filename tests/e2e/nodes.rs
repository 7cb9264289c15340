//! Nodes that stop, follow another node, or reorganise deeply; wallets that cannot pay.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use agentry_testbed::dice::Dice;
use agentry_testbed::until;
use agentry_testbed::world::{Setup, Source, World};

/// The longest pause between pings.
const PACE: Duration = Duration::from_millis(60);

/// A port below the range that Linux assigns to programs that ask for any port.
pub(crate) fn own_port(dice: &mut Dice) -> u16 {
    loop {
        let port = u16::try_from(15_000 + dice.below(15_000)).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The node is stopped and started again, several times.
fn restarting(test: &str, source: Source) {
    let mut dice = Dice::new(test);
    let port = own_port(&mut dice);
    let world = Arc::new(World::new(
        test,
        &mut dice,
        Setup {
            port,
            source,
            ..Setup::default()
        },
    ));
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    for round in 0..3 {
        let answered = world.audit().answered;
        until("pings are answered", || {
            world.audit().answered >= answered + 3
        });
        world.chain.stop_node();
        std::thread::sleep(dice.up_to(Duration::from_millis(1500)));
        world.chain.start_node();
        let recovery = world.recovery();
        println!("recovery from a stopped node ({source:?}, round {round}): {recovery}");
    }
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

#[test]
fn a_node_that_is_restarted_read_from_its_database() {
    restarting(
        "a_node_that_is_restarted_read_from_its_database",
        Source::Db,
    );
}

#[test]
fn a_node_that_is_restarted_read_over_rpc() {
    restarting("a_node_that_is_restarted_read_over_rpc", Source::Rpc);
}

/// The runtime reads a follower, whose blocks have lost their transactions.
#[test]
fn a_follower_without_transactions_read_from_its_database() {
    let test = "a_follower_without_transactions_read_from_its_database";
    let mut dice = Dice::new(test);
    let setup = Setup {
        follower: true,
        ..Setup::default()
    };
    let world = Arc::new(World::new(test, &mut dice, setup));
    let follower = world.follower.as_ref().unwrap().faults().clone();
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    until("the first pings are answered", || {
        world.audit().answered >= 3
    });
    follower.set("import-loses-transactions".parse().unwrap());
    world.chain.await_blocks(world.chain.head(), 15);
    let recovery = world.recovery();
    println!("recovery from import-loses-transactions, still lost (Db): {recovery}");
    follower.clear_all();
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

/// Over RPC such blocks list no transactions but state a count: a gap. The messages in it are
/// answered once the follower has the rows, and no transaction in it is mistaken for absent and
/// posted again.
#[test]
fn a_follower_without_transactions_read_over_rpc() {
    let test = "a_follower_without_transactions_read_over_rpc";
    let mut dice = Dice::new(test);
    let setup = Setup {
        follower: true,
        source: Source::Rpc,
        ..Setup::default()
    };
    let world = Arc::new(World::new(test, &mut dice, setup));
    let follower = world.follower.as_ref().unwrap();
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    until("the first pings are answered", || {
        world.audit().answered >= 3
    });
    follower
        .faults()
        .set("import-loses-transactions".parse().unwrap());
    world.chain.await_blocks(world.chain.head(), 10);
    follower.faults().clear_all();
    flow.stop();
    // Longer than a proof of absence takes; the follower has blocks above those of the fault.
    world.chain.await_blocks(world.chain.head(), 5);
    resync(&follower.chain_db(), &world.chain.db());
    let recovery = world.recovery();
    println!("recovery from import-loses-transactions, then a resync (Rpc): {recovery}");
    world.finish(runtime, &HashSet::new());
}

/// Gives a follower the rows that it lost, as a resync does: late, at old heights.
fn resync(follower: &std::path::Path, leader: &std::path::Path) {
    let db = Connection::open(follower).unwrap();
    db.busy_timeout(agentry_testbed::PATIENCE).unwrap();
    db.execute("ATTACH ?1 AS leader", [leader.to_str().unwrap()])
        .unwrap();
    let columns = "chain_id, tx_hash, block_height, sender, recipient, payload, created_at, nonce,
                   value, fee, status, timestamp, tx_metadata";
    db.execute_batch(&format!(
        "INSERT OR IGNORE INTO main.\"transaction\" ({columns})
         SELECT {columns} FROM leader.\"transaction\" WHERE block_height <= (SELECT max(height) FROM main.block)
         ORDER BY block_height, id"
    ))
    .unwrap();
}

/// A reorganisation deeper than `final_depth`: posting stops until an operator resumes it.
#[test]
fn a_reorganisation_that_is_too_deep() {
    let test = "a_reorganisation_that_is_too_deep";
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(
        test,
        &mut dice,
        Setup {
            final_depth: 3,
            ..Setup::default()
        },
    ));
    let runtime = world.run();
    for agent in 0..4 {
        world.ping(agent);
    }
    world.settle();
    world.chain.await_blocks(world.chain.head(), 5);
    world
        .chain
        .with(|node| node.reorganise_and_drop(7))
        .unwrap();
    until("posting stops", || {
        world.ask(&["queue", "list"])["halted"].is_string()
    });
    let answered = world.audit().answered;
    for agent in 0..4 {
        world.ping(agent);
    }
    world.repost();
    until("the pings are mined", || {
        world.repost();
        world.audit().unmined.is_empty()
    });
    world.chain.await_blocks(world.chain.head(), 5);
    assert_eq!(
        world.audit().answered,
        answered,
        "something was posted although posting is stopped"
    );
    let (status, ready) = runtime.get("/ready");
    assert_eq!(status, 503, "ready although posting is stopped: {ready}");
    // A restart does not resume it.
    runtime.kill();
    let runtime = world.run();
    world.chain.await_blocks(world.chain.head(), 5);
    assert_eq!(
        world.audit().answered,
        answered,
        "something was posted after a restart"
    );
    let resumed = world.ask(&["queue", "resume"]);
    assert_eq!(resumed["resumed"], true, "{resumed}");
    let recovery = world.recovery();
    println!("recovery from a deep reorganisation, once resumed: {recovery}");
    world.finish(runtime, &HashSet::new());
}

/// Wallets that cannot pay wait without delaying others, and answer once they are funded.
fn poor_wallets(test: &str, faults: &'static [&'static str]) {
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(
        test,
        &mut dice,
        Setup {
            poor: 2,
            faults,
            ..Setup::default()
        },
    ));
    let (rich, poor) = (0, world.agents.len() - 1);
    let runtime = world.run();
    let waiting = [world.ping(poor), world.ping(poor - 1)];
    until("the pings are mined", || world.audit().unmined.is_empty());
    world.ping(rich);
    until("the others are answered", || world.audit().answered == 1);
    world.chain.await_blocks(world.chain.head(), 8);
    let open: Vec<String> = world
        .audit()
        .unanswered
        .into_iter()
        .map(|posting| posting.hash)
        .collect();
    assert_eq!(
        open,
        waiting.map(|posting| posting.hash),
        "wallets without an account have paid"
    );
    for agent in [poor, poor - 1] {
        world
            .chain
            .with(|node| node.fund(&world.agents[agent].address, 1_000))
            .unwrap();
    }
    let recovery = world.recovery();
    println!("recovery from empty accounts ({faults:?}): {recovery}");
    world.finish(runtime, &HashSet::new());
}

#[test]
fn wallets_that_cannot_pay() {
    poor_wallets("wallets_that_cannot_pay", &["replay-destroys-block"]);
}

/// On a node that accepts transactions and then drops them silently.
#[test]
fn wallets_that_cannot_pay_on_a_node_that_does_not_say_so() {
    poor_wallets(
        "wallets_that_cannot_pay_on_a_node_that_does_not_say_so",
        &["replay-destroys-block", "silent-drop=0"],
    );
}
