//! The thread that writes the log.
//!
//! A pipe whose reader sleeps, or a stopped terminal, accepts no more than some kilobytes. Lines
//! then wait here in a bounded queue; when the queue is full, lines are counted and discarded, and
//! the thread that logs continues.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agentry_protocol::untrusted::{json_escaped, styled};
use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing_subscriber::fmt::MakeWriter;

use super::quota::Quota;

/// Maximum size of the queue, in bytes.
const MAX_WAITING: usize = 4 << 20;

/// How long a line waits for space in the queue. A burst costs this once at most; after that, no
/// line waits until half of the queue has been read.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often the thread checks for omitted lines.
const LOOK: Duration = Duration::from_secs(5);

/// Time limit of [`Log::flush`].
const FLUSH: Duration = Duration::from_secs(1);

/// Destination of log lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    json: bool,
    quota: Quota,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// Size of the queued lines in bytes, including the line that is being written.
    bytes: usize,
    /// Whether the thread exists.
    served: bool,
    writing: bool,
    /// Whether the log has no active reader, so that no line waits for space.
    stuck: bool,
    /// How many lines were discarded.
    lost: u64,
}

impl Log {
    /// A log of text lines, or of one JSON object per line. Its thread starts with the first line.
    pub(super) fn new(json: bool) -> Self {
        Self(Arc::new(Inner {
            json,
            quota: Quota::default(),
            queue: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Waits until all queued lines are written, up to the time limit.
    pub(super) fn flush(&self) {
        self.tell_left_out(true);
        let waits = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        let queue = self.0.lock();
        drop(self.0.changed.wait_timeout_while(queue, FLUSH, waits));
    }

    fn push(&self, line: Vec<u8>) {
        let mut queue = self.0.lock();
        if !queue.served {
            let log = self.clone();
            let named = thread::Builder::new().name("agentry-log".to_owned());
            if named.spawn(move || log.work()).is_err() {
                // The thread cannot be created: the caller writes.
                drop(queue);
                return drop(io::stderr().write_all(&line));
            }
            queue.served = true;
        }
        let size = line.len();
        let is_full = |queue: &mut Queue| !queue.stuck && queue.bytes + size > MAX_WAITING;
        if is_full(&mut queue) {
            let waited = self.0.changed.wait_timeout_while(queue, PATIENCE, is_full);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if queue.bytes + size > MAX_WAITING {
            queue.stuck = true;
            queue.lost += 1;
            return;
        }
        queue.bytes += size;
        queue.lines.push_back(line);
        self.0.changed.notify_all();
    }

    fn work(&self) {
        let mut looked = Instant::now();
        loop {
            if let Some(line) = self.next() {
                // Best effort: a closed pipe or a full disk must not fail the caller.
                drop(io::stderr().write_all(&line));
                let mut queue = self.0.lock();
                queue.writing = false;
                queue.bytes -= line.len();
                queue.stuck &= queue.bytes > MAX_WAITING / 2;
                self.0.changed.notify_all();
                let lost = if queue.stuck {
                    0
                } else {
                    std::mem::take(&mut queue.lost)
                };
                drop(queue);
                if lost > 0 {
                    tracing::warn!(lost, "log lines were discarded: the reader did not keep up");
                }
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.tell_left_out(false);
            }
        }
    }

    /// The next line, if one arrives before the next check for omitted lines.
    fn next(&self) -> Option<Vec<u8>> {
        let empty = |queue: &mut Queue| queue.lines.is_empty();
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.0.lock(), LOOK, empty);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let line = queue.lines.pop_front()?;
        queue.writing = true;
        Some(line)
    }

    fn tell_left_out(&self, at_once: bool) {
        for (left_out, like) in self.0.quota.left_out(Instant::now(), at_once) {
            tracing::warn!(left_out, like, "repeated log lines were omitted");
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            log: self,
            admitted: true,
            place: None,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        // This module's own warnings are rare, so they are not limited.
        let limited = *meta.level() <= tracing::Level::WARN && meta.target() != module_path!();
        let place = limited.then(|| meta.callsite());
        let admits = |place: &Identifier| self.0.quota.admits(place, Instant::now());
        Line {
            log: self,
            admitted: place.as_ref().is_none_or(admits),
            place,
        }
    }
}

/// One line on its way to the log.
#[derive(Debug)]
pub(super) struct Line<'a> {
    log: &'a Log,
    admitted: bool,
    /// The place in the code that logged it, if that place is rate-limited.
    place: Option<Identifier>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.admitted {
            let text = String::from_utf8_lossy(bytes);
            if let Some(place) = &self.place {
                self.log.0.quota.wrote(place, &text);
            }
            self.log.push(shown(&text, self.log.0.json).into_bytes());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line as it is written. Text from others cannot forge a log line: further lines of a text are
/// indented.
fn shown(line: &str, json: bool) -> String {
    if json {
        return json_escaped(line).into_owned();
    }
    let text = line.strip_suffix('\n').unwrap_or(line);
    let mut shown = styled(text).replace('\n', "\n    ");
    shown.push('\n');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_forges_a_line_of_the_log() {
        assert_eq!(
            shown("WARN node.detail=a\nINFO hosting\u{9b}\r\u{202e}\n", false),
            "WARN node.detail=a\n    INFO hosting\\u{9b}\\r\\u{202e}\n"
        );
        assert_eq!(shown("{\"a\":\"\u{9b}\"}\n", true), "{\"a\":\"\\u009b\"}\n");
    }

    #[test]
    fn a_log_that_nobody_reads_keeps_a_bounded_part_and_counts_the_rest() {
        let log = Log::new(false);
        // As if the thread hung in a write.
        log.0.lock().served = true;
        for _ in 0..40 {
            log.push(vec![b'x'; MAX_WAITING / 16]);
        }
        let queue = log.0.lock();
        assert_eq!((queue.lines.len(), queue.lost), (16, 24));
        assert!(queue.stuck, "no further line waits for space");
    }
}
