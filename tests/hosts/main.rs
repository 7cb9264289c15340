//! The doors of a cluster: whatever host a client talks to, it reaches every agent. Real processes, on a
//! real PostgreSQL with a synchronous standby.
//!
//! | module | what it tests |
//! |---|---|
//! | [`doors`] | the HTTP API, A2A and MCP, on the host that owns an agent and on the one that does not |
//! | [`cluster`] | the hosts |
//! | [`client`] | a client of one of them |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod cluster;
mod doors;
