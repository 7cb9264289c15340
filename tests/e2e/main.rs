//! The guarantees, end to end: the real binary as a child process, on real nodes.
//!
//! | module | what it tests |
//! |---|---|
//! | [`a2a`] | jobs that another agent does: a question, kills, a cancellation |
//! | [`august`] | kills and faults over the dialect of August 2026, and its own hazards |
//! | [`cluster`] | several hosts: killed, frozen, cut off; the servers of PostgreSQL fail |
//! | [`kill`] | `kill -9` at named points and at random moments: every ping is answered once |
//! | [`faults`] | the same while the node has each of the real node's faults |
//! | [`conversation`] | both for every behaviour: acknowledgments, tasks, resends |
//! | [`nodes`] | the same while nodes stop, follow, reorganise deeply, or wallets cannot pay |
//! | [`hostile`] | the same among hostile transactions |
//! | [`slow`] | a slow node has most of its time for others |
//! | [`stop`] | what SIGTERM finishes, and what it leaves for the next start |
//! | [`store`] | a store that cannot be written, or that is damaged while a runtime uses it |
//! | [`ticks`] | `kill -9` at named points: every tick of a schedule runs once |
//! | [`traces`] | one trace through two processes, and a collector that does not answer |
//! | [`support`] | what only these tests use; the rest is in `agentry_testbed` |
//!
//! | variable | meaning |
//! |---|---|
//! | `AGENTRY_TEST_SEED` | repeats a run: each test prints the seed that it uses |
//! | `AGENTRY_CLUSTER_ROUNDS` | how many random rounds of a cluster there are (default 6) |
//! | `AGENTRY_KILL_RUNS` | how many random kill runs there are (default 12) |
//!
//! `cargo test --test e2e -- --nocapture` prints how long each recovery took.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "timings are printed")]

mod a2a;
mod august;
mod cluster;
mod conversation;
mod faults;
mod hostile;
mod kill;
mod llm;
mod nodes;
mod slow;
mod stop;
mod store;
mod support;
mod ticks;
#[cfg(feature = "otlp")]
mod traces;
