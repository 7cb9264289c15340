//! Why a node refuses a transaction.
//!
//! A node explains a refusal only in prose. The text is interpreted here and nowhere else. Text that the
//! node quotes from the transaction must not be taken for the node's own words.

use agentry_protocol::Nonce;

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node has the transaction already, or the chain has it.
    Known,
    /// The transaction's nonce is not the account's next one.
    Nonce {
        /// The next one, if the node names it.
        expected: Option<Nonce>,
    },
    /// The account does not have what the transaction costs.
    Money,
    /// The chain does not know the sender.
    NoAccount,
    /// The signature is not that of the sender.
    Signature,
    /// The node does not serve the transaction's chain.
    Chain,
    /// It is not a transaction as the node expects it.
    Malformed,
    /// Any other reason.
    Other,
}

/// The prefix of a node's reason.
const PREFIX: &str = "failed to submit transaction:";

/// The kinds of refusals, by how nodes of any dialect begin to report them. The first that fits counts. A
/// nonce that is no number, or negative, is reported in other words than a nonce that is not the next one,
/// and a retry does not help.
const WORDS: [(&str, Refusal); 17] = [
    ("duplicate", Refusal::Known),
    ("already pending", Refusal::Known),
    ("already mined", Refusal::Known),
    ("already in", Refusal::Known),
    ("invalid nonce", Refusal::Nonce { expected: None }),
    ("the nonce is ", Refusal::Nonce { expected: None }),
    ("nonce too ", Refusal::Nonce { expected: None }),
    ("nonce mismatch", Refusal::Nonce { expected: None }),
    ("bad nonce", Refusal::Nonce { expected: None }),
    ("wrong nonce", Refusal::Nonce { expected: None }),
    ("stale nonce", Refusal::Nonce { expected: None }),
    ("unexpected nonce", Refusal::Nonce { expected: None }),
    ("insufficient balance", Refusal::Money),
    ("sender account not found", Refusal::NoAccount),
    ("invalid transaction signature", Refusal::Signature),
    ("unsupported chain_id", Refusal::Chain),
    ("must be non-negative", Refusal::Malformed),
];

impl Refusal {
    /// Classifies a node's answer: its status, and its words.
    pub fn read(status: u16, detail: &str) -> Self {
        if status == 422 {
            return Self::Malformed;
        }
        let words = detail.to_ascii_lowercase();
        let words = words.trim_start();
        let reason = words.strip_prefix(PREFIX).unwrap_or(words).trim_start();
        // Quoted text comes after the words that name the problem.
        let begin = reason.split(['\'', '"']).next().unwrap_or_default();
        let found = WORDS.iter().find(|(words, _)| begin.contains(words));
        match found.map_or(Self::Other, |(_, refusal)| *refusal) {
            Self::Nonce { .. } => Self::Nonce {
                expected: expected(reason),
            },
            refusal => refusal,
        }
    }
}

/// The nonce in `…: expected 4, got 3`, after all that is quoted.
fn expected(reason: &str) -> Option<Nonce> {
    let (_, unquoted) = reason.rsplit_once('\'')?;
    let (_, after) = unquoted.split_once("expected ")?;
    let number = after.split(',').next()?.trim();
    number.parse().ok().map(Nonce::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_known_nodes_are_classified() {
        let nonce = |expected: Option<u64>| Refusal::Nonce {
            expected: expected.map(Nonce::new),
        };
        for (detail, refusal) in [
            // The embedded node, April 2026.
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
                nonce(None),
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
                nonce(Some(4)),
            ),
            (
                "Failed to submit transaction: invalid nonce for sender 'a': expected 7, got 1' on chain 'x': expected 4, got 3",
                nonce(Some(4)),
            ),
            (
                "Failed to submit transaction: invalid nonce for sender 'a' on chain 'x': expected much",
                nonce(None),
            ),
            (
                "Failed to submit transaction: transaction.nonce must be non-negative",
                Refusal::Malformed,
            ),
            (
                "Failed to submit transaction: 403: Invalid transaction signature",
                Refusal::Signature,
            ),
            (
                "Failed to submit transaction: unsupported chain_id 'invalid nonce'. Supported chains: ['already in']",
                Refusal::Chain,
            ),
            (
                "Failed to submit transaction: sender account not found on chain 'duplicate'",
                Refusal::NoAccount,
            ),
            (
                "Failed to submit transaction: insufficient balance for sender 'a' on chain 'bad nonce': has 5, needs 10",
                Refusal::Money,
            ),
            // Others.
            ("Transaction already in mempool", Refusal::Known),
            ("nonce too low: next nonce 5, tx nonce 4", nonce(None)),
            ("", Refusal::Other),
        ] {
            assert_eq!(Refusal::read(400, detail), refusal, "{detail}");
        }
        let list =
            "[{\"type\":\"int_type\",\"loc\":[\"body\",\"nonce\"],\"msg\":\"invalid nonce\"}]";
        assert_eq!(Refusal::read(422, list), Refusal::Malformed);
    }

    proptest::proptest! {
        #[test]
        fn any_words_are_survived(status: u16, detail in ".{0,200}") {
            let _ = Refusal::read(status, &detail);
        }
    }
}
