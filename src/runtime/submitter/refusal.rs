//! What a node means by the words of a refusal.
//!
//! A refusal is told in words alone. They are read here and nowhere else, and only as far as nothing
//! else tells: whether a wallet can pay is seen from its account. What the node quotes of the
//! transaction must not pass for its own words.

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node has the transaction already, or the chain has.
    Known,
    /// Its nonce is not the account's next one.
    Nonce,
    /// Anything else.
    Other,
}

/// What a node puts before its reason.
const PREFIX: &str = "failed to submit transaction:";

/// What is said of bytes that are there already, in every dialect.
const KNOWN: [&str; 4] = [
    "duplicate",
    "already pending",
    "already mined",
    "already in",
];

/// What is said of a nonce that is not the next one. That a nonce is no number, or negative, is said
/// in other words, and does not change.
const NONCE: [&str; 8] = [
    "invalid nonce",
    "the nonce is ",
    "nonce too ",
    "nonce mismatch",
    "bad nonce",
    "wrong nonce",
    "stale nonce",
    "unexpected nonce",
];

impl Refusal {
    /// Reads what a node answered.
    pub(super) fn read(detail: &str) -> Self {
        let words = detail.to_ascii_lowercase();
        let words = words.trim_start();
        let reason = words.strip_prefix(PREFIX).unwrap_or(words).trim_start();
        // What is quoted stands behind the words that say what is wrong.
        let reason = reason.split(['\'', '"']).next().unwrap_or_default();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| reason.contains(phrase));
        if says(&KNOWN) {
            Self::Known
        } else if says(&NONCE) {
            Self::Nonce
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say_is_understood() {
        for (detail, refusal) in [
            // The embedded node.
            (
                "Failed to submit transaction: duplicate: transaction 0xab is already mined",
                Refusal::Known,
            ),
            (
                "Failed to submit transaction: duplicate: the same signed content is already pending as 0xcd",
                Refusal::Known,
            ),
            (
                "Failed to submit transaction: the nonce is 3, and the account's next is 4",
                Refusal::Nonce,
            ),
            (
                "Failed to submit transaction: the sender ait1aa has 5 AIT, of which 0 are taken by 0 pending transactions; this one needs 10",
                Refusal::Other,
            ),
            // AITBC, April 2026.
            (
                "Failed to submit transaction: Fee 1 below minimum 10",
                Refusal::Other,
            ),
            ("Failed to submit transaction: 'amount'", Refusal::Other),
            // AITBC, August 2026.
            (
                "Failed to submit transaction: invalid nonce for sender 'ait1aa' on chain 'ait-mainnet': expected 4, got 3",
                Refusal::Nonce,
            ),
            (
                "Failed to submit transaction: transaction.nonce must be non-negative",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: 403: Invalid transaction signature",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: unsupported chain_id 'invalid nonce'. Supported chains: ['already in']",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: sender account not found on chain 'duplicate'",
                Refusal::Other,
            ),
            (
                "Failed to submit transaction: insufficient balance for sender 'a' on chain 'bad nonce': has 5, needs 10",
                Refusal::Other,
            ),
            (
                "[{\"type\":\"int_type\",\"loc\":[\"body\",\"nonce\"],\"msg\":\"Input should be a valid integer\"}]",
                Refusal::Other,
            ),
            // Others.
            ("Transaction already in mempool", Refusal::Known),
            ("nonce too low: next nonce 5, tx nonce 4", Refusal::Nonce),
            ("", Refusal::Other),
        ] {
            assert_eq!(Refusal::read(detail), refusal, "{detail}");
        }
    }
}
