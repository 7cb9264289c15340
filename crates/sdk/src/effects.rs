//! What a behaviour may ask for.

use std::time::Duration;

use agentry_protocol::header::MAX_TIME_MS;
use agentry_protocol::message::compose;
use agentry_protocol::transaction::AMOUNT_MAX;
use agentry_protocol::{Address, KnownCommand};
use serde_json::Value;

use crate::outgoing::{Addressed, Outgoing};
use crate::task::TaskStart;

/// The most effects that one run may return.
///
/// A run stands for one answer to one event; a behaviour that wants to send more works in steps.
pub const MAX_EFFECTS: usize = 256;

/// The largest payload of one effect, in bytes of its compact JSON.
pub use agentry_protocol::message::MAX_PAYLOAD_BYTES;

/// The most that the effects of one run may hold together, in bytes of their JSON.
pub const MAX_EFFECTS_BYTES: usize = 16 << 20;

/// The largest value of a state entry, a timer or a task's input, in bytes of its JSON.
pub const MAX_STATE_VALUE_BYTES: usize = 1_000_000;
/// The longest name of a state entry, a timer, a task or a label, in bytes.
pub const MAX_STATE_KEY_BYTES: usize = 256;
/// The furthest that a timer or an expiry may lie ahead: ten years.
pub const MAX_AHEAD: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// One thing that should happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer the sender of the message that the event is about.
    Reply(Outgoing),
    /// Send a message of one's own accord.
    Send(Addressed),
    /// Remember a value.
    SetState {
        /// Under which name.
        key: String,
        /// What.
        value: Value,
    },
    /// Forget a value.
    ClearState {
        /// Under which name.
        key: String,
    },
    /// Be shown a timer later.
    Schedule {
        /// Its name. A timer that this behaviour has under the same name is replaced.
        name: String,
        /// How long after the run.
        after: Duration,
        /// What comes with it.
        data: Value,
    },
    /// Forget a timer.
    Unschedule {
        /// Its name.
        name: String,
    },
    /// Have a task done.
    StartTask(TaskStart),
    /// Have a task not done, or not finished. One that has ended stays as it is.
    CancelTask {
        /// Its key.
        key: String,
    },
    /// The message will not be acted on: who watches it is told that it was rejected.
    Reject {
        /// Why; its sender may be told.
        reason: String,
    },
}

/// What should happen because of an event, in this order.
///
/// All of it happens or none of it: a run's effects become durable in one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// Nothing is to happen; the event counts as handled.
    pub fn none() -> Self {
        Self::default()
    }

    /// Answers the sender with a text.
    pub fn reply(self, text: impl Into<String>) -> Self {
        self.reply_with(Outgoing::text(text))
    }

    /// Answers the sender with a command.
    pub fn reply_command(self, command: &KnownCommand) -> Self {
        self.reply_with(Outgoing::command(command))
    }

    /// Answers the sender.
    pub fn reply_with(self, outgoing: Outgoing) -> Self {
        self.with(Effect::Reply(outgoing))
    }

    /// Sends a text to an address.
    pub fn send(self, to: Address, text: impl Into<String>) -> Self {
        self.send_with(to, Outgoing::text(text))
    }

    /// Sends a message to an address.
    pub fn send_with(self, to: Address, outgoing: Outgoing) -> Self {
        self.with(Effect::Send(Addressed { to, outgoing }))
    }

    /// Remembers `value` under `key`, in place of what was there.
    pub fn set_state(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(Effect::SetState {
            key: key.into(),
            value: value.into(),
        })
    }

    /// Forgets what is under `key`.
    pub fn clear_state(self, key: impl Into<String>) -> Self {
        self.with(Effect::ClearState { key: key.into() })
    }

    /// Has [`Behaviour::on_timer`](crate::Behaviour::on_timer) run after a while. A timer of the
    /// same name is replaced. The runtime lets a timer that a timer, or news of a task, has set
    /// rest for a second at least.
    pub fn schedule(
        self,
        name: impl Into<String>,
        after: Duration,
        data: impl Into<Value>,
    ) -> Self {
        self.with(Effect::Schedule {
            name: name.into(),
            after,
            data: data.into(),
        })
    }

    /// Forgets a timer.
    pub fn unschedule(self, name: impl Into<String>) -> Self {
        self.with(Effect::Unschedule { name: name.into() })
    }

    /// Has [`Behaviour::execute`](crate::Behaviour::execute) do a task.
    pub fn start_task(self, task: TaskStart) -> Self {
        self.with(Effect::StartTask(task))
    }

    /// Has a task canceled.
    pub fn cancel_task(self, key: impl Into<String>) -> Self {
        self.with(Effect::CancelTask { key: key.into() })
    }

    /// Says that the message will not be acted on.
    pub fn reject(self, reason: impl Into<String>) -> Self {
        self.with(Effect::Reject {
            reason: reason.into(),
        })
    }

    /// Adds one more effect.
    pub fn with(mut self, effect: Effect) -> Self {
        self.0.push(effect);
        self
    }

    /// The effects, in order.
    pub fn as_slice(&self) -> &[Effect] {
        &self.0
    }

    /// Checks the bounds that the runtime sets.
    ///
    /// # Errors
    /// Names the first effect that is out of bounds.
    pub fn check(&self) -> Result<(), EffectsError> {
        if self.0.len() > MAX_EFFECTS {
            return Err(EffectsError::TooMany(self.0.len()));
        }
        let mut bytes: usize = 0;
        for (index, effect) in self.0.iter().enumerate() {
            match effect {
                Effect::Reply(outgoing) | Effect::Send(Addressed { outgoing, .. }) => {
                    bytes = bytes.saturating_add(check_outgoing(index, outgoing)?);
                }
                Effect::SetState { key, value } => {
                    bytes = bytes.saturating_add(check_value(key, value)?);
                    check_key(key)?;
                }
                Effect::Schedule { name, after, data } => {
                    bytes = bytes.saturating_add(check_value(name, data)?);
                    check_key(name)?;
                    check_ahead(index, *after)?;
                }
                Effect::StartTask(task) => {
                    bytes = bytes.saturating_add(check_value(&task.key, &task.input)?);
                    check_key(&task.key)?;
                    check_key(&task.kind)?;
                    if let Some(deadline_ms) = task.deadline_ms
                        && deadline_ms > MAX_TIME_MS
                    {
                        return Err(EffectsError::Deadline { index, deadline_ms });
                    }
                }
                Effect::ClearState { key } | Effect::CancelTask { key } => check_key(key)?,
                Effect::Unschedule { name } => check_key(name)?,
                Effect::Reject { .. } => {}
            }
        }
        if bytes > MAX_EFFECTS_BYTES {
            return Err(EffectsError::TooLarge(bytes));
        }
        Ok(())
    }
}

/// Returns how many bytes the payload has.
fn check_outgoing(index: usize, outgoing: &Outgoing) -> Result<usize, EffectsError> {
    if outgoing.amount > AMOUNT_MAX {
        return Err(EffectsError::Amount {
            index,
            amount: outgoing.amount,
        });
    }
    let payload = compose(&outgoing.payload, None).map_err(|error| EffectsError::Payload {
        index,
        reason: error.to_string(),
    })?;
    if let Some(label) = &outgoing.label {
        check_key(label)?;
    }
    if let Some(after) = outgoing.expires_in {
        check_ahead(index, after)?;
    }
    if let Some(acknowledge) = outgoing.acknowledge {
        check_ahead(index, acknowledge.within)?;
    }
    Ok(payload.to_compact().len())
}

fn check_ahead(index: usize, after: Duration) -> Result<(), EffectsError> {
    if after > MAX_AHEAD {
        return Err(EffectsError::TooFarAhead { index });
    }
    Ok(())
}

/// Returns how many bytes the value has.
fn check_value(key: &str, value: &Value) -> Result<usize, EffectsError> {
    let bytes = value.to_string().len();
    if bytes > MAX_STATE_VALUE_BYTES {
        return Err(EffectsError::ValueTooLarge {
            key: key.to_owned(),
            bytes,
        });
    }
    Ok(bytes)
}

fn check_key(key: &str) -> Result<(), EffectsError> {
    if key.is_empty() || key.len() > MAX_STATE_KEY_BYTES {
        return Err(EffectsError::BadKey { bytes: key.len() });
    }
    Ok(())
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::vec::IntoIter<Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Effects that are out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EffectsError {
    /// More effects than one run may return.
    #[error("the run returned {0} effects; at most {MAX_EFFECTS} are allowed, split the work")]
    TooMany(usize),
    /// More bytes than one run may return.
    #[error(
        "the run returned effects of {0} bytes; at most {MAX_EFFECTS_BYTES} are allowed, split the work"
    )]
    TooLarge(usize),
    /// A payload that cannot be sent.
    #[error("effect {index} has a payload that cannot be sent: {reason}")]
    Payload {
        /// Which effect, from 0.
        index: usize,
        /// Why.
        reason: String,
    },
    /// An amount that no transaction can transfer.
    #[error("effect {index} transfers {amount} AIT; the most is {AMOUNT_MAX}, with the fee")]
    Amount {
        /// Which effect, from 0.
        index: usize,
        /// How much.
        amount: u64,
    },
    /// A timer or an expiry beyond the bound.
    #[error("effect {index} lies more than ten years ahead")]
    TooFarAhead {
        /// Which effect, from 0.
        index: usize,
    },
    /// A deadline that is no time.
    #[error(
        "effect {index} has the deadline {deadline_ms}; it is a time in milliseconds since the \
         epoch, {MAX_TIME_MS} at most"
    )]
    Deadline {
        /// Which effect, from 0.
        index: usize,
        /// What stands there.
        deadline_ms: u64,
    },
    /// A value over the bound.
    #[error("the value under {key:?} has {bytes} bytes; at most {MAX_STATE_VALUE_BYTES} are kept")]
    ValueTooLarge {
        /// Its name.
        key: String,
        /// Its size.
        bytes: usize,
    },
    /// An empty or overlong name.
    #[error(
        "the name of a state entry, a timer, a task or a label has {bytes} bytes; it needs 1 to {MAX_STATE_KEY_BYTES}"
    )]
    BadKey {
        /// Its length.
        bytes: usize,
    },
}
