//! What the author of a behaviour sees.
//!
//! A behaviour is a rule of conduct for a hosted wallet: it is shown a [`Message`] and returns
//! [`Effects`], what should happen. It performs nothing itself; the runtime makes the effects so,
//! exactly once, however often the behaviour had to be run for it.
//!
//! | module | holds |
//! |---|---|
//! | [`behaviour`] | the [`Behaviour`] trait and how a run may fail |
//! | [`message`] | what a behaviour is shown |
//! | [`effects`] | what it may ask for |
//! | [`context`] | who runs it, when, and its durable state |
//! | [`registry`] | the list of kinds that a binary knows |
//!
//! ```
//! use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message};
//! use serde::Deserialize;
//!
//! /// Answers every text with the same text.
//! #[derive(Debug)]
//! struct Echo;
//!
//! #[derive(Debug, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct EchoSettings {}
//!
//! impl Behaviour for Echo {
//!     const KIND: &'static str = "echo";
//!     type Settings = EchoSettings;
//!
//!     fn configure(_: EchoSettings) -> Result<Self, ConfigureError> {
//!         Ok(Echo)
//!     }
//!
//!     fn accepts(&self, message: &Message) -> bool {
//!         message.text().is_some()
//!     }
//!
//!     async fn on_message(
//!         &self,
//!         message: &Message,
//!         _: &Context,
//!     ) -> Result<Effects, BehaviourError> {
//!         let text = message.text().unwrap_or_default();
//!         Ok(Effects::none().reply(text))
//!     }
//! }
//! ```

pub mod behaviour;
pub mod context;
pub mod effects;
pub mod message;
pub mod registry;

pub use behaviour::{AnyBehaviour, Behaviour, BehaviourError, ConfigureError};
pub use context::{Context, State};
pub use effects::{Effect, Effects, EffectsError};
pub use message::{Authenticity, Message};
pub use registry::{BuildError, Registry};

/// The types of the chain that messages and effects are made of.
pub use agentry_protocol as protocol;
