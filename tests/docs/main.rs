//! Checks the documentation against the program.
//!
//! References are generated (`UPDATE=1 cargo test --test docs` updates them), examples are parsed by
//! the program that they are examples for, and links have targets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod examples;
mod links;
mod own_behaviour;
mod page;
mod protocol;
mod references;
