//! The documentation, held against the program.
//!
//! References are generated (`UPDATE=1 cargo test --test docs` writes them anew), examples are
//! parsed by the program that they are examples for, and links lead somewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod examples;
mod links;
mod own_behaviour;
mod page;
mod protocol;
mod references;
