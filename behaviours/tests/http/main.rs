//! The executor `http` with real servers on loopback, both well-behaved and hostile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod bench;
mod failures;
mod forms;
mod secrets;
mod tokens;
