//! Whether a message is from the sender that it names: verified, unverified or forged.
//!
//! Anyone can post a transaction in anyone's name, or put one into a block, and that a node has mined it
//! proves nothing. A sender is verified by a signature that verifies, strictly, under a key that is bound
//! to `from`: by the address itself, which is made from the key, or by the operator's configuration.

use serde::{Deserialize, Serialize};

use crate::block::ChainId;
use crate::key::PublicKey;
use crate::transaction::{StoredTransaction, Verification};

/// Whether the sender of a message is known to be the owner of its `from`.
///
/// Ordered by trust: `Forged < Unverified < Verified`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authenticity {
    /// A key is known and the signature is wrong, misspelled or made for another chain. Such a
    /// message reaches no behaviour.
    Forged,
    /// No key of the sender is known, so the signature cannot be checked.
    Unverified,
    /// The signature is valid under a key that is bound to the sender.
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

/// The result of checking the sender of a message, with the reason for its [`Authenticity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finding {
    /// The transaction names another chain than this program's.
    ForeignChain,
    /// The key in the header does not belong to `from`.
    ForeignKey,
    /// No key of the sender is known.
    NoKey,
    /// It has no signature, and the chain keeps none: nothing shows who sent it.
    Unsigned,
    /// The result of verifying the signature: under the header's key if it is valid under that one, else
    /// under the known one; or under the key that follows from it.
    Signature(Verification),
}

impl Finding {
    /// The authenticity that follows from this finding.
    pub fn authenticity(self) -> Authenticity {
        match self {
            Self::ForeignChain | Self::ForeignKey => Authenticity::Forged,
            Self::NoKey | Self::Unsigned => Authenticity::Unverified,
            Self::Signature(verification) if verification.is_valid() => Authenticity::Verified,
            Self::Signature(_) => Authenticity::Forged,
        }
    }
}

/// The keys that a sender may have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keys<'a> {
    /// That of the message's header.
    pub(crate) stated: Option<&'a PublicKey>,
    /// That of the directory or the configuration.
    pub(crate) known: Option<&'a PublicKey>,
}

/// Checks who sent a transaction.
///
/// - `chain`: the chain that this program is on.
/// - `header_key`: `key` of the message's header. It must belong to `from`: by the address, or
///   because it is the known key.
/// - `known_key`: the key of `from` according to the directory or the configuration. The caller
///   vouches for it: it is not compared with the address, so the configuration can name a key for
///   an address that belongs to none.
///
/// If both are given and differ, a valid signature under either counts. Where keys follow from signatures
/// ([`Dialect::states_keys`](crate::Dialect::states_keys)), neither is looked at.
pub fn examine(
    transaction: &StoredTransaction,
    chain: &ChainId,
    header_key: Option<&PublicKey>,
    known_key: Option<&PublicKey>,
) -> Finding {
    if transaction.chain_id != chain.as_str() {
        return Finding::ForeignChain;
    }
    let keys = Keys {
        stated: header_key,
        known: known_key,
    };
    transaction.dialect.examine(transaction, keys)
}
