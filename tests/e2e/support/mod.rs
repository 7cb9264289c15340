//! What the tests share.
//!
//! | module | holds |
//! |---|---|
//! | [`chain`] | a node whose blocks the test makes, and what stands on its chain |
//! | [`world`] | a chain, hosted wallets, plain wallets, and the configuration of a runtime |
//! | [`runtime`] | the real binary, started, killed and stopped |
//! | [`flow`] | whoever pings, and sees to it that pings are mined |
//! | [`audit`] | who checks that every ping was answered once |
//! | [`http`] | a POST, by hand |
//! | [`proxy`] | what makes a node slow |
//! | [`dice`] | seeds |

pub(crate) mod audit;
pub(crate) mod chain;
pub(crate) mod dice;
pub(crate) mod flow;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod runtime;
pub(crate) mod spending;
pub(crate) mod world;

use std::time::{Duration, Instant};

/// How long a condition may take before a test gives up: far more than any takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `condition` gives something, for at most `limit`.
pub(crate) fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until `condition` holds; panics with what was waited for, if it does not.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let found = within(PATIENCE, || condition().then_some(()));
    assert!(
        found.is_some(),
        "waited {} s in vain: {what}",
        PATIENCE.as_secs()
    );
}
