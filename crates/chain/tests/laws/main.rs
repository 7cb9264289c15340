//! One suite of laws, run over every source of the chain; and the node client's own tests.
//!
//! `model` is the chain as it truly is, `stage` shows it through four kinds of node (over `http`, a
//! scripted node, where it is RPC), `reader` follows a source as the runtime does. `laws` holds what
//! is true of all sources, `property` the same over random histories; `db` and `rpc` hold what only
//! one kind has to do with; `slow` is about nodes that take long, or do not answer; `node` is about the client alone.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod db;
mod http;
mod laws;
mod model;
mod node;
mod property;
mod reader;
mod rpc;
mod slow;
mod stage;
