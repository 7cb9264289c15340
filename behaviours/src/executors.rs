//! The built-in executors, which do the jobs of the [`tasks`](crate::tasks) behaviour.
//!
//! | executor | module | what does the job |
//! |---|---|---|
//! | `a2a` | [`a2a`] | an agent that speaks A2A |
//! | `command` | [`command`] | a program |
//! | `http` | [`http`] | a model behind an OpenAI-compatible chat-completions endpoint |
//! | `mcp` | [`mcp`] | a tool of an MCP server |
//!
//! | other module | contents |
//! |---|---|
//! | `key` | the secret that a service asks for |
//! | `lines` | the events or lines of a stream |
//! | `remote` | what executors that call a URL have in common |
//!
//! The submitter of a job is told of a failure with a code and a fixed text. What a program or a
//! service says about the failure goes to the log only.

pub mod a2a;
pub mod command;
pub mod http;
mod key;
mod lines;
pub mod mcp;
mod remote;
