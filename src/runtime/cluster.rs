//! Several hosts that share the agents of one configuration.
//!
//! The agents are divided among *shards*; each is a runtime of its own, with a store, whose log is in
//! the cluster's database. Hosts beat in that database, and decide by what they see which of them runs
//! which shard ([`agentry_core::cluster`]): if one dies, others claim its shards and go on from their
//! logs.
//!
//! | part | holds |
//! |---|---|
//! | [`connect`] | the database of a configuration; what a host says of itself |
//! | `beats` | the loop: beat, look, decide, act |
//! | `shards` | what this host does with each shard |
//! | [`copy`] | this machine's copy of a shard's tables |
//! | `killable` | where tests kill the process after an append |
//! | `relay` | requests of commands for shards that other hosts own |
//! | `snapshots` | keeps the logs short |
//! | `node` | whether this host's node answers it |
//! | `runner` | a shard that runs, on a thread of its own |
//! | `surroundings` | what metrics show of the database's standby and of workers |
//! | `temporary` | files that are made on the way to something else |
//! | `timer` | ends a process that is frozen for longer than its lease |

mod beats;
pub mod connect;
pub mod copy;
mod killable;
mod node;
mod relay;
mod runner;
mod shards;
mod snapshots;
mod surroundings;
pub(crate) mod temporary;
mod timer;

pub(in crate::runtime) use beats::run;
