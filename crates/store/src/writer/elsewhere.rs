//! What the thread does with a log that is elsewhere: it follows it, and leads when it is asked to.

use std::time::{Duration, Instant};

use agentry_core::cluster::Epoch;

use super::Work;
use crate::StoreError;
use crate::error::Trouble;
use crate::log::Position;

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);

/// After how many records at once it is looked at again without a pause: there are probably more.
const MANY: usize = 64;

impl Work {
    /// Applies what another host has appended, if it is time to look, and if this host follows.
    /// Returns how long to wait for requests, at most `patience`.
    pub(super) fn follow(&mut self, patience: Duration) -> Duration {
        if !self.tables.is_following() {
            return patience;
        }
        let until = self.poll_at.saturating_duration_since(Instant::now());
        if !until.is_zero() {
            return patience.min(until);
        }
        let pause = match self.catch_up() {
            Ok(records) if records >= MANY => Duration::ZERO,
            _ => POLL,
        };
        self.poll_at = Instant::now() + pause;
        patience.min(pause)
    }

    /// Applies some of what another host has appended. Returns how many records.
    fn catch_up(&mut self) -> Result<usize, StoreError> {
        let caught_up = self.tables.catch_up();
        let trouble = caught_up.as_ref().err().and_then(StoreError::trouble);
        let was_away = self.is_log_away;
        self.is_log_away = matches!(trouble, Some(Trouble::Refusal(_)));
        match &trouble {
            Some(trouble) => self.health.met(trouble),
            None if was_away => self.health.stored(),
            None => {}
        }
        self.note_behind();
        if self.is_writing_due() {
            self.write();
        }
        caught_up
    }

    /// Answers those who wait until the tables have what the log has: one look at it for all of them.
    pub(super) fn answer_readers(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let trouble = self.level().err().map(|error| {
            let refusal = || Trouble::Refusal(error.to_string());
            error.trouble().unwrap_or_else(refusal)
        });
        for reader in std::mem::take(&mut self.readers) {
            // The caller may have stopped waiting.
            let _ = reader.send(
                trouble
                    .clone()
                    .map_or(Ok(()), |trouble| Err(trouble.into())),
            );
        }
    }

    /// Applies all that another host has appended, if this host follows, and writes the tables.
    fn level(&mut self) -> Result<(), StoreError> {
        if let Some(end) = self.health.end() {
            return Err(end.into());
        }
        while self.tables.is_following() && self.catch_up()? > 0 {
            if self.waits.is_closing() {
                return Err(StoreError::Closed);
            }
        }
        self.write();
        match self.tables.is_behind() {
            false => Ok(()),
            true => Err(StoreError::Refused(
                "its tables cannot be written".to_owned(),
            )),
        }
    }

    /// Applies the log up to the record that was the last when this host claimed it, and leads.
    pub(super) fn lead(&mut self, epoch: Epoch, head: Position) -> Result<(), StoreError> {
        if self.tables.is_alone() {
            return Ok(());
        }
        self.tables.claim(epoch)?;
        while self.catch_up()? > 0 {
            if self.waits.is_closing() {
                return Err(StoreError::Closed);
            }
        }
        self.tables.lead(head)
    }
}
