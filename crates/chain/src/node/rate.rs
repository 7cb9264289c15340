//! How often the calls of a node may be made.
//!
//! Nodes of August 2026 count the calls of each function that a client makes, and refuse further ones for
//! a minute. However they count, in fixed minutes or in moving ones, a client that makes no more than the
//! allowed number in any minute is never refused.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The longest pause that a node may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The calls of the last minute, by function.
#[derive(Debug)]
pub(super) struct Calls {
    most: Option<usize>,
    functions: HashMap<String, Function>,
}

#[derive(Debug, Default)]
struct Function {
    made: VecDeque<Instant>,
    /// The node has asked for a pause until then.
    pause: Option<Instant>,
}

/// The function that a path calls: its first two parts.
fn function(path: &str) -> &str {
    let end = path.find('?').unwrap_or(path.len());
    let path = path.get(..end).unwrap_or(path);
    let third = path.match_indices('/').nth(2);
    third.map_or(path, |(at, _)| path.get(..at).unwrap_or(path))
}

impl Calls {
    /// No calls yet; at most so many of a function are made in a minute.
    pub(super) fn new(most: Option<usize>) -> Self {
        Self {
            most,
            functions: HashMap::new(),
        }
    }

    /// Takes a turn for a call; or how long to wait before asking again.
    pub(super) fn turn(&mut self, path: &str, now: Instant) -> Result<(), Duration> {
        let Some(most) = self.most else {
            return Ok(());
        };
        let function = self.functions.entry(function(path).to_owned()).or_default();
        if let Some(pause) = function.pause.filter(|pause| *pause > now) {
            return Err(pause - now);
        }
        let made = &mut function.made;
        while made.front().is_some_and(|call| *call + MINUTE <= now) {
            made.pop_front();
        }
        match made.front() {
            Some(oldest) if made.len() >= most => Err(*oldest + MINUTE - now),
            _ => {
                made.push_back(now);
                Ok(())
            }
        }
    }

    /// The node has refused a call, and perhaps says for how long.
    pub(super) fn refused(&mut self, path: &str, pause: Option<Duration>, now: Instant) {
        if self.most.is_some() {
            let function = self.functions.entry(function(path).to_owned()).or_default();
            let pause = pause.unwrap_or(MINUTE).min(LONGEST_PAUSE);
            function.pause = Some(now + pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_are_counted_by_function() {
        assert_eq!(function("/rpc/head"), "/rpc/head");
        assert_eq!(function("/rpc/accounts/ait1ab?chain_id=a"), "/rpc/accounts");
        assert_eq!(function("/rpc/blocks-range?start=/0"), "/rpc/blocks-range");
        assert_eq!(function("/health"), "/health");
        let (mut calls, now) = (Calls::new(Some(2)), Instant::now());
        for path in [
            "/rpc/head",
            "/rpc/accounts/a",
            "/rpc/head",
            "/rpc/accounts/b",
        ] {
            assert_eq!(calls.turn(path, now), Ok(()));
        }
        assert_eq!(calls.turn("/rpc/accounts/c", now), Err(MINUTE));
        let later = now + MINUTE;
        assert_eq!(calls.turn("/rpc/accounts/c", later), Ok(()));
        calls.refused("/rpc/head?x", Some(Duration::from_secs(7)), later);
        assert_eq!(calls.turn("/rpc/head", later), Err(Duration::from_secs(7)));
        assert_eq!(calls.turn("/rpc/accounts/c", later), Ok(()));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_calls_than_allowed(
            most in 1..8_usize,
            pauses in proptest::collection::vec(0..50_u64, 1..60),
        ) {
            let (mut calls, mut now) = (Calls::new(Some(most)), Instant::now());
            let mut made: Vec<Instant> = Vec::new();
            for pause in pauses {
                now += Duration::from_secs(pause);
                let recent = |made: &[Instant], now: Instant| {
                    made.iter().filter(|call| now - **call < MINUTE).count()
                };
                match calls.turn("/rpc/head", now) {
                    Ok(()) => {
                        made.push(now);
                        prop_assert!(recent(&made, now) <= most);
                    }
                    // It waits only while all calls are used up, and not too long.
                    Err(wait) => {
                        prop_assert_eq!(recent(&made, now), most);
                        now += wait;
                        prop_assert_eq!(calls.turn("/rpc/head", now), Ok(()));
                        made.push(now);
                    }
                }
            }
        }
    }
}
