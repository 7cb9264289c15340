//! A simulation of the runtime on the state machine: random traffic on a simulated chain, with crashes
//! at any step, reorganisations, transactions that are lost, repeated or of which nobody knows what
//! became, clocks that are wrong, logs of which a bit flips, and stores that are replaced by older
//! copies.
//!
//! After each schedule everything comes to an end, and then these promises are checked
//! (docs/guarantees.md): no message is lost (G1), none is acted on twice (G2), every answer is mined
//! once and signed once (G3), nothing that is in a block is posted again (G4), no nonce is used twice,
//! no budget is exceeded (G14).
//!
//! Nonces follow one of the two policies: under `sequential`, the node mines a transaction only when its
//! nonce is the account's counter, and one that another has overtaken is signed again.
//!
//! Some schedules have one host, and some have several, which share the wallets and follow each other's
//! logs. There, hosts freeze, thaw and are cut off while others claim what they own. Further promises are
//! checked: what was acknowledged is in the log, nothing is after another host's claim, all that read the
//! same log have the same state, and no host posts when its lease is over, except a frozen one, which
//! may post bytes that were stored. The database has a standby that may lack what others have seen: after
//! a failover, nobody has a record that the log lacks.
//!
//! A check that cannot fail shows nothing. So the rules can be broken on purpose ([`Defect`]), and
//! schedules must find each of them.
//!
//! A schedule is made from its seed alone, and a failing one is shrunk. `AGENTRY_SCHEDULES` sets how
//! many of each sort are run, and `AGENTRY_TEST_SEED` the first seed:
//!
//! ```console
//! $ AGENTRY_SCHEDULES=1000000 cargo test --release -p agentry-core --test simulation
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod chain;
mod check;
mod cluster;
#[path = "../cluster/database.rs"]
mod database;
mod defect;
mod host;
mod kept;
mod peers;
mod record;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use agentry_core::nonce::NoncePolicy;
use defect::Defect;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The number of schedules of each test without `AGENTRY_SCHEDULES`.
const SCHEDULES: u64 = 2_000;

/// The most steps of a schedule.
const STEPS: usize = 120;

/// The most schedules that are tried to make a failing one shorter.
const SHRINKS: u32 = 20_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn policy() -> impl Strategy<Value = NoncePolicy> {
    prop_oneof![Just(NoncePolicy::Timestamp), Just(NoncePolicy::Sequential)]
}

/// Runs the schedule of a seed. Returns the shortest schedule that fails, and why.
fn try_seed<S: Strategy>(
    seed: u64,
    schedules: &S,
    shrinks: u32,
    run: impl Fn(S::Value) -> host::Checked,
) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: shrinks,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = schedules.new_tree(&mut runner).unwrap();
    if run(tree.current()).is_ok() {
        return Ok(());
    }
    let run = runner.run_one(tree, |schedule| {
        run(schedule).map_err(|broken| TestCaseError::fail(broken.0))
    });
    match run {
        Ok(_) => Err(format!("seed {seed} fails, and not when it is run again")),
        Err(error) => Err(format!("seed {seed}: {error}")),
    }
}

/// Tries all seeds, until one fails.
fn try_all(try_seed: impl Fn(u64) -> Result<(), String> + Sync) {
    let first = setting("AGENTRY_TEST_SEED", 1);
    let end = first + setting("AGENTRY_SCHEDULES", SCHEDULES);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return None;
                }
                if let Err(failure) = try_seed(seed) {
                    next.store(end, Ordering::Relaxed);
                    return Some(failure);
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_schedule_keeps_the_promises() {
    try_all(|seed| {
        let schedules = (policy(), vec(world::action(), 1..STEPS));
        try_seed(seed, &schedules, SHRINKS, |(nonces, schedule)| {
            world::run(nonces, &schedule)
        })
    });
}

#[test]
fn every_schedule_of_several_hosts_keeps_the_promises() {
    try_all(|seed| try_several_hosts(seed, None, SHRINKS));
}

/// Whether the simulation would find a rule that is broken: a check that finds nothing proves nothing.
#[test]
fn every_defect_is_found() {
    let missed = Defect::COMMON.into_iter().filter(|defect| {
        let try_seed = |seed| try_several_hosts(seed, Some(*defect), 0).err();
        let mut failures = (1..=SCHEDULES).filter_map(try_seed);
        let found = failures.next();
        let why = found.iter().flat_map(|failure| failure.lines()).next();
        println!("{defect:?}: {}", why.unwrap_or("not found"));
        found.is_none()
    });
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty(), "no schedule finds {missed:?}");
}

fn try_several_hosts(seed: u64, defect: Option<Defect>, shrinks: u32) -> Result<(), String> {
    let size = (2_usize..=3, 1_usize..=2);
    let schedules = (policy(), size, cluster::schedules());
    try_seed(
        seed,
        &schedules,
        shrinks,
        |(nonces, (machines, shards), schedule)| {
            let size = cluster::Size { machines, shards };
            cluster::run(nonces, size, &schedule, defect)
        },
    )
}
