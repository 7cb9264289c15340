//! Conversations: the messages that an agent sent and received.
//!
//! | part | holds |
//! |---|---|
//! | [`hosted`] | messages of a hosted agent, from the store |
//! | [`page`] | the same, page by page |
//! | [`chain`] | messages of any address, from the chain |

pub mod chain;
pub mod hosted;
pub mod page;

use agentry_protocol::{AckRequest, Address, Authenticity, Thread, Timestamp};
use agentry_store::list::talk::{ListedMessage, MessageRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::content::MessageContent;
use super::names::Names;
use super::sealed::Opener;
use super::search::Found;

/// The messages to select.
#[derive(Clone, Debug)]
pub struct MessageFilter {
    /// Those of the agent at this address.
    pub agent: Address,
    /// Only those from this sender.
    pub from: Option<Address>,
    /// Only those of this conversation.
    pub thread: Option<Thread>,
    /// Their direction.
    pub direction: Direction,
    /// At most this many, the newest.
    pub limit: usize,
}

/// The direction of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent and received ones.
    Both,
    /// Sent ones.
    Sent,
    /// Received ones.
    Received,
    /// Those that name a sender who did not sign them, which are kept apart.
    Forged,
}

impl Direction {
    const fn sends(self) -> bool {
        matches!(self, Self::Both | Self::Sent)
    }

    const fn receives(self) -> bool {
        matches!(self, Self::Both | Self::Received)
    }
}

/// A message of a conversation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessageEntry {
    /// `received` or `sent`.
    pub direction: &'static str,
    /// Its row, as `queue show` takes it; `None` if only the chain was read.
    pub id: Option<String>,
    /// The block that holds it.
    pub height: Option<u64>,
    /// When it was seen in a block; for a sent message without a block, when it was requested; for
    /// a message read from the chain alone, the time of its block.
    #[schemars(with = "Option<u64>")]
    pub seen_at: Option<Timestamp>,
    /// Its transaction.
    pub transaction: Option<String>,
    /// The sender.
    pub from: String,
    /// The sender's name.
    pub from_name: Option<String>,
    /// The recipient.
    pub to: String,
    /// The recipient's name.
    pub to_name: Option<String>,
    /// The amount that it transfers, in AIT, with all its digits; `None` if it is not a number.
    #[schemars(with = "Option<serde_json::Number>")]
    pub amount: Option<Box<RawValue>>,
    /// Its content without the header; `null` if it is sealed and was not opened.
    pub text: Option<String>,
    /// The name of the command, if it is one.
    pub cmd: Option<String>,
    /// The id in its header.
    pub message_id: Option<String>,
    /// The conversation that it belongs to.
    pub thread: Option<String>,
    /// The transaction that it answers.
    pub re: Option<String>,
    /// The acknowledgment that it asks for.
    pub ack: Option<&'static str>,
    /// When it expires.
    #[schemars(with = "Option<u64>")]
    pub expires_at: Option<Timestamp>,
    /// Why its header cannot be read.
    pub damage: Option<String>,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Why the sealed content was not opened.
    pub closed: Option<String>,
    /// Whether the sender is verified.
    pub authenticity: Option<String>,
    /// Its state in the queue; `None` if only the chain was read.
    pub state: Option<String>,
    /// Why it waits, failed or was refused.
    pub reason: Option<String>,
    /// The row whose message it resends.
    pub resend_of: Option<String>,
    /// The delivery of a sent message, if an acknowledgment was asked for.
    pub receipt: Option<MessageReceipt>,
}

/// The delivery of a message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessageReceipt {
    /// The acknowledgment that was asked for.
    pub wanted: Option<String>,
    /// What is known of the delivery.
    pub state: &'static str,
    /// The recipient's explanation.
    pub detail: Option<String>,
    /// How often the message may be resent.
    pub resends_left: u64,
}

impl MessageEntry {
    /// A message of the store, with its content. A sealed message to a hosted wallet is opened.
    pub async fn read(told: ListedMessage, opener: &mut Opener) -> Self {
        let mut content = told.payload.as_ref().map(MessageContent::read);
        if let (Some(content), MessageRow::Inbox(row)) = (&mut content, told.place)
            && content.sealed
        {
            let opened = opener.open(row).await;
            content.open(opened.as_ref().map_err(String::as_str));
        }
        Self::of_store(told, content)
    }

    /// A message of the store, with its content.
    fn of_store(told: ListedMessage, content: Option<MessageContent>) -> Self {
        let (direction, id) = match told.place {
            MessageRow::Inbox(row) => ("received", Some(format!("inbox/{row}"))),
            MessageRow::Forged(_) => ("received", None),
            MessageRow::Outbox(row) => ("sent", Some(format!("outbox/{row}"))),
        };
        let entry = Self {
            id,
            height: told.height,
            seen_at: Some(told.seen_at),
            transaction: told.hash,
            authenticity: told.authenticity,
            state: Some(told.state),
            reason: told.reason,
            resend_of: told.resend_of.map(|row| format!("outbox/{row}")),
            receipt: told.receipt.map(|delivery| MessageReceipt {
                wanted: delivery.wanted,
                state: delivery.state.as_str(),
                detail: delivery.detail,
                resends_left: delivery.resends_left,
            }),
            ..Self::new(direction, told.from, told.to, told.amount)
        };
        match content {
            Some(content) => entry.with(content),
            None => Self {
                damage: Some("it cannot be read".to_owned()),
                ..entry
            },
        }
    }

    /// A message of the chain to or from `agent`.
    fn of_chain(found: &Found, agent: &Address, authenticity: Authenticity) -> Self {
        let stored = &found.stored;
        let (from, to) = (stored.from.to_string(), stored.to.to_string());
        let is_sent = stored.from == *agent;
        Self {
            height: Some(found.height.0),
            seen_at: found.made_at,
            transaction: Some(found.hash.to_string()),
            authenticity: Some(authenticity.as_str().to_owned()),
            ..Self::new(
                if is_sent { "sent" } else { "received" },
                from,
                to,
                stored.amount.to_string(),
            )
        }
        .with(MessageContent::read(&stored.message()))
    }

    fn new(direction: &'static str, from: String, to: String, amount: String) -> Self {
        Self {
            direction,
            id: None,
            height: None,
            seen_at: None,
            transaction: None,
            from,
            from_name: None,
            to,
            to_name: None,
            amount: RawValue::from_string(amount).ok(),
            text: None,
            cmd: None,
            message_id: None,
            thread: None,
            re: None,
            ack: None,
            expires_at: None,
            damage: None,
            sealed: false,
            closed: None,
            authenticity: None,
            state: None,
            reason: None,
            resend_of: None,
            receipt: None,
        }
    }

    fn with(self, content: MessageContent) -> Self {
        let header = content.header.unwrap_or_default();
        Self {
            text: content.text,
            cmd: content.cmd,
            message_id: header.id.map(|id| id.to_string()),
            thread: header.thread.map(|thread| thread.to_string()),
            re: header.re.map(|hash| hash.to_string()),
            ack: header.ack.map(AckRequest::as_str),
            expires_at: header.exp,
            damage: content.damage,
            sealed: content.sealed,
            closed: content.closed,
            ..self
        }
    }

    /// Adds the names of both sides.
    pub fn named(mut self, names: &Names<'_>) -> Self {
        self.from_name = names.text(&self.from);
        self.to_name = names.text(&self.to);
        self
    }
}

/// The newest messages of a conversation, oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct MessageList {
    /// The messages.
    pub messages: Vec<MessageEntry>,
    /// Whether there are older ones.
    pub more: bool,
}
