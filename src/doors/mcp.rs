//! The Model Context Protocol: agents for the hosts of language models.
//!
//! [`McpServer`] is the handler, in revisions 2025-11-25 and 2026-07-28 of the protocol. It offers the
//! operations of a [`Door`](super::door::Door) as tools, and what they read as resources.
//!
//! | module | holds |
//! |---|---|
//! | `server` | the handler |
//! | `tools` | the tools: names, descriptions, schemas |
//! | `schemas` | JSON Schemas that hosts understand |
//! | `calls` | carrying out a tool |
//! | `sending` | what a call spends |
//! | `resources` | what can be read by its URI |
//! | `updates` | telling subscribers what has changed |
//! | `asking` | asking the person at the host |
//! | `questions` | questions of tasks, as forms |
//! | `tasks` | jobs as tasks of the protocol |
//! | `limits` | what a connection may spend |
//! | [`access`] | whose rights a request has |
//! | [`stdio`] | serving a host that has started this process |
//! | [`http`] | serving over HTTP, on actix-web |
//!
//! What comes from the chain (texts, results, questions, cards) is data. It is in the results of
//! tools and in resources, beside the fields that say who wrote it and whether that is certain; in a
//! question for a person, it is quoted. It never becomes a name, a description, an instruction or an
//! error's text, which are fixed.

pub mod access;
mod asking;
mod calls;
pub mod http;
mod limits;
mod questions;
mod resources;
mod schemas;
mod sending;
mod server;
pub mod stdio;
mod tasks;
mod tools;
mod updates;

pub use server::McpServer;
