//! A program's entries in agentry's log: limited in length and number, and without control
//! sequences for terminals.

use std::time::Duration;

use agentry_sdk::protocol::untrusted;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::lines::{Found, Lines, Overlong};
use super::session::About;
use super::wire::Level;

/// The longest text of one entry, in bytes.
const MAX_TEXT: usize = 2_000;
/// The size of the last part of a stack trace that is kept, in bytes.
const MAX_TRACE: usize = 8_000;
/// The most entries that a program may write in a burst.
const BURST: u32 = 200;
/// The time after which it may write one more.
const PER_ENTRY: Duration = Duration::from_millis(20);

/// The log of one stream of a program.
#[derive(Debug)]
pub(super) struct Journal {
    program: String,
    allowance: Allowance,
}

impl Journal {
    pub(super) fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            allowance: Allowance::new(Instant::now()),
        }
    }

    /// Writes an entry, unless the limit is reached.
    pub(super) fn say(&mut self, level: Level, text: &str) {
        if !self.is_allowed() {
            return;
        }
        let kind = super::KIND;
        let program = self.program.as_str();
        let text = printable(text);
        match level {
            Level::Error => tracing::error!(kind, program, "{text}"),
            Level::Warn => tracing::warn!(kind, program, "{text}"),
            Level::Info => tracing::info!(kind, program, "{text}"),
            Level::Debug => tracing::debug!(kind, program, "{text}"),
        }
    }

    /// Logs a failed run of the program with its stack trace, agent and event.
    pub(super) fn trace(&mut self, about: &About, trace: &str) {
        if !self.is_allowed() {
            return;
        }
        tracing::warn!(
            kind = super::KIND,
            program = self.program,
            agent.name = about.agent,
            behaviour.name = about.behaviour,
            event = about.event,
            "a run of the program failed:{}",
            lines(trace)
        );
    }

    /// Whether one more entry may be written. Logs how many entries were left out before.
    fn is_allowed(&mut self) -> bool {
        let Some(missed) = self.allowance.take(Instant::now()) else {
            return false;
        };
        if missed > 0 {
            tracing::warn!(
                kind = super::KIND,
                program = self.program,
                missed,
                "the program exceeded its limit of log entries; some were left out"
            );
        }
        true
    }

    /// Logs every line of a stream until its end.
    pub(super) async fn copy(mut self, source: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(source, MAX_TEXT, Overlong::Cut);
        while let Ok(Found::Line(line)) = lines.next().await {
            self.say(Level::Info, &String::from_utf8_lossy(&line));
        }
    }
}

/// The rate limit: a token bucket of [`BURST`] entries that refills with time.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
    missed: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
            missed: 0,
        }
    }

    /// Allows one entry; returns how many were not allowed since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let gained = (now - self.since).as_millis() / PER_ENTRY.as_millis();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(BURST);
            self.since = now;
        }
        if self.left == 0 {
            self.missed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.missed))
    }
}

/// The last part of a text of several lines, each with a prefix, so that none of them looks like a
/// log entry.
fn lines(text: &str) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(MAX_TRACE));
    let text = text.get(from..).unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    for line in text.trim_end().lines() {
        shown.push_str("\n    | ");
        shown.push_str(&printable(line));
    }
    shown
}

/// A text on one line, cut after [`MAX_TEXT`] bytes, with hidden characters escaped.
pub(super) fn printable(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    let shown = untrusted::line(text.get(..end).unwrap_or_default());
    let cut = if end < text.len() { "…" } else { "" };
    format!("{shown}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        assert_eq!(
            printable("a\u{1b}[2Jb\rc\u{202e}d\té"),
            "a\\u{1b}[2Jb\\rc\\u{202e}d\\té"
        );
        let long = "é".repeat(MAX_TEXT);
        let shown = printable(&long);
        assert!(shown.len() <= MAX_TEXT + '…'.len_utf8());
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        let allowed = (0..1000).filter(|_| allowance.take(now).is_some());
        assert_eq!(allowed.count(), BURST as usize);
        let later = now + PER_ENTRY;
        assert_eq!(
            allowance.take(later),
            Some(1000 - u64::from(BURST)),
            "the next entry says how many were left out"
        );
        assert_eq!(allowance.take(later), None);
    }
}
