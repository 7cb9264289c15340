//! The command line, through the real binary.

mod chain;
mod config;
mod general;
mod tx;
mod vaults;
mod wallet;
mod world;
