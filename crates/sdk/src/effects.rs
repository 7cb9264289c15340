//! What a behaviour may ask for.

use agentry_protocol::{Address, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most effects that one run may return.
///
/// A run stands for one answer to one message; a behaviour that wants to send more works in steps.
pub const MAX_EFFECTS: usize = 256;

/// The largest payload of one effect, in bytes of its compact JSON.
pub use agentry_protocol::message::MAX_PAYLOAD_BYTES;

/// The largest state value, in bytes of its JSON, and the longest key, in bytes.
pub const MAX_STATE_VALUE_BYTES: usize = 1_000_000;
/// The longest key of a state entry, in bytes.
pub const MAX_STATE_KEY_BYTES: usize = 256;

/// One thing that should happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Answer the sender of the message.
    Reply {
        /// What to say.
        payload: Json,
    },
    /// Send a message of one's own accord.
    Send {
        /// To whom.
        to: Address,
        /// What to say.
        payload: Json,
        /// What to transfer with it, in AIT.
        amount: u64,
    },
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
}

/// What should happen because of a message, in this order.
///
/// All of it happens or none of it: a run's effects become durable in one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// Nothing is to happen; the message counts as handled.
    pub fn none() -> Self {
        Self::default()
    }

    /// Answers the sender with a text.
    pub fn reply(self, text: impl Into<String>) -> Self {
        self.reply_json(Json::string(text))
    }

    /// Answers the sender with a payload of any form.
    pub fn reply_json(mut self, payload: Json) -> Self {
        self.0.push(Effect::Reply { payload });
        self
    }

    /// Sends a text to an address.
    pub fn send(mut self, to: Address, text: impl Into<String>) -> Self {
        self.0.push(Effect::Send {
            to,
            payload: Json::string(text),
            amount: 0,
        });
        self
    }

    /// Remembers `value` under `key`, in place of what was there.
    pub fn set_state(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.push(Effect::SetState {
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Forgets what is under `key`.
    pub fn clear_state(mut self, key: impl Into<String>) -> Self {
        self.0.push(Effect::ClearState { key: key.into() });
        self
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
        for (index, effect) in self.0.iter().enumerate() {
            match effect {
                Effect::Reply { payload } | Effect::Send { payload, .. } => {
                    let bytes = payload.to_compact().len();
                    if bytes > MAX_PAYLOAD_BYTES {
                        return Err(EffectsError::PayloadTooLarge { index, bytes });
                    }
                }
                Effect::SetState { key, value } => {
                    let bytes = value.to_string().len();
                    if bytes > MAX_STATE_VALUE_BYTES {
                        return Err(EffectsError::StateTooLarge {
                            key: key.clone(),
                            bytes,
                        });
                    }
                    check_key(key)?;
                }
                Effect::ClearState { key } => check_key(key)?,
            }
        }
        Ok(())
    }
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
    /// A payload that no node would take.
    #[error(
        "effect {index} has a payload of {bytes} bytes; at most {MAX_PAYLOAD_BYTES} fit into a transaction"
    )]
    PayloadTooLarge {
        /// Which effect, from 0.
        index: usize,
        /// Its size.
        bytes: usize,
    },
    /// A state value over the bound.
    #[error(
        "the state value under {key:?} has {bytes} bytes; at most {MAX_STATE_VALUE_BYTES} are kept"
    )]
    StateTooLarge {
        /// Its name.
        key: String,
        /// Its size.
        bytes: usize,
    },
    /// An empty or overlong state key.
    #[error("a state key has {bytes} bytes; it needs 1 to {MAX_STATE_KEY_BYTES}")]
    BadKey {
        /// Its length.
        bytes: usize,
    },
}
