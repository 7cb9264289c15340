//! The trait that a behaviour implements.

use std::fmt;
use std::future::Future;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{DeliveryUpdate, SentMessage, Settlement, Start, TaskReport, Tick, Timer};
use crate::registry::Setup;
use crate::task::{Desk, Task, TaskError, TaskLimits, TaskOutput};
use crate::{Authenticity, Context, Effects, Message, Schedule};

/// What a hosted wallet does with the messages and other events that reach it.
///
/// The runtime calls a handler for each *event*: a message, one of the behaviour's timers, a
/// delivery update for a message that it sent, the outcome of a message that other behaviours
/// handled, an update of one of its tasks. Each handler returns [`Effects`]: what should happen.
/// All handlers except [`on_message`](Self::on_message) have a default that returns no effects.
///
/// The runtime may run a handler several times for one event (after a crash, a timeout or a
/// failure), and at the same time for different agents; its *effects* happen once. A behaviour
/// therefore keeps nothing in itself between runs: what it must remember goes through
/// [`Effects::set_state`].
///
/// A run has a time limit, and a panic in it is caught: either counts as a transient failure. A
/// run is a future on a multi-threaded tokio runtime: it must not block a thread for long.
/// CPU-bound work belongs on `tokio::task::spawn_blocking` or in a [task](crate::task).
pub trait Behaviour: fmt::Debug + Send + Sync + Sized + 'static {
    /// The name that selects it in agents.toml (`kind = "…"`): lower-case letters, digits and `-`.
    const KIND: &'static str;

    /// Its own keys in agents.toml. Derive it with `#[serde(deny_unknown_fields)]`, so that the
    /// error for a mistyped key lists the known keys.
    type Settings: DeserializeOwned;

    /// Makes the behaviour from its keys in agents.toml. [`Setup::path`] resolves a relative path
    /// against the folder of that file.
    ///
    /// It is also called to check a configuration without running it: it must be quick and must
    /// not change anything outside the process.
    ///
    /// # Errors
    /// The settings are well formed but invalid. The error says how to correct them.
    fn configure(settings: Self::Settings, setup: &Setup<'_>) -> Result<Self, ConfigureError>;

    /// The least authenticity that it requires of a message. It is not shown messages below that.
    fn demands(&self) -> Authenticity {
        Authenticity::Verified
    }

    /// Whether it is shown sealed messages only.
    fn demands_seal(&self) -> bool {
        false
    }

    /// The commands (`cmd`) that it handles, for the agent's card in the directory.
    fn commands(&self) -> Vec<String> {
        Vec::new()
    }

    /// The JSON Schemas (draft 2020-12) of the parameters of its [commands](Self::commands), as far as
    /// it has some, for the agent's card in the directory: a schema that is not an object, or not of
    /// one of its commands, is left out.
    fn schemas(&self) -> Vec<(String, Value)> {
        Vec::new()
    }

    /// What it can do, for the agent's card in the directory and its status.
    fn capabilities(&self) -> Vec<String> {
        Vec::new()
    }

    /// The senders that its settings name, for example in an `allow` list: addresses, or names of
    /// contacts, of agents in agents.toml or of agents in the directory. The operator has vouched
    /// for them, so they are [known](crate::Standing::Known). Called once, when the settings are
    /// read.
    fn known_senders(&self) -> Vec<String> {
        Vec::new()
    }

    /// Which starts of its agent it is told of with [`on_start`](Self::on_start). Called once, when the
    /// settings are read.
    fn starts(&self) -> Starts {
        Starts::Never
    }

    /// The schedules whose times it is told of with [`on_tick`](Self::on_tick). `schedules` in
    /// agents.toml adds more, if it [takes them](Self::takes_schedules). Called once, when the settings
    /// are read.
    fn schedules(&self) -> Vec<Schedule> {
        Vec::new()
    }

    /// What it was made from besides its settings, such as the content of a file that they name. A reload
    /// of the configuration makes the behaviour again if this has changed.
    fn content(&self) -> Value {
        Value::Null
    }

    /// Whether its entry in agents.toml may have `schedules`.
    fn takes_schedules(&self) -> bool {
        false
    }

    /// Whether it handles this message. Must be quick, and must depend on the message only.
    fn accepts(&self, message: &Message) -> bool;

    /// Handles a message that it [accepts](Self::accepts).
    ///
    /// # Errors
    /// After a [transient](BehaviourError::transient) failure the runtime tries again later; after
    /// a [permanent](BehaviourError::permanent) one it moves the message to the dead letters.
    fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send;

    /// Handles the expiry of a timer that it [set](Effects::schedule).
    ///
    /// # Errors
    /// As for [`on_message`](Self::on_message); the dead letter is then the timer's event.
    fn on_timer(
        &self,
        timer: &Timer,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (timer, context);
        async { Ok(Effects::none()) }
    }

    /// Handles a start of its agent, if it [wants to know](Self::starts).
    ///
    /// # Errors
    /// As for [`on_timer`](Self::on_timer).
    fn on_start(
        &self,
        start: Start,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (start, context);
        async { Ok(Effects::none()) }
    }

    /// Handles a time of one of its [schedules](Self::schedules).
    ///
    /// # Errors
    /// As for [`on_timer`](Self::on_timer). The schedule goes on meanwhile.
    fn on_tick(
        &self,
        tick: &Tick,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (tick, context);
        async { Ok(Effects::none()) }
    }

    /// Handles a delivery update for a message that it sent with a
    /// [label](crate::Outgoing::label).
    ///
    /// # Errors
    /// As for [`on_timer`](Self::on_timer).
    fn on_delivery_update(
        &self,
        sent: &SentMessage,
        update: &DeliveryUpdate,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (sent, update, context);
        async { Ok(Effects::none()) }
    }

    /// Whether it observes how the agent's other behaviours handle this message, and is told the
    /// outcome with [`on_settled`](Self::on_settled). Such a behaviour is an observer: accepting
    /// the message does not count as acting on it. Must be quick, and must depend on the message
    /// only, as [`accepts`](Self::accepts).
    fn watches(&self, message: &Message) -> bool {
        let _ = message;
        false
    }

    /// Handles the outcome of a message that it [watches](Self::watches). Also called for messages
    /// that expired before they reached a behaviour.
    ///
    /// # Errors
    /// As for [`on_timer`](Self::on_timer).
    fn on_settled(
        &self,
        message: &Message,
        settlement: &Settlement,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (message, settlement, context);
        async { Ok(Effects::none()) }
    }

    /// Does the work of a task that it [started](Effects::start_task). It runs apart from the
    /// handlers, may take long, and may have side effects: files, programs, services.
    ///
    /// It can start more than once for one task: after a crash or a transient failure. The runtime
    /// ends it by dropping the future (at the time limit, at the deadline, on cancellation, when
    /// the process ends). Everything that it started must end when the future is dropped.
    ///
    /// # Errors
    /// [`TaskError`]: transient, and the runtime tries again, or permanent.
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

    /// Whether it may execute tasks of this type. A behaviour that answers false for the types that it
    /// does not know lets operators find a mistyped type in `[tasks] on_workers`; nothing else
    /// depends on it.
    fn executes(&self, kind: &str) -> bool {
        let _ = kind;
        true
    }

    /// The limits of tasks of one type. Called when a task begins.
    fn task_limits(&self, kind: &str) -> TaskLimits {
        let _ = kind;
        TaskLimits::default()
    }

    /// About how many tokens of a model an attempt at a task uses at most; `None` if it uses no model.
    /// Called before each attempt: it begins only if that many are left of the agent's `daily_tokens`.
    /// What it then used is what it [reports](Desk::used).
    fn task_tokens(&self, task: &Task) -> Option<u64> {
        let _ = task;
        None
    }

    /// Handles an update of a task: its progress or its end. [`Effects::reply`] answers the
    /// message that started the task.
    ///
    /// # Errors
    /// As for [`on_timer`](Self::on_timer).
    fn on_task(
        &self,
        report: &TaskReport,
        context: &Context,
    ) -> impl Future<Output = Result<Effects, BehaviourError>> + Send {
        let _ = (report, context);
        async { Ok(Effects::none()) }
    }
}

/// Which starts of its agent a behaviour is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Starts {
    /// None.
    #[default]
    Never,
    /// The first: when the runtime hosts the agent with this behaviour for the first time.
    Once,
    /// Every start of the runtime. A reload of the configuration is none.
    Always,
}

/// Why a run failed.
///
/// The reason is for the operator: it is logged and kept with the dead letter. It can hold
/// whatever the error of a library says, even a URL with a key in it, so no part of it is sent to
/// anyone. [`with_public`](Self::with_public) sets what the sender of the message may be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BehaviourError {
    reason: String,
    public: Option<String>,
    transient: bool,
}

impl BehaviourError {
    /// A failure that may not occur at the next attempt: a service is unavailable, a rate limit is
    /// reached.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            public: None,
            transient: true,
        }
    }

    /// A failure that would occur at every further attempt.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            public: None,
            transient: false,
        }
    }

    /// Sets the text that the sender of the message may be told. It can end up on the chain, where
    /// everyone can read it: it must not contain secrets.
    #[must_use]
    pub fn with_public(mut self, text: impl Into<String>) -> Self {
        self.public = Some(text.into());
        self
    }

    /// What the sender of the message may be told: the text of
    /// [`with_public`](Self::with_public), or else the same text for all failures.
    pub fn public(&self) -> &str {
        self.public.as_deref().unwrap_or("acting on it failed")
    }

    /// Whether another attempt may succeed.
    pub const fn is_transient(&self) -> bool {
        self.transient
    }
}

/// Settings that are well formed but invalid; the text says why and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigureError(pub String);
