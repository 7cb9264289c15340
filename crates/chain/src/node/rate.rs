//! How often a node lets each of its functions be called, and the pauses that it asks for.
//!
//! A node that counts calls counts those of one function, from one address. So calls of one function
//! wait for each other, in the order in which they were made, and calls of others do not. A call that is
//! given up while it waits uses nothing up. After a 429 the function is not called again until the pause
//! is over that the node asks for: callers are told so at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_protocol::Dialect;
use tokio::time::{Instant, sleep};

use crate::dialect::{Allowance, allowance};
use crate::node::Bucket;

/// The calls of one node, by function.
#[derive(Debug)]
pub(crate) struct Rates {
    dialect: Dialect,
    unlimited: bool,
    lanes: Mutex<HashMap<(bool, String), Arc<Lane>>>,
}

impl Rates {
    /// `unlimited`: the node's limits are turned off. Only the pauses that it asks for are kept.
    pub(crate) fn new(dialect: Dialect, unlimited: bool) -> Self {
        Self {
            dialect,
            unlimited,
            lanes: Mutex::default(),
        }
    }

    /// The calls of the function behind a path. `None`: they are not limited.
    pub(crate) fn lane(&self, is_post: bool, path: &str) -> Option<Arc<Lane>> {
        let function = function(path);
        let mut allowance = allowance(self.dialect, is_post, function)?;
        if self.unlimited {
            allowance.every = Duration::ZERO;
        }
        let key = (is_post, function.to_owned());
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes
            .entry(key)
            .or_insert_with(|| Arc::new(Lane::new(allowance, Instant::now())));
        Some(Arc::clone(lane))
    }
}

/// The function behind a path: `/rpc/accounts/{address}` is one, whatever the address.
pub(crate) fn function(path: &str) -> &str {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let parts = if path.starts_with("/rpc/") { 3 } else { 2 };
    match path.match_indices('/').nth(parts - 1) {
        Some((end, _)) => path.get(..end).unwrap_or(path),
        None => path,
    }
}

/// The calls of one function.
#[derive(Debug)]
pub(crate) struct Lane {
    allowance: Allowance,
    /// Who is next.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: Bucket,
    /// The end of the pause that the node has asked for.
    pause: Option<Instant>,
}

impl Lane {
    fn new(allowance: Allowance, now: Instant) -> Self {
        Self {
            allowance,
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                calls: Bucket::new(allowance.every, allowance.at_once, now),
                pause: None,
            }),
        }
    }

    fn state<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state, Instant::now())
    }

    /// Waits until a call may be made, and counts it.
    ///
    /// # Errors
    /// The rest of the pause that the node has asked for.
    pub(crate) async fn turn(&self) -> Result<(), Duration> {
        let _turn = self.turn.lock().await;
        loop {
            if let Some(rest) = self.pause() {
                return Err(rest);
            }
            let wait = self.state(|state, now| state.calls.take(now));
            if wait.is_zero() {
                return Ok(());
            }
            sleep(wait).await;
        }
    }

    /// Counts a call if it may be made now.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn try_turn(&self) -> Result<(), Duration> {
        if let Some(rest) = self.pause() {
            return Err(rest);
        }
        let wait = self.state(|state, now| state.calls.take(now));
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// How long a call would have to wait, were it made now.
    pub(crate) fn wait(&self) -> Duration {
        match self.pause() {
            Some(rest) => rest,
            None => self.state(|state, now| state.calls.wait(now)),
        }
    }

    /// Whether at least half of what may be done at once is left, for calls that can be put off.
    pub(crate) fn has_spare(&self) -> bool {
        let half = self.allowance.every * (self.allowance.at_once / 2);
        self.pause().is_none() && self.state(|state, now| state.calls.owed(now) <= half)
    }

    /// The node asks for a pause. True: it is the first call that learns it.
    pub(crate) fn close(&self, pause: Duration) -> bool {
        self.state(|state, now| {
            let is_open = state.pause.is_none_or(|end| end <= now);
            state.pause = Some(now + pause);
            is_open
        })
    }

    fn pause(&self) -> Option<Duration> {
        self.state(|state, now| {
            let rest = state.pause?.saturating_duration_since(now);
            (!rest.is_zero()).then_some(rest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn lane(is_post: bool, path: &str) -> Arc<Lane> {
        Rates::new(Dialect::August2026, false)
            .lane(is_post, path)
            .unwrap()
    }

    #[test]
    fn a_function_is_the_path_without_what_it_is_about() {
        for (path, name) in [
            ("/rpc/head?chain_id=a/b", "/rpc/head"),
            ("/rpc/accounts/ait1%2F?chain_id=a", "/rpc/accounts"),
            ("/rpc/blocks/7", "/rpc/blocks"),
            ("/rpc/blocks-range?start=1&end=2", "/rpc/blocks-range"),
            ("/health", "/health"),
            ("/", "/"),
        ] {
            assert_eq!(function(path), name);
        }
    }

    #[test]
    fn nodes_of_april_are_not_limited() {
        let rates = Rates::new(Dialect::April2026, false);
        assert!(rates.lane(false, "/rpc/head").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_than_a_node_allows() {
        for (is_post, path, most, least) in [
            (false, "/rpc/x", 200, 178),
            (true, "/rpc/x", 50, 47),
            (true, "/rpc/subscribe", 10, 7),
        ] {
            let lane = lane(is_post, path);
            let start = Instant::now();
            let mut calls = Vec::new();
            while start.elapsed() < 5 * MINUTE {
                lane.turn().await.unwrap();
                calls.push(start.elapsed());
            }
            for from in &calls {
                let minute = calls
                    .iter()
                    .filter(|at| (*from..*from + MINUTE).contains(at));
                assert!(minute.count() <= most, "from {from:?}");
            }
            let last = calls.iter().filter(|at| **at >= 4 * MINUTE).count();
            assert!(last >= least, "{last} calls in the last minute");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_uses_nothing_up() {
        let lane = lane(false, "/rpc/x");
        while lane.try_turn().is_ok() {}
        assert!(!lane.has_spare());
        for _ in 0..100 {
            let given_up = tokio::time::timeout(Duration::from_millis(1), lane.turn()).await;
            assert!(given_up.is_err());
        }
        let wait = lane.wait();
        assert!(wait <= Duration::from_millis(334), "{wait:?}");
        lane.turn().await.unwrap();
        sleep(MINUTE).await;
        assert!(lane.has_spare());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_told_to_everyone() {
        let rates = Rates::new(Dialect::August2026, false);
        let head = rates.lane(false, "/rpc/head").unwrap();
        assert!(head.close(MINUTE));
        assert!(!head.close(MINUTE), "it is known already");
        let same = rates.lane(false, "/rpc/head?chain_id=x").unwrap();
        assert_eq!(same.turn().await, Err(MINUTE));
        assert_eq!(same.try_turn(), Err(MINUTE));
        let other = rates.lane(false, "/rpc/blocks-range").unwrap();
        assert_eq!(other.turn().await, Ok(()));
        sleep(MINUTE).await;
        assert_eq!(same.turn().await, Ok(()));
    }
}
