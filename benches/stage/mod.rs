//! What the benchmarks, and the tests of scale, have in common.
//!
//! | module | holds |
//! |---|---|
//! | [`chain`] | a chain.db that is written to directly, by the thousand |
//! | [`cost`] | what a signature, a verification, a durable write and the like cost here |
//! | [`crowd`] | many agents that answer one ping each |
//! | [`fleet`] | wallets in a vault, and runtimes that host them |
//! | [`flood`] | one sender's flood, and another's single message |
//! | [`pings`] | messages to be answered, and whether they were |
//! | [`process`] | a runtime as a process of its own, its memory and its time |
//! | [`report`] | the machine, and tables |
//! | [`sink`] | a node that takes everything at once |

pub(crate) mod chain;
pub(crate) mod cost;
pub(crate) mod crowd;
pub(crate) mod fleet;
pub(crate) mod flood;
pub(crate) mod pings;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod sink;
