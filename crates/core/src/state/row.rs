//! The rows of the state, and the indexes by which they are found.
//!
//! Times are milliseconds since the epoch. Amounts are in AIT.

pub mod agent;
pub mod card;
pub mod event;
pub mod inbox;
pub mod notice;
pub mod outbox;
pub mod push;
pub mod sighting;
pub mod task;
pub mod token;

pub use agent::{Agent, Memory, Spending};
pub use card::{Card, Gap};
pub use event::Event;
pub use inbox::{Forged, Message};
pub use notice::{Notice, Webhook};
pub use outbox::{Outgoing, Tracking};
pub use push::Push;
pub use sighting::Sighting;
pub use task::Task;
pub use token::Token;
