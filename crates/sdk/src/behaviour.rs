//! The trait that a behaviour implements.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::de::DeserializeOwned;

use crate::{Authenticity, Context, Effects, Message};

/// A rule of conduct of a hosted wallet.
///
/// The runtime may run a behaviour several times for one message (after a crash, a time-out, a
/// failure), also at the same time for different agents; its *effects* happen once. So a behaviour
/// keeps nothing in itself between runs: what it must remember goes through
/// [`Effects::set_state`].
///
/// A run has a time limit, and a panic in it is caught: either counts as a transient failure. A
/// run is a future on a runtime with several threads: it must not block a thread for long, and
/// work that computes belongs on `tokio::task::spawn_blocking`.
pub trait Behaviour: fmt::Debug + Send + Sync + Sized + 'static {
    /// The name under which agents.toml asks for it (`kind = "…"`): lower case, digits, `-`.
    const KIND: &'static str;

    /// Its own keys in agents.toml. Give it `#[serde(deny_unknown_fields)]`, so that a mistyped
    /// key is reported with the known ones.
    type Settings: DeserializeOwned;

    /// Makes the behaviour from its keys in agents.toml.
    ///
    /// # Errors
    /// Settings that are well formed and still make no sense, with what to do about it.
    fn configure(settings: Self::Settings) -> Result<Self, ConfigureError>;

    /// What it demands of a message's authenticity. Less is not shown to it.
    fn demands(&self) -> Authenticity {
        Authenticity::Verified
    }

    /// Whether it wants to see this message. Must be quick and must not depend on anything but
    /// the message.
    fn accepts(&self, message: &Message) -> bool;

    /// Says what should happen because of this message.
    ///
    /// # Errors
    /// A [transient](BehaviourError::transient) failure is tried again later; a
    /// [permanent](BehaviourError::permanent) one puts the message among the dead letters.
    fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send;
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BehaviourError {
    reason: String,
    transient: bool,
}

impl BehaviourError {
    /// A failure that another attempt may mend: a service that is away, a limit that passes.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            transient: true,
        }
    }

    /// A failure that no repetition mends.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            transient: false,
        }
    }

    /// Whether another attempt may succeed.
    pub const fn is_transient(&self) -> bool {
        self.transient
    }
}

/// Settings that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigureError(pub String);

/// A behaviour whose type was forgotten, so that behaviours of many kinds fit into one list.
///
/// Every [`Behaviour`] is one; do not implement it by hand.
pub trait AnyBehaviour: fmt::Debug + Send + Sync {
    /// [`Behaviour::KIND`].
    fn kind(&self) -> &'static str;
    /// [`Behaviour::demands`].
    fn demands(&self) -> Authenticity;
    /// [`Behaviour::accepts`].
    fn accepts(&self, message: &Message) -> bool;
    /// [`Behaviour::on_message`].
    fn on_message<'a>(&'a self, message: &'a Message, context: &'a Context) -> Run<'a>;
}

/// One run of a behaviour.
pub type Run<'a> = Pin<Box<dyn Future<Output = Result<Effects, BehaviourError>> + Send + 'a>>;

impl<B: Behaviour> AnyBehaviour for B {
    fn kind(&self) -> &'static str {
        B::KIND
    }

    fn demands(&self) -> Authenticity {
        Behaviour::demands(self)
    }

    fn accepts(&self, message: &Message) -> bool {
        Behaviour::accepts(self, message)
    }

    fn on_message<'a>(&'a self, message: &'a Message, context: &'a Context) -> Run<'a> {
        Box::pin(Behaviour::on_message(self, message, context))
    }
}
