//! Code shared by the tests.
//!
//! | module | holds |
//! |---|---|
//! | [`chain`] | a node whose blocks the test makes, and its chain |
//! | [`world`] | a chain, hosted wallets, plain wallets, and the configuration of a runtime |
//! | [`runtime`] | the real binary, started, killed and stopped |
//! | [`flow`] | a flow of pings, reposted until mined |
//! | [`audit`] | checking that every ping was answered once |
//! | [`http`] | handwritten HTTP requests |
//! | [`process`] | a runtime with a configuration and wallets that the test chooses |
//! | `collector` | a collector of traces |
//! | [`proxy`] | a proxy that makes a node slow |
//! | [`dice`] | seeds |

pub(crate) mod audit;
pub(crate) mod chain;
#[cfg(feature = "otlp")]
pub(crate) mod collector;
pub(crate) mod dice;
pub(crate) mod flow;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod runtime;
pub(crate) mod spending;
pub(crate) mod world;

use std::time::{Duration, Instant};

/// The timeout for a condition: far longer than any condition takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The interval between two checks of a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `condition` returns a value, for at most `limit`.
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

/// Waits until `condition` holds; panics with `what` on a timeout.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let found = within(PATIENCE, || condition().then_some(()));
    assert!(
        found.is_some(),
        "timed out after {} s: {what}",
        PATIENCE.as_secs()
    );
}
