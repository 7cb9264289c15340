//! The trait that a behaviour implements.

use std::fmt;
use std::future::Future;

use serde::de::DeserializeOwned;

use crate::event::{Fate, SentMessage, Settlement, TaskReport, Timer};
use crate::registry::Setup;
use crate::task::{Desk, Task, TaskError, TaskLimits, TaskOutput};
use crate::{Authenticity, Context, Effects, Message};

/// A rule of conduct of a hosted wallet.
///
/// The runtime shows it *events*: a message, a timer of its own, the fate of something it sent,
/// what became of a message that others acted on, news of a task of its own. Each handler returns
/// [`Effects`]: what should happen. All but [`on_message`](Self::on_message) have a default that
/// asks for nothing.
///
/// The runtime may run a handler several times for one event (after a crash, a time-out, a
/// failure), also at the same time for different agents; its *effects* happen once. So a behaviour
/// keeps nothing in itself between runs: what it must remember goes through
/// [`Effects::set_state`].
///
/// A run has a time limit, and a panic in it is caught: either counts as a transient failure. A
/// run is a future on a tokio runtime with several threads: it must not block a thread for long,
/// and work that computes belongs on `tokio::task::spawn_blocking`, or into a [task](crate::task).
pub trait Behaviour: fmt::Debug + Send + Sync + Sized + 'static {
    /// The name under which agents.toml asks for it (`kind = "…"`): lower case, digits, `-`.
    const KIND: &'static str;

    /// Its own keys in agents.toml. Give it `#[serde(deny_unknown_fields)]`, so that a mistyped
    /// key is reported with the known ones.
    type Settings: DeserializeOwned;

    /// Makes the behaviour from its keys in agents.toml. `setup` tells where the file lies, so
    /// that relative paths mean what their author meant.
    ///
    /// It is also called to check a file that is not run: it must not change anything outside, nor
    /// take long.
    ///
    /// # Errors
    /// Settings that are well formed and still make no sense, with what to do about it.
    fn configure(settings: Self::Settings, setup: &Setup<'_>) -> Result<Self, ConfigureError>;

    /// What it demands of a message's authenticity. Less is not shown to it.
    fn demands(&self) -> Authenticity {
        Authenticity::Verified
    }

    /// Whether it is shown sealed messages alone.
    fn demands_seal(&self) -> bool {
        false
    }

    /// The commands (`cmd`) that it takes, for the agent's card in the directory.
    fn commands(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it can do, for the agent's card in the directory and its status.
    fn capabilities(&self) -> Vec<String> {
        Vec::new()
    }

    /// The senders that its settings name, as an `allow` list does: addresses, and names of
    /// contacts, of agents of agents.toml, or of the directory. The operator has vouched for them,
    /// so they are [known](crate::Standing::Known). Asked once, when the settings are read.
    fn known_senders(&self) -> Vec<String> {
        Vec::new()
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

    /// Says what should happen now that a timer which it [set](Effects::schedule) has run out.
    ///
    /// # Errors
    /// As for a message; the timer's event is then the dead letter.
    fn on_timer(
        &self,
        timer: &Timer,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (timer, context);
        async { Ok(Effects::none()) }
    }

    /// Says what should happen because of what became of a message that it sent with a
    /// [label](crate::Outgoing::label).
    ///
    /// # Errors
    /// As for a timer.
    fn on_fate(
        &self,
        sent: &SentMessage,
        fate: &Fate,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (sent, fate, context);
        async { Ok(Effects::none()) }
    }

    /// Whether it wants to know what becomes of this message in the hands of the agent's other
    /// behaviours. Such a behaviour is a bystander: that it accepts the message does not count as
    /// acting on it. Must be as quick as [`accepts`](Self::accepts).
    fn watches(&self, message: &Message) -> bool {
        let _ = message;
        false
    }

    /// Says what should happen because of what became of a message that it
    /// [watches](Self::watches). Also called for messages that have expired and reached no
    /// behaviour.
    ///
    /// # Errors
    /// As for a timer.
    fn on_settled(
        &self,
        message: &Message,
        settlement: &Settlement,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (message, settlement, context);
        async { Ok(Effects::none()) }
    }

    /// Does the work of a task that it [started](Effects::start_task). Apart from all handlers, it
    /// may take long, and may touch the world: files, programs, services.
    ///
    /// It can be begun more than once for one task: after a crash, or a transient failure. It is
    /// ended by dropping the future (at the time limit, the deadline, a cancellation, the end of
    /// the process); what it holds must end with it.
    ///
    /// # Errors
    /// [`TaskError`]: transient, so that it is tried again, or for good.
    fn execute(
        &self,
        task: &Task,
        desk: &Desk,
    ) -> impl Future<Output = Result<TaskOutput, TaskError>> + Send {
        let _ = (task, desk);
        async {
            Err(TaskError::permanent(
                "no-executor",
                "this behaviour executes no tasks",
            ))
        }
    }

    /// The limits of tasks of one type. Asked when a task is begun.
    fn task_limits(&self, kind: &str) -> TaskLimits {
        let _ = kind;
        TaskLimits::default()
    }

    /// Says what should happen because of news of a task: progress, or its end.
    /// [`Effects::reply`] answers the message that started it.
    ///
    /// # Errors
    /// As for a timer.
    fn on_task(
        &self,
        report: &TaskReport,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (report, context);
        async { Ok(Effects::none()) }
    }
}

/// Why a run failed.
///
/// The reason is for the operator: it is logged and kept with the dead letter. It can hold
/// anything that an error of a library says, a URL with a key too, so nothing of it is sent to
/// anybody. What the sender of the message may be told is said on purpose, with
/// [`with_public`](Self::with_public).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BehaviourError {
    reason: String,
    public: Option<String>,
    transient: bool,
}

impl BehaviourError {
    /// A failure that another attempt may mend: a service that is away, a limit that passes.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            public: None,
            transient: true,
        }
    }

    /// A failure that no repetition mends.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            public: None,
            transient: false,
        }
    }

    /// The same failure, of which the sender of the message may be told this. It can end up on
    /// the chain, for all to read: no secrets.
    #[must_use]
    pub fn with_public(mut self, text: impl Into<String>) -> Self {
        self.public = Some(text.into());
        self
    }

    /// What the sender of the message may be told: what the author said for that purpose, else
    /// one text for all failures.
    pub fn public(&self) -> &str {
        self.public.as_deref().unwrap_or("acting on it failed")
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
