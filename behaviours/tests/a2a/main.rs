//! The executor `a2a` with real servers on loopback, both well-behaved and hostile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bench;
mod cards;
mod course;
mod faults;
mod referee;
