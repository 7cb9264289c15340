//! The test kit keeps the runtime's promises: each in a small history.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accidents;
mod messages;
mod outcomes;
mod puppet;
mod tasks;
