//! agentry: a runtime that hosts many wallet agents in one process.
//!
//! It watches an AITBC chain, gives every agent a mailbox and pluggable behaviours, and answers on
//! chain: each message is acted on once and each reply is mined once, through crashes,
//! reorganisations and nodes that lose transactions.
//!
//! | module | holds |
//! |---|---|
//! | [`runtime`] | the actors |
//! | [`store`] | what must survive a crash |
//! | [`config`] | agents.toml |
//! | [`wallet`] | keystore files and vaults |
//! | [`text`] | text of others, as it may be shown |
//! | [`cli`] | the command line |
//! | [`replay`] | trying behaviours on the chain's history |
//! | [`demo`] | the whole conversation, replayed on two nodes |
//!
//! A binary of one's own adds its kinds of behaviour to the same command line:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     // `.with::<MyBehaviour>()` for each kind of one's own
//!     agentry::cli::main_with(agentry::builtins())
//! }
//! ```

pub mod cli;
pub mod config;
pub mod demo;
pub mod replay;
pub mod runtime;
pub mod store;
pub mod text;
pub mod wallet;

pub use agentry_behaviours::builtins;
pub use runtime::host::{Host, HostError, HostOptions};
