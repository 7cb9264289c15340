//! Programs as behaviours: the Python example, programs that misbehave, and the documentation.
//!
//! Needs `python3` and a POSIX shell.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod declared;
mod hostile;
mod keys;
mod log;
mod lookups;
mod page;
mod python;
mod restart;
mod support;
mod tasks;
