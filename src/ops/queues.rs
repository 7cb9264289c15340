//! The queues.
//!
//! | part | holds |
//! |---|---|
//! | [`list`], [`rows`] | listing rows, and looking up one |
//! | [`spending`] | what agents have spent today, of which budget |
//! | `retry` | verifying the senders of dead letters again |
//! | [`waits`] | why rows wait |

pub mod list;
mod retry;
pub mod rows;
pub mod spending;
pub mod waits;
