//! The effects that a handler returns: what the runtime should do because of an event.

use std::time::Duration;

use agentry_protocol::Amount;
use agentry_protocol::message::compose;
use agentry_protocol::{Address, KnownCommand, Timestamp};
use serde_json::Value;

use crate::outgoing::{Addressed, Outgoing};
use crate::task::TaskStart;

/// The most effects that one run may return.
///
/// One run handles one event. A behaviour that needs more effects splits the work over several
/// events, for example with a timer.
pub const MAX_EFFECTS: usize = 256;

/// The largest payload of one effect, in bytes of its compact JSON.
pub use agentry_protocol::message::MAX_PAYLOAD_BYTES;

/// The largest total size of the effects of one run, in bytes of their JSON.
pub const MAX_EFFECTS_BYTES: usize = 16 << 20;

/// The largest value of a state entry, a timer or a task's input, in bytes of its JSON.
pub const MAX_STATE_VALUE_BYTES: usize = 1_000_000;
/// The longest name of a state entry, a timer, a task or a label, in bytes.
pub const MAX_STATE_KEY_BYTES: usize = 256;
/// How far ahead a timer or an expiry may be: ten years.
pub const MAX_AHEAD: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// One thing that the runtime should do because of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer the sender of the message that the event is about.
    Reply(Outgoing),
    /// Send a message that is not a reply to the event's message.
    Send(Addressed),
    /// Store a value in the behaviour's state.
    SetState {
        /// The key of the entry.
        key: String,
        /// The value.
        value: Value,
    },
    /// Delete a value from the behaviour's state.
    ClearState {
        /// The key of the entry.
        key: String,
    },
    /// Set a timer.
    Schedule {
        /// Its name. It replaces a timer of this behaviour with the same name.
        name: String,
        /// The time from the run to its expiry.
        after: Duration,
        /// Data for the handler, which finds it in [`Timer::data`](crate::Timer::data).
        data: Value,
    },
    /// Delete a timer.
    Unschedule {
        /// Its name.
        name: String,
    },
    /// Start a task.
    StartTask(TaskStart),
    /// Cancel a task. A task that has ended stays as it is.
    CancelTask {
        /// Its key.
        key: String,
    },
    /// Answer a question of a task.
    AnswerTask {
        /// The task's key.
        key: String,
        /// The number of the question, from 1.
        number: u32,
        /// The answer.
        answer: Value,
    },
    /// Reject the message: it will not be acted on, and behaviours that watch it are told so.
    Reject {
        /// The reason. The sender may be told.
        reason: String,
    },
}

/// What the runtime should do because of an event, in order.
///
/// Either all effects of a run happen or none does: they become durable in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// No effects; the event counts as handled.
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

    /// Stores `value` under `key`, in place of the previous value.
    pub fn set_state(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(Effect::SetState {
            key: key.into(),
            value: value.into(),
        })
    }

    /// Deletes the value under `key`.
    pub fn clear_state(self, key: impl Into<String>) -> Self {
        self.with(Effect::ClearState { key: key.into() })
    }

    /// Has [`Behaviour::on_timer`](crate::Behaviour::on_timer) called once `after` has passed. A
    /// timer of the same name is replaced. A timer that is set by a timer or by an update of a task
    /// takes at least one second.
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

    /// Deletes a timer.
    pub fn unschedule(self, name: impl Into<String>) -> Self {
        self.with(Effect::Unschedule { name: name.into() })
    }

    /// Starts a task, which [`Behaviour::execute`](crate::Behaviour::execute) then does.
    pub fn start_task(self, task: TaskStart) -> Self {
        self.with(Effect::StartTask(task))
    }

    /// Cancels a task that has not ended.
    pub fn cancel_task(self, key: impl Into<String>) -> Self {
        self.with(Effect::CancelTask { key: key.into() })
    }

    /// Answers the question of this number, from 1, of a task of the behaviour, which goes on with the
    /// answer. Nothing changes if the task does not ask it now.
    pub fn answer_task(
        self,
        key: impl Into<String>,
        number: u32,
        answer: impl Into<Value>,
    ) -> Self {
        self.with(Effect::AnswerTask {
            key: key.into(),
            number,
            answer: answer.into(),
        })
    }

    /// Rejects the message: it will not be acted on.
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

    /// Checks the limits that the runtime sets on the effects of one run.
    ///
    /// # Errors
    /// Names the first effect that exceeds a limit.
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
                    if let Some(deadline) = task.deadline
                        && deadline > Timestamp::MAX_STATED
                    {
                        return Err(EffectsError::Deadline { index, deadline });
                    }
                }
                Effect::AnswerTask { key, answer, .. } => {
                    bytes = bytes.saturating_add(check_value(key, answer)?);
                    check_key(key)?;
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

/// Checks a message; returns the size of its payload in bytes.
fn check_outgoing(index: usize, outgoing: &Outgoing) -> Result<usize, EffectsError> {
    if outgoing.amount > Amount::MAX {
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

/// Checks a value; returns its size in bytes.
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

/// Effects that exceed a limit.
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
        /// The position of the effect, from 0.
        index: usize,
        /// The reason.
        reason: String,
    },
    /// An amount that no transaction can transfer.
    #[error(
        "effect {index} transfers {amount}; the most is {}, with the fee",
        Amount::MAX
    )]
    Amount {
        /// The position of the effect, from 0.
        index: usize,
        /// The amount, in AIT.
        amount: Amount,
    },
    /// A timer or an expiry more than [`MAX_AHEAD`] ahead.
    #[error("effect {index} is more than ten years ahead")]
    TooFarAhead {
        /// The position of the effect, from 0.
        index: usize,
    },
    /// A deadline beyond the largest valid time.
    #[error(
        "effect {index} has the deadline {deadline}; a deadline is a time in milliseconds since \
         the epoch, at most {}",
        Timestamp::MAX_STATED
    )]
    Deadline {
        /// The position of the effect, from 0.
        index: usize,
        /// The deadline.
        deadline: Timestamp,
    },
    /// A value larger than [`MAX_STATE_VALUE_BYTES`].
    #[error("the value under {key:?} has {bytes} bytes; at most {MAX_STATE_VALUE_BYTES} are kept")]
    ValueTooLarge {
        /// The key of the value, or the name of the timer or task that it belongs to.
        key: String,
        /// The size of the value.
        bytes: usize,
    },
    /// An empty or overlong name.
    #[error(
        "the name of a state entry, a timer, a task or a label has {bytes} bytes; it must have 1 to {MAX_STATE_KEY_BYTES}"
    )]
    BadKey {
        /// Its length.
        bytes: usize,
    },
}
