//! The built-in behaviours, kind by kind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ack;
mod contract;
mod conversation;
mod llm;
mod pong;
mod reference;
mod status;
mod support;
mod tasks;
