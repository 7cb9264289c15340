//! The command line, through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chain;
mod config;
mod general;
mod run;
mod talk;
mod tx;
mod vaults;
mod wallet;
mod world;
