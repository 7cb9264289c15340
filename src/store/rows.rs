//! The rows as the rest of the runtime sees them.

use std::fmt;

use agentry_protocol::command::AckStatus;
use agentry_protocol::{
    Address, BlockHeight, Json, MessageDigest, MessageId, StoredTransaction, TransactionHash,
};
use agentry_sdk::{Authenticity, Standing};
use serde::{Deserialize, Serialize};

use super::cause::Cause;

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
    /// A hosted wallet, in this store.
    AgentId
);
row_id!(
    /// A message to a hosted wallet, in this store.
    InboxId
);
row_id!(
    /// A transaction that a hosted wallet sends, in this store.
    OutboxId
);
row_id!(
    /// An event that is no message, in this store.
    EventId
);
row_id!(
    /// A task, in this store.
    TaskId
);

/// What a behaviour is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventRef {
    /// A message.
    Inbox(InboxId),
    /// A timer, a fate, a settlement, news of a task.
    Event(EventId),
}

impl fmt::Display for EventRef {
    /// As operators name it, and as it begins the origin of what it leads to.
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
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in the store, in tables and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Reads the word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words!(
    /// Where a message to a hosted wallet stands.
    InboxState {
        /// A behaviour has still to see it.
        Waiting = "waiting",
        /// A reorganisation took it off the chain before it was handled; it waits to be seen
        /// again.
        Withdrawn = "withdrawn",
        /// Every behaviour that accepts it is done.
        Handled = "handled",
        /// Its time was over before its turn came.
        Expired = "expired",
        /// A dead letter: attempts were given up, for the reason that stands beside it.
        Dead = "dead",
    }
);

words!(
    /// Where a transaction that a hosted wallet sends stands.
    OutboxState {
        /// Asked for; it has no nonce yet.
        Queued = "queued",
        /// Signed and stored; its bytes may be posted from now on.
        Prepared = "prepared",
        /// The node has it, or may have it.
        Accepted = "accepted",
        /// It stands in a block.
        Mined = "mined",
        /// The block that holds it is `final_depth` deep.
        Final = "final",
        /// It was refused or dropped for good.
        Failed = "failed",
    }
);

words!(
    /// What kind of event it is that is no message.
    EventKind {
        /// A timer of a behaviour.
        Timer = "timer",
        /// What became of a message that a behaviour sent.
        Fate = "fate",
        /// What became of a message that a behaviour watches.
        Settled = "settled",
        /// News of a task.
        Task = "task",
        /// The agent's card must be announced again. The runtime's own.
        Renewal = "renewal",
    }
);

words!(
    /// What is known of a message that was sent.
    ReceiptState {
        /// Nothing yet, beyond where its transaction stands.
        Open = "open",
        /// Its recipient has it.
        Received = "received",
        /// He will act on it.
        Accepted = "accepted",
        /// He acted on it.
        Done = "done",
        /// Acting on it failed.
        Failed = "failed",
        /// He will not act on it.
        Rejected = "rejected",
        /// Its time was over.
        Expired = "expired",
        /// The acknowledgment that was asked for never came.
        Unacknowledged = "unacknowledged",
        /// It was not sent.
        Unsent = "unsent",
    }
);

impl From<AckStatus> for ReceiptState {
    /// What is known when its recipient says this.
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
    /// How far it is: what is known never becomes less.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Received => 1,
            Self::Accepted => 2,
            // What the recipient says in the end counts more than that he was silent for long.
            Self::Unacknowledged => 3,
            Self::Done | Self::Failed | Self::Rejected | Self::Expired | Self::Unsent => 4,
        }
    }
}

words!(
    /// Where a task stands, in A2A's words. A task that is `rejected` there is none here.
    TaskState {
        /// Accepted and not begun.
        Submitted = "submitted",
        /// Being worked on.
        Working = "working",
        /// Done.
        Completed = "completed",
        /// Given up.
        Failed = "failed",
        /// Taken back by its submitter.
        Canceled = "canceled",
    }
);

impl TaskState {
    /// Whether it has not ended.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Submitted | Self::Working)
    }
}

/// A hosted wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Its row.
    pub id: AgentId,
    /// Its address.
    pub address: Address,
    /// Its name in agents.toml, when it was last hosted.
    pub name: String,
    /// The highest nonce that was ever allotted to it.
    pub last_nonce: Option<i64>,
}

/// A message that waits for its agent.
#[derive(Clone, Debug)]
pub struct DueMessage {
    /// Its row.
    pub id: InboxId,
    /// Hash of the transaction that carried it.
    pub hash: TransactionHash,
    /// Its identity.
    pub digest: MessageDigest,
    /// The transaction.
    pub stored: StoredTransaction,
    /// The block that holds it.
    pub height: BlockHeight,
    /// What is known of its sender.
    pub authenticity: Authenticity,
    /// How many attempts have failed.
    pub attempts: u32,
    /// The behaviours that are done with it.
    pub done: Vec<String>,
    /// Whether one of them refused it.
    pub rejected: bool,
}

/// An event that is no message, and is due.
#[derive(Clone, Debug)]
pub struct DueEvent {
    /// Its row.
    pub id: EventId,
    /// Whose it is; empty: the runtime's own.
    pub behaviour: String,
    /// What kind.
    pub kind: EventKind,
    /// The timer's name, the label, the task's key.
    pub name: String,
    /// More of it.
    pub data: serde_json::Value,
    /// The message that it is about.
    pub message: Option<DueMessage>,
    /// The task that it is about.
    pub task: Option<TaskRow>,
    /// Who brought it about; of a settled message, its sender did.
    pub cause: Cause,
    /// When it was due.
    pub due_at: u64,
    /// How many attempts have failed.
    pub attempts: u32,
}

/// A message that was sent and is not acknowledged in time.
#[derive(Clone, Debug)]
pub struct Overdue {
    /// Its first transaction.
    pub outbox: OutboxId,
    /// How often it may be sent again.
    pub resends_left: u32,
    /// What it said.
    pub draft: Draft,
}

/// A task.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// Its row.
    pub id: TaskId,
    /// Who does it.
    pub agent: AgentId,
    /// Whose it is.
    pub behaviour: String,
    /// What the behaviour calls it.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// What the behaviour gave it.
    pub input: serde_json::Value,
    /// Who sent the message that started it.
    pub submitter: Option<Address>,
    /// Where it stands.
    pub state: TaskState,
    /// How many attempts were begun.
    pub attempts: u32,
    /// How many of them ended with the process: they do not count as failed.
    pub interrupted: u32,
    /// When it may be begun.
    pub due_at: u64,
    /// Until when its result is of use.
    pub deadline: Option<u64>,
    /// Its result, as it was.
    pub result: Option<String>,
    /// What the result is.
    pub media_type: Option<String>,
    /// Why it failed: a word for programs.
    pub error_code: Option<String>,
    /// Why it failed: a sentence.
    pub error: Option<String>,
}

/// That somebody wants to know what becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRequest {
    /// The behaviour that is told; nobody is, where there is none.
    pub behaviour: Option<String>,
    /// Under which name.
    pub label: Option<String>,
    /// What acknowledgment the message asks for: `received` or `done`.
    pub wanted: Option<String>,
    /// How long it may take to come once the message is mined, in milliseconds.
    pub within_ms: u64,
    /// How often the message is sent again.
    pub resends: u32,
}

/// What a transaction is to say; it has neither nonce nor signature yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// What asked for it. The same origin is the same request, and becomes one row.
    pub origin: String,
    /// To whom.
    pub recipient: Address,
    /// What it transfers, in AIT.
    pub amount: u64,
    /// What it pays, in AIT.
    pub fee: u64,
    /// The message.
    pub payload: Json,
    /// The id in its header.
    pub message_id: Option<MessageId>,
    /// When it stops to count (milliseconds since the epoch): then it is not signed any more.
    pub expires_at: Option<u64>,
    /// Who brought it about: whose share of the budget pays for it.
    pub cause: Cause,
    /// Who wants to know what becomes of it.
    pub receipt: Option<ReceiptRequest>,
}

impl Draft {
    /// A draft of a message that transfers nothing and that nobody asks after.
    pub fn new(origin: String, recipient: Address, fee: u64, payload: Json) -> Self {
        Self {
            origin,
            recipient,
            amount: 0,
            fee,
            payload,
            message_id: None,
            expires_at: None,
            cause: Cause::Own,
            receipt: None,
        }
    }

    /// What the wallet needs to pay for it: amount and fee, in AIT.
    pub const fn cost(&self) -> u64 {
        self.amount.saturating_add(self.fee)
    }
}

/// A draft's nonce, and the signed bytes that were made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The nonce.
    pub nonce: i64,
    /// Hash of the transaction.
    pub hash: TransactionHash,
    /// The message's identity.
    pub digest: MessageDigest,
    /// What is posted, byte for byte, however often.
    pub body: String,
    /// The last block that had been read when it was signed: it stands in none up to there.
    pub since: BlockHeight,
    /// The day whose budget pays for it, in days since the epoch, UTC.
    pub day: u64,
}

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The day of a time in milliseconds since the epoch: days since the epoch, UTC.
pub const fn day_of(at_ms: u64) -> u64 {
    at_ms / DAY_MS
}

/// What a day's budget has paid for a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whose budget.
    pub agent: AgentId,
    /// Which day's: days since the epoch, UTC.
    pub day: u64,
    /// Amount and fee, in AIT.
    pub cost: u64,
    /// Who brought the transaction about.
    pub cause: Cause,
}

/// What an agent has spent on a day, in AIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// All of it.
    pub all: u64,
    /// Of it, what verified senders have brought about who have a card in the directory.
    pub listed: u64,
    /// Of it, what verified senders have brought about of whom nothing else is known.
    pub strangers: u64,
    /// Of it, what unverified senders have brought about.
    pub unverified: u64,
}

impl Spent {
    /// What all senders of this standing have brought about together; of known ones nothing is
    /// summed up.
    pub const fn of(&self, standing: Standing) -> u64 {
        match standing {
            Standing::Unverified => self.unverified,
            Standing::Stranger => self.strangers,
            Standing::Listed => self.listed,
            Standing::Known => 0,
        }
    }

    /// Something was paid for.
    pub fn add(&mut self, cause: &Cause, cost: u64) {
        self.change(cause, |sum| sum.saturating_add(cost));
    }

    /// Something was paid back.
    pub fn subtract(&mut self, cause: &Cause, cost: u64) {
        self.change(cause, |sum| sum.saturating_sub(cost));
    }

    fn change(&mut self, cause: &Cause, change: impl Fn(u64) -> u64) {
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

/// A row of the outbox, as the submitter follows it.
#[derive(Clone, Debug)]
pub struct OpenTransaction {
    /// Its row.
    pub id: OutboxId,
    /// Who sends it.
    pub agent: AgentId,
    /// Its hash.
    pub hash: TransactionHash,
    /// Its nonce.
    pub nonce: i64,
    /// What the wallet needs to pay for it: amount and fee, in AIT.
    pub cost: u64,
    /// It stands in no block up to this one.
    pub since: BlockHeight,
    /// What a budget has paid for it; nothing, where it was signed before there were budgets.
    pub charge: Option<Charge>,
}

/// A draft that waits for a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldDraft {
    /// Its row.
    pub id: OutboxId,
    /// Who sends it.
    pub agent: AgentId,
    /// What it transfers, in AIT.
    pub amount: u64,
    /// What it pays, in AIT.
    pub fee: u64,
    /// Who brought it about.
    pub cause: Cause,
}

/// A draft that waits for its nonce.
#[derive(Clone, Debug)]
pub struct QueuedDraft {
    /// Its row.
    pub id: OutboxId,
    /// Who sends it.
    pub agent: AgentId,
    /// What it is to say.
    pub draft: Draft,
}
