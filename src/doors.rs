//! The doors: how other software reaches a runtime.
//!
//! A [`Door`] carries out operations for a [`Caller`], who may be limited to some agents, rights and
//! recipients. Every way in is an adapter over it: it turns what arrives into a typed request, calls
//! the door, and writes the typed answer or the [`DoorError`].
//!
//! | module | holds |
//! |---|---|
//! | [`caller`] | who calls, and what it may do |
//! | [`door`] | the operations for a caller |
//! | [`shards`] | where the agents of a cluster are |
//! | [`error`] | why an operation was not carried out |
//! | [`api`] | the HTTP API |
//! | [`console`] | the web console, over the same operations |
//! | [`a2a`] | agents on the chain as A2A agents |
//! | [`mcp`] | the Model Context Protocol, for the hosts of language models |
//!
//! What comes from the chain (texts, payloads, results, cards) is data: an answer never mixes it with
//! words of agentry's own, and each message says whom it is from, and whether that is verified.

pub mod a2a;
pub mod api;
pub mod caller;
pub mod console;
pub mod door;
pub mod error;
pub mod mcp;
pub mod shards;

pub use caller::{Caller, Rights, Scope};
pub use door::Door;
pub use error::{DoorError, ErrorCode};
