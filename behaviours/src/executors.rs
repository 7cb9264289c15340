//! The executors that agentry brings along: how the [`tasks`](crate::tasks) behaviour does a type
//! of job.
//!
//! | executor | module | what does the job |
//! |---|---|---|
//! | `command` | [`command`] | a program |
//! | `http` | [`http`] | a model behind an OpenAI-compatible chat-completions endpoint |
//!
//! What an asker is told of a failure is a code and a sentence of ours. What a program or a service
//! says of it goes into the log.

pub mod command;
pub mod http;
