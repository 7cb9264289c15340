//! The behaviours that agentry brings along. They know only the sdk, as those of any user do.
//!
//! | kind | module | what it does |
//! |---|---|---|
//! | `pong` | [`pong`] | answers a text with a text |

pub mod pong;

use agentry_sdk::Registry;

/// Every kind of this crate: the complete list.
pub fn builtins() -> Registry {
    Registry::new().with::<pong::Pong>()
}
