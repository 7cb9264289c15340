//! The common code of the benchmarks and the scale tests.
//!
//! | module | holds |
//! |---|---|
//! | [`chain`] | a chain.db that is written to directly, thousands of rows at once |
//! | [`cost`] | the cost of a signature, a verification and a durable write on this machine |
//! | [`crowd`] | many agents that answer one ping each |
//! | [`fleet`] | wallets in a vault, and runtimes that host them |
//! | [`flood`] | one sender's flood, and another sender's single message |
//! | [`pings`] | messages to answer, and waiting for the answers |
//! | [`process`] | a runtime in its own process, its memory and its processor time |
//! | [`report`] | the machine, and tables |
//! | [`sink`] | a node that accepts everything at once |

pub(crate) mod chain;
pub(crate) mod cost;
pub(crate) mod crowd;
pub(crate) mod fleet;
pub(crate) mod flood;
pub(crate) mod pings;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod sink;
