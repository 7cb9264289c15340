//! The queues.
//!
//! | part | holds |
//! |---|---|
//! | [`list`], [`rows`] | listing rows, and looking up one |
//! | [`spending`] | what agents have spent today, of which budget |
//! | `change` | retrying and dropping rows, and resuming posting |
//! | `retry` | verifying the senders of dead letters again |
//! | [`waits`] | why rows wait |

mod change;
pub mod list;
mod retry;
pub mod rows;
pub mod spending;
pub mod waits;

pub use change::{ChangeError, QueueChange, change};
