//! The built-in behaviours of agentry. They use the sdk only, as the behaviours of any user do.
//!
//! | kind | module | what it does |
//! |---|---|---|
//! | `ack` | [`ack`] | acknowledges messages whose senders ask for it |
//! | `llm` | [`llm`] | converses through a language model |
//! | `pong` | [`pong`] | answers a text with a text |
//! | `process` | [`process`] | hands each event to a program in any language |
//! | `status` | [`status`] | answers `STATUS_REPORT` with the agent's status |
//! | `tasks` | [`tasks`] | does the jobs that other agents submit |
//!
//! | executor of `tasks` | module | what does the job |
//! |---|---|---|
//! | `a2a` | [`executors::a2a`] | an agent that speaks A2A |
//! | `command` | [`executors::command`] | a program |
//! | `http` | [`executors::http`] | a model behind an OpenAI-compatible endpoint |
//! | `mcp` | [`executors::mcp`] | a tool of an MCP server |
//!
//! | other module | contents |
//! |---|---|
//! | [`confine`] | running programs within limits; the helper that a binary with `command` calls |
//! | [`net`] | HTTP requests to places that an operator names |
//! | [`units`] | durations and sizes in agents.toml |
//!
//! `docs/behaviours.md` documents the keys of each; a test checks that it is complete.

pub mod ack;
mod allow;
pub mod confine;
pub mod executors;
pub mod llm;
pub mod net;
pub mod pong;
pub mod process;
mod start;
pub mod status;
pub mod tasks;
pub mod units;

use agentry_sdk::Registry;

/// The registry of all kinds of behaviour and executor in this crate.
pub fn builtins() -> Registry {
    Registry::new()
        .with::<ack::Acknowledger>()
        .with::<llm::Llm>()
        .with::<pong::Pong>()
        .with::<process::Process>()
        .with::<status::StatusReporter>()
        .with::<tasks::Tasks>()
        .with_executor::<executors::a2a::A2a>()
        .with_executor::<executors::command::Command>()
        .with_executor::<executors::http::Http>()
        .with_executor::<executors::mcp::Mcp>()
}
