//! The behaviours that agentry brings along. They know only the sdk, as those of any user do.
//!
//! | kind | module | what it does |
//! |---|---|---|
//! | `ack` | [`ack`] | acknowledges messages whose senders ask for it |
//! | `pong` | [`pong`] | answers a text with a text |
//! | `status` | [`status`] | answers `STATUS_REPORT` with how the agent is |
//! | `tasks` | [`tasks`] | does the jobs that others ask for |

pub mod ack;
pub mod pong;
pub mod status;
pub mod tasks;
pub mod units;

use agentry_sdk::Registry;

/// Every kind of this crate: the complete list.
pub fn builtins() -> Registry {
    Registry::new()
        .with::<ack::Acknowledger>()
        .with::<pong::Pong>()
        .with::<status::StatusReporter>()
        .with::<tasks::Tasks>()
}
