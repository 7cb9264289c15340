//! The devnet's behaviour, on real SQLite files and over real HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests also fail by panicking"
)]

mod august;
mod common;
mod faults;
mod follower;
mod laws;
mod network_faults;
mod push;
mod rpc;
mod rules;
mod start;
mod storage;
mod sync;
