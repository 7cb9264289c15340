//! Classifying the text of a node's refusal.
//!
//! A node explains a refusal only in prose. The text is interpreted here and nowhere else, and only
//! where there is no other source: whether a wallet can pay is read from its account. Text that the
//! node quotes from the transaction must not be taken for the node's own words.

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node has the transaction already, or the chain has it.
    Known,
    /// The transaction's nonce is not the account's next one.
    Nonce,
    /// Any other reason.
    Other,
}

/// The prefix of a node's reason.
const PREFIX: &str = "failed to submit transaction:";

/// How nodes of every dialect report bytes that they already have.
const KNOWN: [&str; 4] = [
    "duplicate",
    "already pending",
    "already mined",
    "already in",
];

/// How nodes report a nonce that is not the next one. A nonce that is no number, or negative, is
/// reported in other words, and a retry does not help.
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
    /// Classifies a node's answer.
    pub(super) fn read(detail: &str) -> Self {
        let words = detail.to_ascii_lowercase();
        let words = words.trim_start();
        let reason = words.strip_prefix(PREFIX).unwrap_or(words).trim_start();
        // Quoted text comes after the words that name the problem.
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
    fn refusals_of_known_nodes_are_classified() {
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
