//! The thread that writes the log.
//!
//! A pipe whose reader sleeps, or a terminal that was stopped, takes no more after some kilobytes. The
//! lines wait here then, in a bounded queue; when that is full they are counted instead of kept, and
//! whoever logs goes on.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing_subscriber::fmt::MakeWriter;

use super::quota::Quota;
use crate::text::{json_escaped, styled};

/// How much may wait to be written, in bytes.
const MAX_WAITING: usize = 4 << 20;

/// How long a line waits for room. A burst costs this at most, once, and then no line waits until
/// half of what is queued was read.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often the thread looks whether lines were left out.
const LOOK: Duration = Duration::from_secs(5);

/// How long [`Log::flush`] waits.
const FLUSH: Duration = Duration::from_secs(1);

/// Where log lines go. Cheap to clone.
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
    /// Their bytes, with those of the one that is being written.
    bytes: usize,
    /// Whether there is a thread that writes.
    served: bool,
    writing: bool,
    /// Nobody reads the log: no line waits for room.
    stuck: bool,
    /// How many lines were not kept.
    lost: u64,
}

impl Log {
    /// A log of lines of text, or of one JSON object each. Its thread starts with the first line.
    pub(super) fn new(json: bool) -> Self {
        Self(Arc::new(Inner {
            json,
            quota: Quota::default(),
            queue: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Waits until what was logged is written, but not for long.
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
                // The system gives no thread: this one writes.
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
                // Best effort: a reader that has gone, or a full disk, is nobody's failure.
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
                    tracing::warn!(
                        lost,
                        "lines of the log are missing: its reader did not keep up"
                    );
                }
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.tell_left_out(false);
            }
        }
    }

    /// The next line, if one comes before it is time to look for what was left out.
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
            tracing::warn!(left_out, like, "lines that repeat were left out");
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
        // What this module tells of what is missing is rare as it is.
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
    /// The place in the code that it comes from, where that is limited.
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

/// A line as it is written. What others say in it forges no line of ours: further lines of a text are
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
        // As if its thread hung in a write.
        log.0.lock().served = true;
        for _ in 0..40 {
            log.push(vec![b'x'; MAX_WAITING / 16]);
        }
        let queue = log.0.lock();
        assert_eq!((queue.lines.len(), queue.lost), (16, 24));
        assert!(queue.stuck, "no further line waits for room");
    }
}
