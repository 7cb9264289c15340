//! One suite of laws, run over every source of the chain; and the node client's own tests.
//!
//! `model` is the actual chain; `stage` shows it through six kinds of node (RPC through `http`, a
//! scripted node); `reader` follows a source as the runtime does. `laws` tests the laws of all
//! sources, `property` tests them over random histories; `db` and `rpc` test one kind of source;
//! `august` tests what nodes of August 2026 have of their own, `push` the blocks that they push; `slow`
//! tests nodes that take long, or do not answer; `node` tests the client alone.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod august;
mod db;
mod http;
mod laws;
mod model;
mod node;
mod property;
mod push;
mod reader;
mod rpc;
mod slow;
mod stage;
