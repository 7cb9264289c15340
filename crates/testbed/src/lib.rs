//! Clusters of real processes on one machine: for tests, for `examples/cluster`, and for measurements.
//!
//! | module | holds |
//! |---|---|
//! | [`binary`] | the `agentry` binary, and commands of it |
//! | [`process`] | a process of the binary: started, killed, stopped, and how much it works |
//! | [`postgres`] | servers of PostgreSQL: a primary, and a synchronous standby |
//! | [`proxy`] | a link that can be cut, held, and held in one direction |
//! | [`chain`] | a node whose blocks are made here, and its chain |
//! | [`wallet`] | wallets |
//! | [`coordinator`] | an agent coordinator, as AITBC's answers |
//! | [`world`] | a chain, hosted wallets, plain wallets, and the configuration of a runtime |
//! | [`flow`] | a flow of pings, reposted until mined |
//! | [`audit`] | checking that every ping was answered once |
//! | [`conversation`] | messages of several kinds, and checking that each has each answer once |
//! | [`spending`] | checking what a store says was spent |
//! | [`fleet`] | the hosts and workers of a cluster; failures, rounds of them, and the audit of logs and tables |
//! | [`usage`] | processor time |
//! | [`http`] | handwritten HTTP requests |
//! | [`dice`] | seeds |
//!
//! # Panics
//! What cannot go on panics, and says why: a program that does not start, a condition that does not
//! come about in [`PATIENCE`], an audit that finds something wrong. Unwinding stops every process that
//! was started here and removes its files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::print_stderr,
    reason = "seeds, progress and the logs of failures are printed"
)]

pub mod audit;
pub mod binary;
pub mod chain;
pub mod conversation;
pub mod coordinator;
pub mod dice;
pub mod fleet;
pub mod flow;
pub mod http;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod spending;
pub mod usage;
pub mod wallet;
pub mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The timeout for a condition: far longer than any condition takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The interval between two checks of a condition.
const LOOK: Duration = Duration::from_millis(10);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What the threads that wait here unwind with after [`interrupt`].
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

/// Ends what runs here: every wait unwinds with [`Interrupted`], now and from now on, and drops what
/// was started.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether [`interrupt`] was called.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Waits until `condition` returns a value, for at most `limit`.
pub fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if is_interrupted() && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(Interrupted));
        }
        if let Some(found) = condition() {
            return Some(found);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(LOOK.min(left));
    }
}

/// Waits until `condition` holds; panics with `what` on a timeout.
///
/// # Panics
/// It does not hold after [`PATIENCE`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let found = within(PATIENCE, || condition().then_some(()));
    assert!(
        found.is_some(),
        "timed out after {} s: {what}",
        PATIENCE.as_secs()
    );
}

/// Does nothing for a time that is part of what happens, such as how long a link is cut.
pub fn pause(time: Duration) {
    within(time, || None::<()>);
}
