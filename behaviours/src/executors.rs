//! The built-in executors, which do the jobs of the [`tasks`](crate::tasks) behaviour.
//!
//! | executor | module | what does the job |
//! |---|---|---|
//! | `command` | [`command`] | a program |
//! | `http` | [`http`] | a model behind an OpenAI-compatible chat-completions endpoint |
//!
//! The submitter of a job is told of a failure with a code and a fixed text. What a program or a
//! service says about the failure goes to the log only.

pub mod command;
pub mod http;
