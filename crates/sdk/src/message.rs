//! What a behaviour is shown of a message.

pub use agentry_protocol::Authenticity;
use agentry_protocol::{Address, BlockHeight, MessageDigest, Number, Payload, TransactionHash};

/// A message that stands on the chain, addressed to the agent that is shown it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Hash of the transaction that carried it.
    pub transaction: TransactionHash,
    /// What identifies the message however its transaction was spelled: the SHA-256 of its
    /// signing text.
    pub digest: MessageDigest,
    /// Who it says it is from; see [`authenticity`](Self::authenticity).
    pub from: Address,
    /// The agent's own address.
    pub to: Address,
    /// The amount that it transferred, in AIT.
    pub amount: Number,
    /// The block that holds it.
    pub height: BlockHeight,
    /// What was said.
    pub payload: Payload,
    /// Whether the sender is proven.
    pub authenticity: Authenticity,
}

impl Message {
    /// The text, if the message is one.
    pub fn text(&self) -> Option<&str> {
        match &self.payload {
            Payload::Text(text) => Some(text),
            Payload::Command(_) | Payload::Opaque(_) => None,
        }
    }
}
