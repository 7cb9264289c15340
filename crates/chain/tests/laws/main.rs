//! One suite of laws, run over every source of the chain.
//!
//! `model` is the chain as it truly is, `stage` shows it through four kinds of node, `reader` follows
//! a source as the runtime does. `laws` holds what is true of all sources, `property` the same over
//! random histories; `db` and `rpc` hold what only one kind has to do with.

mod db;
#[path = "../support/http.rs"]
mod http;
mod laws;
mod model;
mod property;
mod reader;
mod rpc;
mod stage;
