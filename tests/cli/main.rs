//! The command line, through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod a2a;
mod bench;
mod chain;
mod cluster;
mod config;
mod console;
mod coordinator;
mod dev;
mod directory;
mod doctor;
mod doors;
mod exit;
mod forms;
mod general;
mod history;
mod host;
mod http;
mod init;
mod interrupt;
mod json;
mod keytypes;
mod limits;
mod mcp;
mod metrics;
mod moving;
mod paths;
mod private;
mod queue;
mod reload;
mod replay;
mod run;
mod secrets;
mod streams;
mod systemd;
mod talk;
mod task;
mod tx;
mod vaults;
mod wallet;
mod who;
mod worker;
mod world;
