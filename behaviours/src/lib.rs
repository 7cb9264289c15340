//! The behaviours that agentry brings along. They know only the sdk, as those of any user do.
//!
//! | kind | module | what it does |
//! |---|---|---|
//! | `ack` | [`ack`] | acknowledges messages whose senders ask for it |
//! | `pong` | [`pong`] | answers a text with a text |
//! | `process` | [`process`] | has a program in any language decide |
//! | `status` | [`status`] | answers `STATUS_REPORT` with how the agent is |
//! | `tasks` | [`tasks`] | does the jobs that others ask for |
//!
//! | executor of `tasks` | module | what does the job |
//! |---|---|---|
//! | `command` | [`executors::command`] | a program |
//! | `http` | [`executors::http`] | a model behind an OpenAI-compatible endpoint |
//!
//! | module | what else it holds |
//! |---|---|
//! | [`confine`] | running programs within limits; the helper that a binary with `command` calls |
//! | [`units`] | lengths of time and of data in agents.toml |
//!
//! The keys of each are also in `docs/behaviours.md`, which is tested against them.

pub mod ack;
pub mod confine;
pub mod executors;
pub mod pong;
pub mod process;
pub mod status;
pub mod tasks;
pub mod units;

use agentry_sdk::Registry;

/// Every kind of this crate, and every executor: the complete list.
pub fn builtins() -> Registry {
    Registry::new()
        .with::<ack::Acknowledger>()
        .with::<pong::Pong>()
        .with::<process::Process>()
        .with::<status::StatusReporter>()
        .with::<tasks::Tasks>()
        .with_executor::<executors::command::Command>()
        .with_executor::<executors::http::Http>()
}
