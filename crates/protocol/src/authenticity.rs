//! Whether a message is from whom it says: verified, unverified or forged.
//!
//! Anyone can post a transaction from anyone, and a node checks nothing. What proves a sender is
//! a signature that verifies, strictly, under a key that is bound to `from`: by the address
//! itself, which is made from the key, or by the operator's word in the configuration.

use serde::{Deserialize, Serialize};

use crate::block::ChainId;
use crate::key::PublicKey;
use crate::transaction::{StoredTransaction, Verification};

/// How far the sender of a message is known to be who its `from` says.
///
/// The order is that of trust: `Forged < Unverified < Verified`.
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

/// What was found out about the sender of a message, and so why it is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finding {
    /// The transaction names another chain than ours.
    ForeignChain,
    /// The key in the header does not belong to `from`.
    ForeignKey,
    /// No key of the sender is known.
    NoKey,
    /// What the signature is under the key: the header's if that is right, else the known one's.
    Signature(Verification),
}

impl Finding {
    /// What it means.
    pub fn authenticity(self) -> Authenticity {
        match self {
            Self::ForeignChain | Self::ForeignKey => Authenticity::Forged,
            Self::NoKey => Authenticity::Unverified,
            Self::Signature(verification) if verification.is_valid() => Authenticity::Verified,
            Self::Signature(_) => Authenticity::Forged,
        }
    }
}

/// Judges who sent a transaction.
///
/// - `chain`: the chain that we are on.
/// - `header_key`: `key` of the message's header. It must belong to `from`: by the address, or
///   because it is the known key.
/// - `known_key`: what the directory or the configuration says is the key of `from`. Whoever
///   gives it vouches for it: it is not compared with the address, so the configuration can name
///   a key for an address that belongs to none.
///
/// Where both are given and differ, a right signature under either counts.
pub fn examine(
    transaction: &StoredTransaction,
    chain: &ChainId,
    header_key: Option<&PublicKey>,
    known_key: Option<&PublicKey>,
) -> Finding {
    if transaction.chain_id != chain.as_str() {
        return Finding::ForeignChain;
    }
    if let Some(key) = header_key {
        if known_key != Some(key) && !transaction.from.matches(key) {
            return Finding::ForeignKey;
        }
        let verification = transaction.verify(key);
        if verification.is_valid() || known_key.is_none_or(|known| known == key) {
            return Finding::Signature(verification);
        }
    }
    match known_key {
        Some(key) => Finding::Signature(transaction.verify(key)),
        None => Finding::NoKey,
    }
}
