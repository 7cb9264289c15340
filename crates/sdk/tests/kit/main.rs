//! The test kit provides the guarantees of the runtime: a small history for each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accidents;
mod messages;
mod outcomes;
mod puppet;
mod tasks;
