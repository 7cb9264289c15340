//! A message as a behaviour sees it.

pub use agentry_protocol::Authenticity;
use agentry_protocol::message::Envelope;
use agentry_protocol::{
    AckRequest, Address, BlockHeight, CommandError, Header, Json, KnownCommand, MessageDigest,
    Number, Payload, Trail, TransactionHash,
};

use crate::Standing;

/// A message on the chain that is addressed to the agent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Hash of the transaction that carried it.
    pub transaction: TransactionHash,
    /// The SHA-256 of its signing text: the same for every encoding of its transaction.
    pub digest: MessageDigest,
    /// The sender that it names; [`authenticity`](Self::authenticity) says whether to believe it.
    pub from: Address,
    /// The agent's own address.
    pub to: Address,
    /// The amount that it transferred, in AIT.
    pub amount: Number,
    /// The height of the block that contains it.
    pub height: BlockHeight,
    /// The content, decrypted if it was sealed. A payload with an invalid header is shown as
    /// [`Payload::Opaque`], because what the header asks for is unknown.
    pub payload: Payload,
    /// The header, if it has one.
    pub header: Option<Header>,
    /// Whether the sender is verified.
    pub authenticity: Authenticity,
    /// How well the agent knows the sender.
    pub standing: Standing,
    /// Whether it was sealed, so that only the agent can read it.
    pub sealed: bool,
    /// The message of the agent that it answers. Set only if the sender is verified and is the
    /// recipient of that message.
    pub answers: Option<Answered>,
}

/// A message of the agent that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Hash of the transaction that the answer names.
    pub transaction: TransactionHash,
    /// The name of the behaviour that sent it; none if an operator sent it.
    pub behaviour: Option<String>,
    /// The [label](crate::Outgoing::label) that it gave the message.
    pub label: Option<String>,
}

impl Message {
    /// Reads a message from the payload of its transaction. It is not decrypted and not matched to
    /// a question, and its [`standing`](Self::standing) depends on the authenticity only.
    pub fn read(
        transaction: TransactionHash,
        digest: MessageDigest,
        (from, to): (Address, Address),
        payload: &Json,
        height: BlockHeight,
        authenticity: Authenticity,
    ) -> Self {
        let Envelope {
            payload: said,
            header,
        } = Envelope::read(payload);
        let (said, header) = match header {
            Ok(header) => (said, header),
            // A header of an unknown version is read as no header.
            Err(error) if error.is_unknown_version() => (said, None),
            Err(_) => (Payload::Opaque(payload.clone()), None),
        };
        Self {
            transaction,
            digest,
            from,
            to,
            amount: Number::from(0_u64),
            height,
            payload: said,
            header,
            authenticity,
            standing: Standing::unknown(authenticity),
            sealed: false,
            answers: None,
        }
    }

    /// The text, if the message is one.
    pub fn text(&self) -> Option<&str> {
        self.payload.text()
    }

    /// The name of the command (`cmd`), if the message is one, known or not.
    pub fn cmd(&self) -> Option<&str> {
        self.payload.cmd()
    }

    /// The command, if the message is one that agentry knows.
    ///
    /// # Errors
    /// The command is known, but its parameters are invalid.
    pub fn command(&self) -> Result<Option<KnownCommand>, CommandError> {
        self.payload.command()
    }

    /// What it follows from: how many messages, and which trace.
    pub fn trail(&self) -> Trail {
        self.header
            .as_ref()
            .map(|header| header.trail)
            .unwrap_or_default()
    }

    /// Whether it says that it answers another message. A behaviour that answers such messages can
    /// cause an endless conversation.
    pub fn is_answer(&self) -> bool {
        self.header
            .as_ref()
            .is_some_and(|header| header.re.is_some())
    }

    /// The acknowledgment that it asks for. An acknowledgment is never acknowledged.
    pub fn ack_due(&self) -> Option<AckRequest> {
        if self.cmd() == Some("ACK") {
            return None;
        }
        self.header.as_ref()?.ack
    }
}
