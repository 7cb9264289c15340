//! The gaps of a cursor: when to try them again, and how often a block has failed.

use std::collections::HashMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::meter::Rest;
use crate::source::Cursor;

/// How many gaps a cursor keeps. A chain with more of them should be read from its database.
const REMEMBERED: usize = 256;
/// How many gaps one read tries again.
const TRIES_PER_READ: usize = 4;

/// The retry state of blocks that could not be read. It is not stored: after a restart every gap is
/// tried at once.
#[derive(Debug)]
pub(super) struct Gaps {
    pauses: ExponentialBuilder,
    /// When each is due for another try, and the pauses after that one.
    waits: HashMap<u64, (Instant, ExponentialBackoff)>,
    failures: HashMap<u64, u32>,
    /// When one was last tried again.
    pub(super) rest: Rest,
}

impl Gaps {
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            pauses: ExponentialBuilder::new()
                .with_min_delay(shortest)
                // Jitter adds at most as much again.
                .with_max_delay(longest / 2)
                .with_jitter()
                .without_max_times(),
            waits: HashMap::new(),
            failures: HashMap::new(),
            rest: Rest::new(),
        }
    }

    /// Counts another failure of a block above the position. Returns the number of its failures.
    pub(super) fn failed(&mut self, height: u64) -> u32 {
        // Only the block right above the position is ever counted.
        self.failures.retain(|known, _| *known == height);
        let failures = self.failures.entry(height).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }

    /// Adds a gap. True: it is new.
    pub(super) fn open(&mut self, cursor: &mut Cursor, height: u64) -> bool {
        self.failures.remove(&height);
        let Err(at) = cursor.gaps.binary_search(&height) else {
            return false;
        };
        cursor.gaps.insert(at, height);
        if cursor.gaps.len() > REMEMBERED {
            cursor.gaps.remove(0);
        }
        self.postpone(height);
        true
    }

    /// Removes a gap. True: there was one.
    pub(super) fn close(&mut self, cursor: &mut Cursor, height: u64) -> bool {
        self.failures.remove(&height);
        self.waits.remove(&height);
        let Ok(at) = cursor.gaps.binary_search(&height) else {
            return false;
        };
        cursor.gaps.remove(at);
        true
    }

    /// The gaps that are due for another try, a few at a time.
    pub(super) fn due(&mut self, cursor: &Cursor) -> Vec<u64> {
        self.waits.retain(|height, _| cursor.gaps.contains(height));
        let now = Instant::now();
        let due = |height: &u64| self.waits.get(height).is_none_or(|(at, _)| *at <= now);
        cursor
            .gaps
            .iter()
            .copied()
            .filter(due)
            .take(TRIES_PER_READ)
            .collect()
    }

    /// Schedules the next try of a gap that failed again.
    pub(super) fn postpone(&mut self, height: u64) {
        let now = Instant::now();
        let wait = self.waits.entry(height);
        let (at, pauses) = wait.or_insert_with(|| (now, self.pauses.build()));
        *at = now + pauses.next().unwrap_or_default();
    }
}
