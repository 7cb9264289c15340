//! Records that a test inspects: messages that were sent, runs, dropped messages.

use agentry_protocol::{
    Address, Amount, BlockHeight, CommandError, Header, KnownCommand, Payload, Thread,
    TransactionHash,
};

use crate::{Effects, Event, Message, Outgoing};

/// A message that a hosted agent sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The agent's name.
    pub agent: String,
    /// The behaviour that sent it, by its name in the agent.
    pub behaviour: String,
    /// The recipient's address.
    pub to: Address,
    /// The content; of a sealed message, the content before encryption.
    pub payload: Payload,
    /// The header; none for a plain text that answers a plain text.
    pub header: Option<Header>,
    /// The transaction that it answers, whether or not the header names it.
    pub re: Option<TransactionHash>,
    /// The conversation that it belongs to.
    pub thread: Option<Thread>,
    /// The label that the behaviour gave it.
    pub label: Option<String>,
    /// The amount that it transfers, in AIT.
    pub amount: Amount,
    /// Whether it was sealed.
    pub sealed: bool,
    /// The message as the behaviour wrote it.
    pub outgoing: Outgoing,
    /// The first transaction that carried it.
    pub transaction: TransactionHash,
    /// All transactions that carried it: several after a resend.
    pub transactions: Vec<TransactionHash>,
    /// The place of the last transaction.
    pub place: TransactionPlace,
}

/// Where a transaction of a hosted agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionPlace {
    /// Accepted by the node, but not yet in a block.
    Pending,
    /// Lost by the node. The runtime posts the same bytes again after the next block.
    Lost,
    /// In a block.
    Mined(BlockHeight),
    /// Refused by the node.
    Unsent,
}

impl Sent {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        self.payload.text()
    }

    /// The name of the command, if it is one, known or not.
    pub fn cmd(&self) -> Option<&str> {
        self.payload.cmd()
    }

    /// The command, if it is one that agentry knows.
    ///
    /// # Errors
    /// The command is known, but its parameters are invalid.
    pub fn command(&self) -> Result<Option<KnownCommand>, CommandError> {
        self.payload.command()
    }
}

/// One run of a handler.
#[derive(Clone, Debug)]
pub struct Run {
    /// The agent's name.
    pub agent: String,
    /// The behaviour's name in the agent.
    pub behaviour: String,
    /// The event that it handled.
    pub event: Event,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The effects that it returned, or the reason why it or the commit of its effects failed.
    pub outcome: Result<Effects, String>,
    /// Whether its effects happened. They do not if the run fails, or if the process ends before
    /// the commit.
    pub committed: bool,
    /// Whether it returned an effect that is always impossible: one that exceeds a limit, or a
    /// reply without a message.
    pub impossible: bool,
}

impl Run {
    /// The message that it handled, if the event was a message.
    pub fn message(&self) -> Option<&Message> {
        match &self.event {
            Event::Message(message) => Some(message),
            Event::Timer(_)
            | Event::DeliveryUpdate(..)
            | Event::Settled(..)
            | Event::Task(_)
            | Event::Start(_)
            | Event::Tick(_) => None,
        }
    }
}

/// A message that no behaviour was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The transaction that carried it.
    pub transaction: TransactionHash,
    /// The reason.
    pub reason: String,
}
