//! What a test can look at: messages that were sent, runs, what was dropped.

use agentry_protocol::{
    Address, BlockHeight, CommandError, Header, KnownCommand, Payload, Thread, TransactionHash,
};

use crate::{Effects, Event, Message, Outgoing};

/// A message that a hosted agent sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The agent's name.
    pub agent: String,
    /// The behaviour that sent it, by its name in the agent.
    pub behaviour: String,
    /// To whom.
    pub to: Address,
    /// What it says. Where it was sealed, this is what only its recipient can read.
    pub payload: Payload,
    /// The header that was written; none for a plain text that answers a plain text.
    pub header: Option<Header>,
    /// What it answers, whether or not a header says so.
    pub re: Option<TransactionHash>,
    /// The conversation that it belongs to.
    pub thread: Option<Thread>,
    /// The label that the behaviour gave it.
    pub label: Option<String>,
    /// What is transferred with it, in AIT.
    pub amount: u64,
    /// Whether it was sealed.
    pub sealed: bool,
    /// What was asked for, as the behaviour wrote it.
    pub outgoing: Outgoing,
    /// The first transaction that carried it.
    pub transaction: TransactionHash,
    /// All transactions that carried it: more than one after a resend.
    pub transactions: Vec<TransactionHash>,
    /// Where the last of them is.
    pub place: Place,
}

/// Where a transaction of a hosted agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With the node, in no block yet.
    Pending,
    /// Lost by the node. The runtime posts the same bytes again after the next block.
    Lost,
    /// In a block.
    Mined(BlockHeight),
    /// Nowhere: the node refused it.
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
    /// It is one, and its parameters are wrong.
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
    /// What it was shown.
    pub event: Event,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// What it asked for; or why it failed, or why what it asked for cannot be.
    pub outcome: Result<Effects, String>,
    /// Whether what it asked for has happened. It has not if it failed, nor if the process ended
    /// before the commit.
    pub committed: bool,
    /// Whether it asked for what can never be: effects out of bounds, an answer to no message.
    pub impossible: bool,
}

impl Run {
    /// The message that it was shown, if it was one that came.
    pub fn message(&self) -> Option<&Message> {
        match &self.event {
            Event::Message(message) => Some(message),
            Event::Timer(_) | Event::Fate(..) | Event::Settled(..) | Event::Task(_) => None,
        }
    }
}

/// A message that no behaviour was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The transaction that carried it.
    pub transaction: TransactionHash,
    /// Why.
    pub reason: String,
}
