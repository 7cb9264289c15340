//! Reading an AITBC chain and posting to it.
//!
//! # Map
//! | module | what it is for |
//! |---|---|
//! | `dialect` | what nodes of the dialects disagree on: [`Refusal`], [`detect`] |
//! | [`node`] | [`NodeClient`]: the calls of one node's RPC, bounded in size and time, and what is known about a transaction whose POST failed ([`SubmitError`]) |
//! | [`source`] | [`ChainSource`]: the trait of everything that a chain can be read from, with its [`Cursor`], [`Batch`] and [`ChainEvent`] |
//! | [`db`] | [`ChainDb`]: the source that reads a node's `chain.db`, without writing to it or blocking the node |
//! | [`rpc`] | [`RpcSource`]: the source that reads over a node's RPC |
//! | [`list`] | splitting the one long list of an answer while it arrives |
//!
//! A source delivers every transaction of the canonical chain at least once, in chain order,
//! whatever happens to the chain below it: reorganisations, late rows, resets, replaced files. A
//! source declares what it cannot see in [`Nature::exemptions`]. One suite of laws (`tests/laws`)
//! runs over all of them.
//!
//! The chain's content is hostile. An answer is processed while it arrives ([`list`]) and only the
//! wanted parts of it are kept; JSON is split without recursion (`raw`); and a transaction that
//! cannot be decoded becomes an event of its own and never hides the others.

pub mod db;
mod dialect;
pub mod list;
pub mod node;
mod raw;
mod row;
pub mod rpc;
pub mod source;

pub use db::{ChainDb, ChainDbOptions, DbWork, MempoolDb, SharedDb};
pub use dialect::{Refusal, Signs, detect};
pub use node::{
    Account, Block, BlockTransaction, BlockWalk, Bucket, FoundTransaction, Head, HeadPoll, Health,
    ImportOutcome, LocalNode, Mempool, NodeClient, NodeError, NodeOptions, Permit, PushedBlock,
    Seen, SubmitError, Subscription,
};
pub use rpc::{RpcOptions, RpcSource, SharedHead};
pub use source::{
    Apart, Batch, ChainEvent, ChainSource, ChainTransaction, Cursor, Everything, Exemption,
    Interest, Nature, SourceError, Start, Undecodable,
};
