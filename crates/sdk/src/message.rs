//! What a behaviour is shown of a message.

pub use agentry_protocol::Authenticity;
use agentry_protocol::message::Envelope;
use agentry_protocol::{
    AckRequest, Address, BlockHeight, CommandError, Header, Json, KnownCommand, MessageDigest,
    Number, Payload, TransactionHash,
};

use crate::Standing;

/// A message that stands on the chain, addressed to the agent that is shown it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Hash of the transaction that carried it.
    pub transaction: TransactionHash,
    /// The SHA-256 of its signing text: the same however its transaction was spelled.
    pub digest: MessageDigest,
    /// Who it says it is from; see [`authenticity`](Self::authenticity).
    pub from: Address,
    /// The agent's own address.
    pub to: Address,
    /// The amount that it transferred, in AIT.
    pub amount: Number,
    /// The block that holds it.
    pub height: BlockHeight,
    /// What was said; opened, if it was sealed. A payload whose header is damaged is shown as
    /// [`Payload::Opaque`], since what its sender demands cannot be known.
    pub payload: Payload,
    /// What it says of itself, if it has a header.
    pub header: Option<Header>,
    /// Whether the sender is proven.
    pub authenticity: Authenticity,
    /// How well the agent knows the sender.
    pub standing: Standing,
    /// Whether only the agent can read it.
    pub sealed: bool,
    /// The question that it answers: a message of the agent's to this sender. Set only where the
    /// sender is proven and was the one who was asked.
    pub answers: Option<Answered>,
}

/// A message of the agent's that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Hash of the transaction that the answer names.
    pub transaction: TransactionHash,
    /// The behaviour that sent it, by its name in the agent; none, if an operator did.
    pub behaviour: Option<String>,
    /// The [label](crate::Outgoing::label) that it gave the message.
    pub label: Option<String>,
}

impl Message {
    /// A message as its transaction's payload has it: neither opened nor known as an answer, from
    /// a sender of whom nothing is known but whether the signature was right.
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
            // To this reader it is a message without a header.
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

    /// The command, if the message is one of those that agentry knows.
    ///
    /// # Errors
    /// It is one, and its parameters are wrong.
    pub fn command(&self) -> Result<Option<KnownCommand>, CommandError> {
        self.payload.command()
    }

    /// Whether it says that it answers something: a behaviour that answers answers may never end.
    pub fn is_answer(&self) -> bool {
        self.header
            .as_ref()
            .is_some_and(|header| header.re.is_some())
    }

    /// What acknowledgment is due: what was asked for, but none for an acknowledgment.
    pub fn ack_due(&self) -> Option<AckRequest> {
        if self.cmd() == Some("ACK") {
            return None;
        }
        self.header.as_ref()?.ack
    }
}
