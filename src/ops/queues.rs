//! The queues.
//!
//! | part | holds |
//! |---|---|
//! | `change` | retrying and dropping rows, and resuming posting |
//! | `retry` | verifying the senders of dead letters again |
//! | [`waits`] | why rows wait |

mod change;
mod retry;
pub mod waits;

pub use change::{ChangeError, QueueChange, change};
