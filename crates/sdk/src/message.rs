//! What a behaviour is shown of a message.

use agentry_protocol::{Address, BlockHeight, MessageDigest, Number, Payload, TransactionHash};
use serde::{Deserialize, Serialize};

/// How far the sender of a message is known to be who its `from` says.
///
/// Anyone can post a transaction from anyone: only a signature that verifies under a key bound to
/// `from` proves a sender. The order is that of trust: `Forged < Unverified < Verified`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authenticity {
    /// A key is known and the signature is wrong, misspelled or made for another chain. Such a
    /// message reaches no behaviour.
    Forged,
    /// No key of the sender is known, so nothing can be said.
    Unverified,
    /// The signature is right under a key that is bound to the sender.
    Verified,
}

impl Authenticity {
    /// The word for it in logs, tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
        }
    }
}

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
