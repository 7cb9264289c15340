//! A test kit for logs, for this crate and for those that keep a log elsewhere.
//!
//! | module | content |
//! |---|---|
//! | `logs` | [`log_laws`]: what every log does |
//! | `stores` | [`store_laws`]: what the stores of several hosts do over a log |
//! | `commits` | random commits, of which most have an effect |
//! | `rows` | the rows of a state and of tables, in the same form |
//! | `memory` | [`Memory`]: a log in memory that several hosts share, with faults on demand |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod commits;
mod logs;
mod memory;
pub(crate) mod rows;
mod stores;

pub use logs::{TestLog, log_laws};
pub use memory::{Fault, Memory};
pub use stores::store_laws;
