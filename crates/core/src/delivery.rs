//! What becomes of messages: of those that were sent, and of those that arrived.

use agentry_protocol::{Address, BlockHeight, MessageId, TransactionHash};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rows::OutboxId;

/// A message that the behaviour sent with a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMessage {
    /// The label that the behaviour gave it.
    pub label: String,
    /// The recipient's address.
    pub to: Address,
    /// The message's id.
    pub id: Option<MessageId>,
    /// Hash of the last transaction that carried it; none if none was ever signed.
    pub transaction: Option<TransactionHash>,
}

/// A delivery update for a message that was sent. One message has several updates in turn, until
/// one [is the last](DeliveryUpdate::is_last).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "update")]
pub enum DeliveryUpdate {
    /// It is included in a block.
    Mined {
        /// The height of the block.
        height: BlockHeight,
    },
    /// The recipient says that it received the message.
    Received,
    /// The recipient says that it will act on the message.
    Accepted {
        /// The recipient's explanation.
        detail: Option<String>,
    },
    /// The recipient says that it acted on the message.
    Done {
        /// The recipient's explanation.
        detail: Option<String>,
    },
    /// The recipient says that acting on the message failed.
    Failed {
        /// The recipient's explanation.
        detail: Option<String>,
    },
    /// The recipient says that it will not act on the message.
    Rejected {
        /// The recipient's explanation.
        detail: Option<String>,
    },
    /// It expired before the recipient acted on it, or before it could be sent.
    Expired,
    /// No acknowledgment arrived in time, after all resends. Whether the recipient acted on the
    /// message is unknown.
    Unacknowledged,
    /// It was not sent: the node refused it, or an operator dropped it.
    Unsent {
        /// The reason.
        reason: String,
    },
}

/// The data of an [event](crate::rows::EventKind::Delivery) that tells a behaviour of an update.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DeliveryData {
    /// The first transaction of the message.
    pub outbox: OutboxId,
    /// The update.
    pub update: DeliveryUpdate,
}

impl DeliveryData {
    /// The data as it is stored.
    pub(crate) fn stored(outbox: OutboxId, update: &DeliveryUpdate) -> Value {
        json!({ "outbox": outbox, "update": update })
    }

    /// Reads the data of an event; `None` if it is not that of an update.
    pub fn read(data: &Value) -> Option<Self> {
        Self::deserialize(data).ok()
    }
}

/// How long a behaviour waits before it is told that a message was not sent, in milliseconds. An
/// unsent message costs nothing: a behaviour that sends it again at once would loop without a
/// pause.
const UNSENT_PAUSE_MS: u64 = 1000;

impl DeliveryUpdate {
    /// How long the behaviour waits before it is told, in milliseconds. `mined` says whether the
    /// message was ever mined.
    pub const fn pause_ms(&self, mined: bool) -> u64 {
        match self {
            Self::Unsent { .. } | Self::Expired if !mined => UNSENT_PAUSE_MS,
            _ => 0,
        }
    }

    /// Whether this is the last update of its message. `done` says whether the sender asked for an
    /// acknowledgment that the message was acted on, `received` whether it asked for any
    /// acknowledgment.
    pub const fn is_last(&self, received: bool, done: bool) -> bool {
        match self {
            Self::Mined { .. } => !received && !done,
            Self::Received => !done,
            Self::Accepted { .. } => false,
            Self::Done { .. }
            | Self::Failed { .. }
            | Self::Rejected { .. }
            | Self::Expired
            | Self::Unacknowledged
            | Self::Unsent { .. } => true,
        }
    }
}

/// The outcome of a message that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "settlement")]
pub enum Settlement {
    /// A behaviour acted on it, and the tasks that it started are completed.
    Done,
    /// Acting on it failed: it is a dead letter, or its task failed.
    Failed {
        /// The reason, as far as the sender may be told. The log and the dead letter have the
        /// full reason.
        reason: String,
    },
    /// No behaviour accepts it, or one rejected it.
    Rejected {
        /// The reason.
        reason: String,
    },
    /// It expired before it arrived, or before its turn.
    Expired,
}

impl Settlement {
    /// The outcome of a message whose task failed with this code.
    pub fn of_failed_task(code: &str) -> Self {
        Self::Failed {
            reason: format!("its task failed: {code}"),
        }
    }

    /// The outcome of a message whose task was canceled.
    pub fn of_canceled_task() -> Self {
        Self::Failed {
            reason: "its task was canceled".to_owned(),
        }
    }
}
