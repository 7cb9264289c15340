//! Reading an AITBC chain and posting to it.
//!
//! # Map
//! | module | what it is for |
//! |---|---|
//! | [`node`] | [`NodeClient`]: the calls of one node's RPC, bounded in size and time, and what is known of the fate of a posted transaction ([`SubmitError`]) |
//! | [`source`] | [`ChainSource`]: the trait of everything that a chain can be read from, with its [`Cursor`], [`Batch`] and [`ChainEvent`] |
//! | [`db`] | [`ChainDb`]: the source that reads a node's `chain.db`, without ever writing to it or standing in the node's way |
//! | [`rpc`] | [`RpcSource`]: the source that reads over a node's RPC |
//!
//! A source delivers every transaction of the canonical chain at least once, in chain order,
//! whatever happens to the chain below it: reorganisations, late rows, resets, replaced files. What
//! a source cannot see by its nature it names in [`Nature::exemptions`]. One suite of laws
//! (`tests/laws`) runs over all of them.
//!
//! The chain's content is hostile: an answer is looked at while it arrives (`list`) and only what is
//! wanted of it is kept, JSON is cut up without recursion (`raw`), and what cannot be decoded becomes an event of its own and never hides its neighbours.

pub mod db;
mod list;
pub mod node;
mod raw;
mod row;
pub mod rpc;
pub mod source;

pub use db::{ChainDb, ChainDbOptions, DbWork, MempoolDb};
pub use node::{
    Account, Block, BlockTransaction, BlockWalk, FoundTransaction, Head, HeadPoll, Health,
    ImportOutcome, Mempool, NodeClient, NodeError, NodeOptions, SubmitError,
};
pub use rpc::{RpcOptions, RpcSource};
pub use source::{
    Batch, ChainEvent, ChainSource, ChainTransaction, Cursor, Everything, Exemption, Interest,
    Nature, SourceError, Start, Undecodable,
};
