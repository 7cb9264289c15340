//! What the author of a behaviour sees.
//!
//! A behaviour is a rule of conduct for a hosted wallet: it is shown a [`Message`] and returns
//! [`Effects`], what should happen. It performs nothing itself; the runtime makes the effects so,
//! exactly once, however often the behaviour had to be run for it.
//!
//! | module | holds |
//! |---|---|
//! | [`behaviour`] | the [`Behaviour`] trait and how a run may fail |
//! | [`message`] | what a behaviour is shown of a message |
//! | [`event`] | what else it is shown: timers, fates, settlements, news of tasks |
//! | [`standing`] | how well an agent knows a sender, and what that sender may use |
//! | [`effects`] | what it may ask for |
//! | [`outgoing`] | a message that it sends |
//! | [`task`] | work that takes long; executors |
//! | [`context`] | who runs it, when, and its durable state |
//! | [`directory`] | the cards of other agents, and what can be looked up |
//! | [`registry`] | the lists of kinds that a binary knows |
//! | [`erased`] | behaviours and executors whose types were forgotten |
//! | `testing` | with the feature `testing`: a simulated chain to try behaviours on |
//!
//! `docs/writing-behaviours.md` leads from `cargo new` to a tested behaviour in a binary of one's
//! own; `examples/` holds whole ones.
//!
//! ```
//! use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup};
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
//!     fn configure(_: EchoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
//!         Ok(Echo)
//!     }
//!
//!     fn accepts(&self, message: &Message) -> bool {
//!         message.text().is_some() && !message.is_answer()
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
//!
//! # Dependencies
//!
//! A library of behaviours is built from the sdk alone: no runtime, no database, no HTTP. All that
//! it brings along is JSON, the chain's formats, and the cryptography of those. This is
//! every crate of the tree (`cargo tree -p agentry-sdk -e normal`); the feature `testing` adds
//! none, and a test holds it to that.
//!
//! ```text
//! aead aes aes-gcm agentry-protocol agentry-sdk base64 bech32 block-buffer block-padding cbc
//! cfg-if cipher cmov const-oid cpubits cpufeatures crypto-common ctr ctutils curve25519-dalek
//! curve25519-dalek-derive digest ed25519 ed25519-dalek getrandom ghash hex hkdf hmac hpke
//! hybrid-array inout itoa libc memchr pbkdf2 polyval proc-macro2 quote rand_core serde serde_core
//! serde_derive serde_json sha2 signature subtle syn thiserror thiserror-impl typenum
//! unicode-ident universal-hash x25519-dalek zeroize zeroize_derive zmij
//! ```

pub mod behaviour;
pub mod context;
pub mod directory;
pub mod effects;
pub mod erased;
pub mod event;
pub mod message;
pub mod outgoing;
pub mod registry;
pub mod standing;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;

pub use behaviour::{Behaviour, BehaviourError, ConfigureError};
pub use context::{Context, State};
pub use directory::{Card, NameError, Query, World};
pub use effects::{Effect, Effects, EffectsError};
pub use erased::{AnyBehaviour, AnyExecutor};
pub use event::{Event, Fate, SentMessage, Settlement, TaskNews, TaskReport, Timer};
pub use message::{Answered, Authenticity, Message};
pub use outgoing::{Acknowledge, Addressed, Outgoing, Sealing};
pub use registry::{BuildError, Registry, Setup};
pub use standing::Standing;
pub use task::{Desk, Executor, Task, TaskError, TaskLimits, TaskOutput, TaskStart};

/// The types of the chain that messages and effects are made of.
pub use agentry_protocol as protocol;
