//! The API for authors of behaviours.
//!
//! A behaviour defines what a hosted wallet does with its messages: it is shown a [`Message`] and
//! returns [`Effects`], what should happen. It has no side effects of its own. The runtime carries
//! out the effects exactly once, even if it runs the behaviour several times for one event.
//!
//! | module | contents |
//! |---|---|
//! | [`behaviour`] | the [`Behaviour`] trait and the errors of a run |
//! | [`message`] | a message as a behaviour sees it |
//! | [`event`] | the other events: timers, delivery updates, outcomes, updates of tasks |
//! | [`standing`] | how well an agent knows a sender, and the share that the sender may use |
//! | [`effects`] | the effects that a handler returns |
//! | [`outgoing`] | messages that a behaviour sends |
//! | [`task`] | long-running work; executors |
//! | [`schedule`] | schedules: when a behaviour is run although nothing happened |
//! | [`context`] | the agent, the time and the durable state of a run |
//! | [`directory`] | the cards of other agents; queries |
//! | [`registry`] | the kinds of behaviour and executor that a binary contains |
//! | [`erased`] | type-erased behaviours and executors |
//! | [`durable`] | for runtimes: how effects are stored |
//! | `testing` | with the feature `testing`: a simulated chain for tests of behaviours |
//!
//! `docs/writing-behaviours.md` leads from `cargo new` to a tested behaviour in a binary of your
//! own; `examples/` contains complete behaviours.
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
//! A library of behaviours depends on this crate only: no runtime, no database, no HTTP. The crate
//! depends on JSON, the chain's formats, and the cryptography of those formats. The list contains
//! every crate of the tree (`cargo tree -p agentry-sdk -e normal`); the feature `testing` adds
//! none. A test checks the list.
//!
//! ```text
//! aead aes aes-gcm agentry-core agentry-protocol agentry-sdk base16ct base64
//! bech32 block-buffer block-padding cbc cfg-if cipher cmov const-oid cpubits
//! cpufeatures crypto-bigint crypto-common ctr ctutils curve25519-dalek
//! curve25519-dalek-derive der digest ecdsa ed25519 ed25519-dalek
//! elliptic-curve ff getrandom ghash group hex hkdf hmac hpke hybrid-array
//! inout itoa k256 keccak libc memchr num-traits pbkdf2 polyval primefield
//! primeorder proc-macro2 quote rand_core rfc6979 sec1 serde serde_core
//! serde_derive serde_json sha2 sha3 signature spki sponge-cursor subtle syn
//! thiserror thiserror-impl typenum unicode-ident universal-hash wnaf
//! x25519-dalek zeroize zeroize_derive zmij
//! ```

pub mod behaviour;
pub mod context;
pub mod directory;
pub mod durable;
pub mod effects;
pub mod erased;
pub mod event;
pub mod message;
pub mod outgoing;
pub mod registry;
pub mod schedule;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;

pub use behaviour::{Behaviour, BehaviourError, ConfigureError, Starts};
pub use context::{Context, State};
pub use directory::{Card, Environment, NameError, Query};
pub use effects::{Effect, Effects, EffectsError};
pub use erased::{AnyBehaviour, AnyExecutor};
pub use event::{
    DeliveryUpdate, Event, SentMessage, Settlement, Start, TaskNews, TaskReport, Tick, Timer,
};
pub use message::{Answered, Authenticity, Message};
pub use outgoing::{Acknowledge, Addressed, Outgoing, Sealing};
pub use registry::{BuildError, Registry, Setup};
pub use schedule::{Missed, Schedule, When};
pub use standing::Standing;
pub use task::{
    CompletedTask, Desk, Executor, RemoteCall, Task, TaskError, TaskLimits, TaskOutput, TaskStart,
    Tokens,
};

pub use agentry_core::standing;

/// The types of the chain that messages and effects are made of.
pub use agentry_protocol as protocol;
