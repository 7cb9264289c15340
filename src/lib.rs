//! agentry: a runtime that hosts many wallet agents in one process.
//!
//! It watches an AITBC chain, gives every agent a mailbox and pluggable behaviours, and replies on
//! chain: each message is acted on once and each reply is mined once, through crashes,
//! reorganisations and nodes that lose transactions.
//!
//! | module | holds |
//! |---|---|
//! | [`runtime`] | the actors |
//! | [`ops`] | what can be asked of a runtime |
//! | [`doors`] | how other software reaches a runtime |
//! | [`config`] | agents.toml |
//! | [`wallet`] | keystore files and vaults |
//! | [`cli`] | the command line |
//! | [`schedule`] | when schedules of behaviours are due |
//! | [`replay`] | running behaviours on the chain's history |
//! | [`demo`] | the whole conversation, replayed on two nodes |
//!
//! Your own binary can add its kinds of behaviour to the same command line:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     // `.with::<MyBehaviour>()` for each of your own kinds
//!     agentry::cli::main_with(agentry::builtins())
//! }
//! ```

pub mod cli;
pub mod config;
pub mod demo;
pub mod doors;
pub mod ops;
pub mod replay;
pub mod runtime;
pub mod schedule;
pub mod wallet;

pub use agentry_behaviours::builtins;
pub use runtime::host::{Host, HostError, HostOptions};
