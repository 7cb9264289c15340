//! Several hosts of one cluster: real processes, on a real PostgreSQL with a synchronous standby.
//!
//! Each test ends with the same audit: every ping is answered once on the chain, no mined transaction
//! was posted again, no older epoch has appended after a claim, and the log of each shard equals the
//! tables of every host that has some. The hosts, and the audit, are in `agentry_testbed::fleet`.
//!
//! | module | what it tests |
//! |---|---|
//! | [`points`] | `kill -9` at named points |
//! | [`frozen`] | SIGSTOP for longer than a lease, and SIGCONT |
//! | [`links`] | links that are cut, or that hold what they carry, in one direction or both |
//! | [`engine`] | the servers of PostgreSQL: killed, stopped, a wait that is cancelled |
//! | [`hosts`] | clocks an hour apart; a network of its own; every host replaced in turn |
//! | [`rounds`] | all of it in random order |

mod engine;
mod frozen;
mod hosts;
mod links;
mod points;
mod rounds;
