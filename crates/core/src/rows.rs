//! The row types of the store, as the rest of the runtime sees them.

use std::fmt;

use agentry_protocol::command::AckStatus;
use agentry_protocol::{
    Address, Amount, BlockHeight, Chain, Json, Limits, MessageDigest, MessageId, Nonce,
    StoredTransaction, Timestamp, Transaction, TransactionError, TransactionHash,
};
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::state::row;
use crate::{Authenticity, DeliveryUpdate, Standing};

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// The row id of a hosted wallet.
    AgentId
);
row_id!(
    /// The row id of a message to a hosted wallet.
    InboxId
);
row_id!(
    /// The row id of a transaction that a hosted wallet sends.
    OutboxId
);
row_id!(
    /// The row id of an event other than a message.
    EventId
);
row_id!(
    /// The row id of a task.
    TaskId
);

/// What a behaviour runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventRef {
    /// A message.
    Inbox(InboxId),
    /// An event other than a message: see [`EventKind`].
    Event(EventId),
}

impl fmt::Display for EventRef {
    /// The name that operators use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbox(id) => write!(f, "inbox/{id}"),
            Self::Event(id) => write!(f, "event/{id}"),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All variants.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its word in the store, in tables and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The variant with this word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words!(
    /// The state of a message to a hosted wallet.
    InboxState {
        /// At least one behaviour has not handled it yet.
        Waiting = "waiting",
        /// A reorganisation removed it from the chain before it was handled. It waits to be
        /// seen again.
        Withdrawn = "withdrawn",
        /// Every behaviour that accepts it has handled it.
        Handled = "handled",
        /// It expired before its turn came.
        Expired = "expired",
        /// A dead letter: it is no longer retried, for the reason in the same row.
        Dead = "dead",
    }
);

words!(
    /// The state of a transaction that a hosted wallet sends.
    OutboxState {
        /// Requested; it has no nonce yet.
        Queued = "queued",
        /// Signed and stored; its bytes may be posted from now on.
        Prepared = "prepared",
        /// The node has accepted it, or may have accepted it.
        Accepted = "accepted",
        /// It is included in a block.
        Mined = "mined",
        /// The block that holds it is `final_depth` deep.
        Final = "final",
        /// It was refused or dropped permanently.
        Failed = "failed",
    }
);

words!(
    /// The kind of an event other than a message.
    EventKind {
        /// A timer of a behaviour.
        Timer = "timer",
        /// A delivery update on a message that a behaviour sent.
        Delivery = "delivery",
        /// The outcome of a message that a behaviour watches.
        Settled = "settled",
        /// A task update.
        Task = "task",
        /// The agent's card must be announced again. The runtime handles this one itself.
        Renewal = "renewal",
        /// The agent is hosted for the first time, or again.
        Start = "start",
        /// A time of a behaviour's schedule.
        Tick = "tick",
    }
);

words!(
    /// The state of an event other than a message.
    EventState {
        /// It waits for its time.
        Waiting = "waiting",
        /// A dead letter: it is no longer retried, for the reason in the same row.
        Dead = "dead",
        /// The outcome of a message whose tasks are still open, or a start that was handled.
        Held = "held",
    }
);

words!(
    /// What is known about the delivery of a sent message.
    ReceiptState {
        /// Nothing yet, apart from the state of its transaction.
        Open = "open",
        /// The recipient has received it.
        Received = "received",
        /// The recipient will act on it.
        Accepted = "accepted",
        /// The recipient acted on it.
        Done = "done",
        /// The recipient acted on it and failed.
        Failed = "failed",
        /// The recipient will not act on it.
        Rejected = "rejected",
        /// It expired before the recipient acted on it, or before it was sent.
        Expired = "expired",
        /// The requested acknowledgment did not arrive in time.
        Unacknowledged = "unacknowledged",
        /// It was not sent.
        Unsent = "unsent",
    }
);

impl From<AckStatus> for ReceiptState {
    /// The state that follows from a recipient's acknowledgment.
    fn from(status: AckStatus) -> Self {
        match status {
            AckStatus::Received => Self::Received,
            AckStatus::Accepted => Self::Accepted,
            AckStatus::Done => Self::Done,
            AckStatus::Failed => Self::Failed,
            AckStatus::Rejected => Self::Rejected,
            AckStatus::Expired => Self::Expired,
        }
    }
}

impl ReceiptState {
    /// The order of the states: a receipt never moves to a lower rank.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Received => 1,
            Self::Accepted => 2,
            // A late final acknowledgment replaces "unacknowledged".
            Self::Unacknowledged => 3,
            Self::Done | Self::Failed | Self::Rejected | Self::Expired | Self::Unsent => 4,
        }
    }

    /// Whether the acknowledgment that was requested (`received` or `done`), if any, is still
    /// awaited.
    pub fn awaits(self, wanted: Option<&str>) -> bool {
        match wanted {
            Some("received") => self.rank() < Self::Received.rank(),
            Some(_) => self.rank() < Self::Unacknowledged.rank(),
            None => false,
        }
    }

    /// The delivery update that tells of this state; `None` for a receipt that is open.
    pub fn update(self, detail: Option<String>) -> Option<DeliveryUpdate> {
        Some(match self {
            Self::Open => return None,
            Self::Received => DeliveryUpdate::Received,
            Self::Accepted => DeliveryUpdate::Accepted { detail },
            Self::Done => DeliveryUpdate::Done { detail },
            Self::Failed => DeliveryUpdate::Failed { detail },
            Self::Rejected => DeliveryUpdate::Rejected { detail },
            Self::Expired => DeliveryUpdate::Expired,
            Self::Unacknowledged => DeliveryUpdate::Unacknowledged,
            Self::Unsent => DeliveryUpdate::Unsent {
                reason: detail.unwrap_or_default(),
            },
        })
    }
}

words!(
    /// The state of a task, in A2A's terms. A task that A2A calls `rejected` is not stored.
    TaskState {
        /// Accepted and not started.
        Submitted = "submitted",
        /// An attempt is running.
        Working = "working",
        /// It waits for its submitter's answer to a question.
        InputRequired = "input-required",
        /// Finished with a result.
        Completed = "completed",
        /// Failed, and no longer retried.
        Failed = "failed",
        /// Canceled by its submitter.
        Canceled = "canceled",
    }
);

words!(
    /// What operators are told of.
    NoticeKind {
        /// A message or another event is a dead letter.
        DeadLetter = "dead_letter",
        /// A transaction failed, and is not sent again.
        TransactionFailed = "transaction_failed",
        /// A task failed.
        TaskFailed = "task_failed",
        /// Posting is halted until an operator resumes it.
        Halted = "halted",
        /// An agent has spent most of a day's budget.
        BudgetLow = "budget_low",
        /// An effect waits for an operator's approval.
        ApprovalWaiting = "approval_waiting",
    }
);

impl TaskState {
    /// Whether it has not ended.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Submitted | Self::Working | Self::InputRequired)
    }
}

/// A hosted wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Its row id.
    pub id: AgentId,
    /// Its address.
    pub address: Address,
    /// Its name in agents.toml, when it was last hosted.
    pub name: String,
    /// The highest nonce ever assigned to it.
    pub last_nonce: Option<Nonce>,
}

/// A message that waits for its agent.
#[derive(Clone, Debug)]
pub struct DueMessage {
    /// Its row id.
    pub id: InboxId,
    /// Hash of the transaction that carried it.
    pub hash: TransactionHash,
    /// Its identity.
    pub digest: MessageDigest,
    /// The transaction.
    pub stored: StoredTransaction,
    /// The block that holds it.
    pub height: BlockHeight,
    /// Whether its sender is verified.
    pub authenticity: Authenticity,
    /// How many attempts have failed.
    pub attempts: u32,
    /// The behaviours that have handled it.
    pub done: Vec<String>,
    /// Whether one of them rejected it.
    pub rejected: bool,
    /// When it was seen.
    pub seen_at: Timestamp,
    /// Whether it waits for its first attempt, and was never put off.
    pub untried: bool,
}

impl DueMessage {
    /// A message, with its transaction parsed.
    ///
    /// # Errors
    /// The transaction cannot be read, as after it was pruned.
    pub fn of(message: &row::Message) -> Result<Self, TransactionError> {
        Ok(Self {
            id: message.id,
            hash: message.hash,
            digest: message.digest,
            stored: StoredTransaction::parse(message.stored.as_bytes(), Limits::default())?,
            height: message.height.unwrap_or(BlockHeight(0)),
            authenticity: message.authenticity,
            attempts: message.attempts,
            done: message.done.iter().cloned().collect(),
            rejected: message.rejected.is_some(),
            seen_at: message.seen_at,
            untried: message.is_untried() && message.done.is_empty(),
        })
    }
}

/// A sent message that was not acknowledged in time.
#[derive(Clone, Debug)]
pub struct Overdue {
    /// The first transaction that carried it.
    pub outbox: OutboxId,
    /// How many more times it may be sent again.
    pub resends_left: u32,
    /// The message, to be sent again.
    pub draft: Draft,
}

/// Whether a flag is not set: it is left out of what is stored.
pub(crate) const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A request for delivery updates on a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRequest {
    /// The behaviour that is told; `None` if nobody is told.
    pub behaviour: Option<String>,
    /// The label under which the behaviour is told.
    pub label: Option<String>,
    /// The acknowledgment that the message requests: `received` or `done`.
    pub wanted: Option<String>,
    /// How long it may take to arrive after the message is mined, in milliseconds.
    pub within_ms: u64,
    /// How many times the message is sent again.
    pub resends: u32,
}

/// The content of a transaction that has neither nonce nor signature yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// What requested it, by [content](crate::origin). Requests with the same origin are the same
    /// request and become one row.
    pub origin: String,
    /// Its recipient.
    pub recipient: Address,
    /// The amount that it transfers, in AIT.
    pub amount: Amount,
    /// The fee that it pays, in AIT.
    pub fee: Amount,
    /// The message.
    pub payload: Json,
    /// The id in its header.
    pub message_id: Option<MessageId>,
    /// When it expires: it is not signed after that.
    pub expires_at: Option<Timestamp>,
    /// Who caused it: whose share of the budget pays for it.
    pub cause: Cause,
    /// Who receives delivery updates on it.
    pub receipt: Option<ReceiptRequest>,
    /// Whether it waits for an operator's approval.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unapproved: bool,
}

impl Draft {
    /// A draft of a message that transfers nothing and requests no delivery updates.
    pub fn new(origin: String, recipient: Address, fee: Amount, payload: Json) -> Self {
        Self {
            origin,
            recipient,
            amount: Amount::ZERO,
            fee,
            payload,
            message_id: None,
            expires_at: None,
            cause: Cause::Own,
            receipt: None,
            unapproved: false,
        }
    }

    /// What the wallet pays for it: amount and fee, in AIT.
    pub const fn cost(&self) -> Amount {
        self.amount.saturating_add(self.fee)
    }

    /// The transaction that is signed for it: from this wallet, on this chain, with this nonce.
    pub fn transaction(self, from: Address, chain: Chain, nonce: Nonce) -> Transaction {
        Transaction {
            dialect: chain.dialect,
            from,
            to: self.recipient,
            amount: self.amount.into(),
            fee: self.fee.into(),
            nonce: nonce.into(),
            payload: self.payload,
            chain_id: chain.id,
        }
    }
}

/// A draft's nonce and its signed bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The nonce.
    pub nonce: Nonce,
    /// Hash of the transaction.
    pub hash: TransactionHash,
    /// The message's identity.
    pub digest: MessageDigest,
    /// The bytes that are posted, identical on every post.
    pub body: String,
    /// The last block that had been read when it was signed: it is in no block up to that one.
    pub since: BlockHeight,
    /// The day whose budget pays for it, in days since the epoch, UTC.
    pub day: u64,
}

/// A day's budget's payment for a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The agent whose budget paid.
    pub agent: AgentId,
    /// The day whose budget paid: days since the epoch, UTC.
    pub day: u64,
    /// Amount and fee, in AIT.
    pub cost: Amount,
    /// Who caused the transaction.
    pub cause: Cause,
}

/// What an agent has spent on a day, in AIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// The total.
    pub all: Amount,
    /// The part caused by verified senders that have a card in the directory.
    pub listed: Amount,
    /// The part caused by verified senders about which nothing else is known.
    pub strangers: Amount,
    /// The part caused by unverified senders.
    pub unverified: Amount,
}

impl Spent {
    /// The part caused by all senders of this standing together. It is 0 for known senders, whose
    /// spending is not summed.
    pub const fn of(&self, standing: Standing) -> Amount {
        match standing {
            Standing::Unverified => self.unverified,
            Standing::Stranger => self.strangers,
            Standing::Listed => self.listed,
            Standing::Known => Amount::ZERO,
        }
    }

    /// Adds a payment.
    pub fn add(&mut self, cause: &Cause, cost: Amount) {
        self.change(cause, |sum| sum.saturating_add(cost));
    }

    /// Subtracts a refund.
    pub fn subtract(&mut self, cause: &Cause, cost: Amount) {
        self.change(cause, |sum| sum.saturating_sub(cost));
    }

    fn change(&mut self, cause: &Cause, change: impl Fn(Amount) -> Amount) {
        self.all = change(self.all);
        let sum = match cause.standing() {
            None | Some(Standing::Known) => return,
            Some(Standing::Listed) => &mut self.listed,
            Some(Standing::Stranger) => &mut self.strangers,
            Some(Standing::Unverified) => &mut self.unverified,
        };
        *sum = change(*sum);
    }
}

/// A row of the outbox that the submitter follows.
#[derive(Clone, Debug)]
pub struct OpenTransaction {
    /// Its row id.
    pub id: OutboxId,
    /// The agent that sends it.
    pub agent: AgentId,
    /// Its hash.
    pub hash: TransactionHash,
    /// Its nonce.
    pub nonce: Nonce,
    /// What the wallet pays for it: amount and fee, in AIT.
    pub cost: Amount,
    /// It is in no block up to this one.
    pub since: BlockHeight,
    /// What a budget has paid for it; `None` if it was signed before budgets existed.
    pub charge: Option<Charge>,
}
