//! Clusters, end to end: the real binary as several processes, on a real PostgreSQL and a real node.
//!
//! | module | what it tests |
//! |---|---|
//! | [`workers`] | tasks that workers run: killed, paused, cut off, stopped; and the hosts around them |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a failure prints the logs")]

mod workers;
