//! Tasks that workers run: attempts as *jobs*, which hosts put into the cluster's database and workers
//! take from there.
//!
//! A job is a row of one attempt. The host that owns the shard puts it and decides what becomes of it;
//! a worker takes it, beats while it runs, and puts the result. So the database passes on who works,
//! and promises nothing: a result counts once the owner has committed it, which the state machine
//! allows once for each attempt. Whatever is lost here leads to another attempt.
//!
//! | module | holds |
//! |---|---|
//! | `queue` | what the shards of a host have in common: hints, and the search for lost workers |
//! | `board` | the jobs of a shard, as its owner follows them |
//! | `wire` | what hosts and workers write for each other |

pub(in crate::runtime) mod board;
pub(in crate::runtime) mod queue;
pub(in crate::runtime) mod wire;

pub use board::Jobs;

use std::time::Duration;

/// How often a worker beats, and how often its owner looks.
pub(in crate::runtime) const BEAT: Duration = Duration::from_millis(500);
