//! The command line, through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chain;
mod config;
mod directory;
mod doctor;
mod exit;
mod general;
mod host;
mod init;
mod interrupt;
mod limits;
mod paths;
mod private;
mod queue;
mod reload;
mod replay;
mod run;
<<<<<<< HEAD
mod secrets;
=======
mod streams;
>>>>>>> d53af36 (Let no reader, limit or orphan end or spoil a runtime)
mod talk;
mod task;
mod tx;
mod vaults;
mod wallet;
mod who;
mod world;
