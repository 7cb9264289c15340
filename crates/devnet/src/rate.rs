//! The rate limits of nodes of August 2026: the calls of each function that a client makes in a minute.
//! Every client of a devnet is on this machine, so there is one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The length of time in which calls are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// The most calls of a reading function.
const READS: u32 = 200;
/// The most POSTs of a function.
fn posts(function: &str) -> u32 {
    match function {
        "/rpc/subscribe" => 10,
        "/rpc/heartbeat" => 60,
        _ => 50,
    }
}

/// The calls of the current minute of each function.
#[derive(Debug, Default)]
pub(crate) struct Calls(HashMap<(bool, String), (Instant, u32)>);

impl Calls {
    /// Counts a call. Returns whether it is allowed.
    pub(crate) fn take(&mut self, posts: bool, path: &str) -> bool {
        let function = path.split('/').take(3).collect::<Vec<_>>().join("/");
        let now = Instant::now();
        let most = if posts { self::posts(&function) } else { READS };
        let (since, calls) = self.0.entry((posts, function)).or_insert((now, 0));
        if now.duration_since(*since) >= MINUTE {
            (*since, *calls) = (now, 0);
        }
        *calls = calls.saturating_add(1);
        *calls <= most
    }
}
