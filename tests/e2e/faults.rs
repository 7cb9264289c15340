//! The node has a fault for a while, during a steady flow of pings.
//!
//! In every test the node also has the fault `replay-destroys-block`: posting a mined transaction
//! again destroys a block, which the test detects.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use agentry_devnet::NoncePolicy;

use agentry_testbed::dice::Dice;
use agentry_testbed::until;
use agentry_testbed::world::{Setup, Source, World};

/// The longest pause between pings.
pub(crate) const PACE: Duration = Duration::from_millis(60);

/// How many pings are answered before the fault begins, so that everything works by then.
const HEALTHY: usize = 3;

/// For how many block times a fault lasts.
const STAYS: u64 = 15;

/// The same for a long fault: far longer than the first timeouts of a reader.
const STAYS_LONG: u64 = 50;

/// Gives the node these faults for a while; every ping must still be answered.
pub(crate) fn under(test: &str, faults: &[&str], setup: Setup) {
    under_for(STAYS, test, faults, setup);
}

fn under_for(stays: u64, test: &str, faults: &[&str], setup: Setup) {
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, setup));
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    until("the first pings are answered", || {
        world.audit().answered >= HEALTHY
    });
    world.chain.set(faults);
    world.chain.await_blocks(world.chain.head(), stays);
    world.chain.clear(faults);
    let recovery = world.recovery();
    println!(
        "recovery from {} ({:?}): {recovery}",
        faults.join(", "),
        world.setup.source
    );
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

fn over_rpc() -> Setup {
    Setup {
        source: Source::Rpc,
        ..Setup::default()
    }
}

fn sequential() -> Setup {
    Setup {
        nonces: NoncePolicy::Sequential,
        ..Setup::default()
    }
}

#[test]
fn dropping_silently() {
    under("dropping_silently", &["silent-drop=0.3"], Setup::default());
}

#[test]
fn dropping_silently_with_sequential_nonces() {
    under(
        "dropping_silently_with_sequential_nonces",
        &["silent-drop=0.3"],
        sequential(),
    );
}

#[test]
fn errors_over_rpc() {
    under("errors_over_rpc", &["error-500=0.3"], over_rpc());
}

#[test]
fn errors_reading_the_database() {
    under(
        "errors_reading_the_database",
        &["error-500=0.3"],
        Setup::default(),
    );
}

#[test]
fn turning_away_over_rpc() {
    under("turning_away_over_rpc", &["error-429=0.3"], over_rpc());
}

#[test]
fn hanging_over_rpc() {
    under("hanging_over_rpc", &["hang=0.2"], over_rpc());
}

#[test]
fn hanging_reading_the_database() {
    under(
        "hanging_reading_the_database",
        &["hang=0.2"],
        Setup::default(),
    );
}

/// The node accepts every connection and answers nothing.
#[test]
fn hanging_wholly() {
    under_for(STAYS_LONG, "hanging_wholly", &["hang"], over_rpc());
}

#[test]
fn nothing_but_errors() {
    under("nothing_but_errors", &["error-500"], over_rpc());
}

#[test]
fn turning_everybody_away() {
    under("turning_everybody_away", &["error-429"], Setup::default());
}

#[test]
fn losing_answers() {
    under("losing_answers", &["lose-answer=0.3"], Setup::default());
}

/// No answer to a post ever arrives: a runtime that posts again for that reason destroys blocks.
#[test]
fn losing_every_answer() {
    under_for(
        STAYS_LONG,
        "losing_every_answer",
        &["lose-answer"],
        Setup::default(),
    );
}

#[test]
fn losing_answers_with_sequential_nonces() {
    under(
        "losing_answers_with_sequential_nonces",
        &["lose-answer=0.3"],
        sequential(),
    );
}

#[test]
fn late_rows_in_the_database() {
    under(
        "late_rows_in_the_database",
        &["late-rows"],
        Setup::default(),
    );
}

#[test]
fn late_rows_over_rpc() {
    under("late_rows_over_rpc", &["late-rows"], over_rpc());
}

#[test]
fn ranges_without_transactions() {
    under(
        "ranges_without_transactions",
        &["no-range-transactions"],
        over_rpc(),
    );
}

#[test]
fn no_endpoints_for_transactions() {
    under(
        "no_endpoints_for_transactions",
        &["no-transaction-endpoints"],
        over_rpc(),
    );
}

#[test]
fn everything_at_once() {
    under(
        "everything_at_once",
        &[
            "silent-drop=0.1",
            "error-500=0.1",
            "error-429=0.1",
            "hang=0.05",
            "lose-answer=0.1",
        ],
        over_rpc(),
    );
}

/// Reorganisations of up to three blocks, one after the other.
fn reorganising(test: &str, fault: &str, setup: Setup) {
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, setup));
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    until("the first pings are answered", || {
        world.audit().answered >= HEALTHY
    });
    for _ in 0..3 {
        let head = world.chain.head();
        let (depth, at) = (1 + dice.below(3), head + 3);
        world.chain.set(&[&format!("{fault}={depth}@{at}")]);
        world.chain.await_blocks(head, 6);
    }
    let recovery = world.recovery();
    println!(
        "recovery from {fault} ({:?}): {recovery}",
        world.setup.source
    );
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

#[test]
fn reorganising_under_the_database() {
    reorganising(
        "reorganising_under_the_database",
        "reorganise",
        Setup::default(),
    );
}

#[test]
fn reorganising_over_rpc() {
    reorganising("reorganising_over_rpc", "reorganise", over_rpc());
}

#[test]
fn losing_withdrawn_transactions() {
    reorganising(
        "losing_withdrawn_transactions",
        "reorganise-drop",
        Setup::default(),
    );
}

#[test]
fn losing_withdrawn_transactions_with_sequential_nonces() {
    reorganising(
        "losing_withdrawn_transactions_with_sequential_nonces",
        "reorganise-drop",
        Setup {
            nonces: NoncePolicy::Sequential,
            ..over_rpc()
        },
    );
}

/// An attacker posts mined transactions again, which destroys blocks, with the agents' pongs and
/// other transactions in them. Only the attacker's posts may destroy blocks.
#[test]
fn somebody_replays() {
    let test = "somebody_replays";
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, Setup::default()));
    let runtime = world.run();
    let flow = world.flow(dice.fork(), PACE);
    until("the first pings are answered", || {
        world.audit().answered >= HEALTHY
    });
    let mut culprits = HashSet::new();
    let end = world.chain.head() + STAYS * 2;
    while world.chain.head() < end {
        let mined = world.chain.transactions();
        let one = &mined[dice.below(mined.len())];
        let stored = one.stored.as_ref().unwrap();
        culprits.insert(one.hash.clone());
        world.post(&stored.to_json().to_compact());
        let head = world.chain.head();
        world.chain.await_blocks(head, 1 + dice.below(4) as u64);
    }
    let recovery = world.recovery();
    println!("recovery from replays: {recovery}");
    assert!(
        !world.chain.destroyed().is_empty(),
        "the replays destroyed nothing"
    );
    flow.stop();
    world.finish(runtime, &culprits);
}
