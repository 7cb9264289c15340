//! What nodes of the [dialects](Dialect) disagree on, beyond the transaction itself: how a row shows
//! one, which calls serve, how often, and in which words a transaction is refused. The other modules ask
//! here, and know no dialect.
//!
//! | question | April 2026 | August 2026 |
//! |---|---|---|
//! | where a row has its transaction | `payload` is the stored form | in eight columns; `payload` is the payload |
//! | what a row without a hash is identified by | the hash of its stored form | its digest: the signature is unknown |
//! | which call shows whole transactions | `blocks/{height}`, and `blocks-range` | `blocks-range` |
//! | whether a call names its chain | no | yes: the mempool is empty without |
//! | whether a block's metadata has transactions | a follower's has | no |
//! | how often a call may be made | as often as needed | 200 times a minute, POSTs 50 times |
//! | whether a node pushes its blocks | no | yes, to whoever holds a lease |
//! | whether the node keeps `mempool.db` beside `chain.db` | yes | no: the file may be an old one |

use std::borrow::Cow;
use std::time::Duration;

use agentry_protocol::json::Limits;
use agentry_protocol::{Dialect, Json, Nonce, StoredTransaction, TransactionHash};

use crate::node::one_line;
use crate::raw::Object;

/// The columns of a row that hold its transaction, and the keys of the stored form.
pub(crate) const COLUMNS: [(&str, &str); 8] = [
    ("chain_id", "chain_id"),
    ("sender", "from"),
    ("recipient", "to"),
    ("value", "amount"),
    ("fee", "fee"),
    ("nonce", "nonce"),
    ("payload", "payload"),
    ("type", "type"),
];

/// Whether a row's columns are the transaction, and its payload is the payload alone.
pub(crate) const fn has_columns(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Where a transaction is read from.
#[derive(Debug, Clone)]
pub(crate) enum Form<'a> {
    /// The text of its stored form.
    Stored(Cow<'a, [u8]>),
    /// The keys of its stored form, each with the text of its value.
    Columns(Vec<(&'static str, Cow<'a, [u8]>)>),
}

impl Form<'_> {
    /// The length of the texts.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Stored(text) => text.len(),
            Self::Columns(columns) => columns.iter().map(|(_, text)| text.len()).sum(),
        }
    }

    /// Parses the transaction. Each value is parsed alone: none can end early, and go on as another key.
    fn parse(&self, dialect: Dialect) -> Result<StoredTransaction, String> {
        let limits = Limits::default();
        let stored = match self {
            Self::Stored(text) => StoredTransaction::read(dialect, text, limits),
            Self::Columns(columns) => {
                let mut entries = Vec::with_capacity(columns.len());
                for (key, text) in columns {
                    let value = Json::parse(text, limits).map_err(|error| {
                        one_line(&format!(
                            "the column of its {key:?} cannot be parsed: {error}"
                        ))
                    })?;
                    entries.push((*key, value));
                }
                dialect.read_stored(Json::object(entries).root())
            }
        };
        stored.map_err(|error| one_line(&error.to_string()))
    }
}

/// Parses a transaction. Its identity is `hash`, else what [`identity`] says.
pub(crate) fn decode(
    dialect: Dialect,
    hash: Option<TransactionHash>,
    form: &Form<'_>,
) -> Result<(TransactionHash, StoredTransaction), String> {
    let stored = form.parse(dialect)?;
    Ok((hash.unwrap_or_else(|| identity(&stored)), stored))
}

/// By what a transaction is identified whose row names no hash: the hash of its stored form. Where the
/// signature, which that hash covers, is not known, it is the digest of the message.
pub(crate) fn identity(stored: &StoredTransaction) -> TransactionHash {
    if stored.dialect.keeps_signatures() || stored.signature.is_some() {
        stored.hash()
    } else {
        TransactionHash::from_bytes(*stored.digest().as_bytes())
    }
}

/// The account that a text from the chain names, by which an interest is asked: where an account has
/// several spellings, all are one. What is no address stays as it is: nobody has it.
pub(crate) fn account(dialect: Dialect, text: Cow<'_, str>) -> Cow<'_, str> {
    match dialect {
        Dialect::April2026 => text,
        Dialect::August2026 if is_account(&text) => text,
        Dialect::August2026 => match dialect.address(&text) {
            Ok(address) => Cow::Owned(address.as_str().to_owned()),
            Err(_) => text,
        },
    }
}

/// Whether a text is an account in its own spelling, as nearly all are.
fn is_account(text: &str) -> bool {
    text.len() == 44
        && text.strip_prefix("ait1").is_some_and(|digits| {
            digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
}

/// Whether `blocks/{height}` shows whole transactions. If not, only `blocks-range` does, and no second
/// call shows what that one does not.
pub(crate) const fn shows_blocks_alone(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => true,
        Dialect::August2026 => false,
    }
}

/// Whether calls name the chain that they are about.
pub(crate) const fn names_chain(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether a block's metadata may hold its transactions.
pub(crate) const fn has_metadata_rows(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => true,
        Dialect::August2026 => false,
    }
}

/// Whether a node keeps its pending transactions in `mempool.db` beside `chain.db`. Otherwise such a file
/// may be left from before, and its silence shows nothing.
pub(crate) const fn has_mempool_beside(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => true,
        Dialect::August2026 => false,
    }
}

/// Whether a node answers 404 for an account that it does not know.
pub(crate) const fn denies_accounts(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// Whether the answer to an import says that the node had the block already.
pub(crate) fn had_block(dialect: Dialect, answer: &Object<'_>) -> bool {
    match dialect {
        Dialect::April2026 => answer
            .string("message")
            .is_some_and(|text| text.to_ascii_lowercase().contains("already exists")),
        Dialect::August2026 => answer.get("accepted").is_none(),
    }
}

/// Whether a node pushes its blocks, as it commits them, to whoever holds a lease.
pub(crate) const fn pushes_blocks(dialect: Dialect) -> bool {
    match dialect {
        Dialect::April2026 => false,
        Dialect::August2026 => true,
    }
}

/// How often one call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// The time between two calls.
    pub(crate) every: Duration,
    /// How many may be made at once after a rest.
    pub(crate) at_once: u32,
}

/// The call by which a client gets a lease, and is pushed blocks.
pub(crate) const SUBSCRIBE: &str = "/rpc/subscribe";

/// How often a function may be called; `None`: as often as needed. The figures stay below a node's limit in
/// any minute: it counts 200 calls of each function that reads, 50 POSTs, and 10 for a lease, from one
/// address.
pub(crate) fn allowance(dialect: Dialect, is_post: bool, function: &str) -> Option<Allowance> {
    match (dialect, is_post) {
        (Dialect::April2026, _) => None,
        (Dialect::August2026, true) if function == SUBSCRIBE => Some(Allowance {
            every: Duration::from_millis(7_500),
            at_once: 2,
        }),
        // 3 a second: 180 a minute, and 15 more.
        (Dialect::August2026, false) => Some(Allowance {
            every: Duration::from_nanos(1_000_000_000 / 3),
            at_once: 15,
        }),
        // 48 a minute, and 2 more.
        (Dialect::August2026, true) => Some(Allowance {
            every: Duration::from_millis(1_250),
            at_once: 2,
        }),
    }
}

/// The pause after a 429 that asks for none.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);

/// The times between blocks, and between polls of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tempo {
    /// The time between two blocks, until it is observed.
    pub(crate) block: Duration,
    /// The shortest time between two polls.
    pub(crate) shortest: Duration,
    /// The longest, unless answers take long.
    pub(crate) longest: Duration,
}

/// How often the head is polled. `unlimited`: the node does not limit how often.
pub(crate) const fn tempo(dialect: Dialect, unlimited: bool) -> Tempo {
    match dialect {
        Dialect::April2026 => Tempo {
            block: Duration::from_secs(2),
            shortest: Duration::ZERO,
            longest: Duration::from_millis(500),
        },
        // A poll a second leaves two thirds of what is allowed to others.
        Dialect::August2026 => Tempo {
            block: Duration::from_secs(10),
            shortest: match unlimited {
                true => Duration::ZERO,
                false => Duration::from_secs(1),
            },
            longest: Duration::from_secs(1),
        },
    }
}

/// Why a node refused a transaction, as far as its answer tells. Text that the node quotes from the
/// transaction is not taken for its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The node has the transaction already, or the chain has it.
    Known,
    /// The nonce is not the account's next one.
    Nonce {
        /// The next one, if the node says so. It is read from the database, and not from a cache.
        expected: Option<Nonce>,
    },
    /// The account cannot pay amount and fee.
    Money,
    /// The signature does not belong to the sender.
    Signature,
    /// The node does not serve the chain that the transaction names.
    Chain,
    /// The chain has never seen the sender.
    UnknownAccount,
    /// A value is missing, or has the wrong form: no node takes it.
    Malformed,
    /// The body is too large.
    Size,
    /// Any other reason, or none.
    Other,
}

/// What precedes a node's own words.
const PREFIX: &str = "failed to submit transaction:";

/// How nodes of April 2026, and others, report bytes that they already have.
const KNOWN: [&str; 4] = [
    "duplicate",
    "already pending",
    "already mined",
    "already in",
];

/// How they report a nonce that is not the next one. A nonce that is no number, or negative, is reported
/// in other words, and a retry does not help.
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

/// Classifies a refusal by its status and the node's words.
pub(crate) fn refusal(dialect: Dialect, status: u16, detail: &str) -> Refusal {
    match status {
        413 => return Refusal::Size,
        422 => return Refusal::Malformed,
        _ => {}
    }
    let words = detail.to_ascii_lowercase();
    let words = words.trim_start();
    let words = words.strip_prefix(PREFIX).unwrap_or(words).trim_start();
    match dialect {
        Dialect::April2026 => of_april(words),
        Dialect::August2026 => of_august(words),
    }
}

fn of_april(words: &str) -> Refusal {
    // Quoted text comes after the words that name the problem.
    let reason = words.split(['\'', '"']).next().unwrap_or_default();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| reason.contains(phrase));
    if says(&KNOWN) {
        Refusal::Known
    } else if says(&NONCE) {
        Refusal::Nonce { expected: None }
    } else {
        Refusal::Other
    }
}

fn of_august(words: &str) -> Refusal {
    let begins = |text: &str| words.starts_with(text);
    if begins("403: invalid transaction signature") {
        Refusal::Signature
    } else if begins("unsupported chain_id ") {
        Refusal::Chain
    } else if begins("sender account not found ") {
        Refusal::UnknownAccount
    } else if begins("insufficient balance ") {
        Refusal::Money
    } else if begins("invalid nonce ") {
        Refusal::Nonce {
            expected: expected_nonce(words),
        }
    } else if begins("transaction.") {
        // A number that must not be negative.
        Refusal::Malformed
    } else {
        // A proxy, or a node that has other words.
        of_april(words)
    }
}

/// The `E` of `…: expected E, got G`. What is quoted comes before it.
fn expected_nonce(words: &str) -> Option<Nonce> {
    let (_, numbers) = words.rsplit_once(": expected ")?;
    let (expected, got) = numbers.split_once(", got ")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number(got)
        .then_some(expected)
        .filter(|text| is_number(text))?
        .parse()
        .ok()
        .map(Nonce::new)
}

/// What a node or its database shows of its dialect. `None`: it was not asked, or shows nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs {
    /// Whether the table `"transaction"` has a column `type`.
    pub type_column: Option<bool>,
    /// Whether a block of `blocks-range` has a key `signature`.
    pub block_signature: Option<bool>,
    /// Whether `openapi.json` lists `/rpc/transaction/{tx_hash}`.
    pub transaction_route: Option<bool>,
}

/// The dialect that shows these signs. `None`: they do not tell, as those of an old node without a block,
/// or contradict each other.
#[must_use]
pub fn detect(signs: Signs) -> Option<Dialect> {
    let of = |sign: Option<bool>| {
        sign.map(|has| match has {
            true => Dialect::August2026,
            false => Dialect::April2026,
        })
    };
    // Nodes of some months between the two lack the route, too: only its presence tells.
    let route = of(signs.transaction_route.filter(|has| *has));
    let mut found = [of(signs.type_column), of(signs.block_signature), route]
        .into_iter()
        .flatten();
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_classified_by_what_they_are() {
        use Refusal::{Chain, Known, Malformed, Money, Other, Signature, Size, UnknownAccount};
        let nonce = |expected: u64| Refusal::Nonce {
            expected: Some(Nonce::new(expected)),
        };
        let unknown_nonce = Refusal::Nonce { expected: None };
        let (april, august) = (Dialect::April2026, Dialect::August2026);
        for (dialect, status, words, expected) in [
            (
                april,
                400,
                "duplicate: transaction 0xab is already mined",
                Known,
            ),
            (
                april,
                400,
                "duplicate: the same signed content is already pending as 0xcd",
                Known,
            ),
            (
                april,
                400,
                "the nonce is 3, and the account's next is 4",
                unknown_nonce,
            ),
            (
                april,
                400,
                "the sender ait1aa has 5 AIT, of which 0 are taken by 0 pending transactions; this one needs 10",
                Other,
            ),
            (april, 400, "Fee 1 below minimum 10", Other),
            (april, 400, "'amount'", Other),
            (april, 400, "403: Invalid transaction signature", Other),
            (april, 422, "[]", Malformed),
            (april, 413, "", Size),
            (august, 400, "403: Invalid transaction signature", Signature),
            (
                august,
                400,
                "transaction.amount must be non-negative",
                Malformed,
            ),
            (
                august,
                400,
                "unsupported chain_id 'invalid nonce'. Supported chains: ['already in']",
                Chain,
            ),
            (
                august,
                400,
                "sender account not found on chain 'duplicate'",
                UnknownAccount,
            ),
            (
                august,
                400,
                "insufficient balance for sender 'a' on chain 'bad nonce': has 5, needs 10",
                Money,
            ),
            (
                august,
                400,
                "invalid nonce for sender 'ait1aa' on chain 'ait-h1': expected 4, got 3",
                nonce(4),
            ),
            (
                august,
                400,
                "invalid nonce for sender 'x: expected 9, got 8' on chain 'y': expected 4, got 3",
                nonce(4),
            ),
            (
                august,
                400,
                "invalid nonce for sender 'x: expected 9, got 8' on chain 'y'",
                unknown_nonce,
            ),
            (
                august,
                400,
                "invalid nonce for sender 'a' on chain 'b': expected -4, got 3",
                unknown_nonce,
            ),
            (august, 422, "[{\"type\":\"missing\"}]", Malformed),
            (august, 413, "Request Entity Too Large", Size),
            (august, 404, "Not Found", Other),
            (august, 400, "", Other),
        ] {
            for detail in [
                words.to_owned(),
                format!("Failed to submit transaction: {words}"),
            ] {
                assert_eq!(refusal(dialect, status, &detail), expected, "{detail}");
            }
        }
    }

    #[test]
    fn a_dialect_is_told_from_its_signs() {
        let (april, august) = (Some(Dialect::April2026), Some(Dialect::August2026));
        for (type_column, block_signature, transaction_route, expected) in [
            (None, None, None, None),
            (Some(true), None, None, august),
            (Some(false), None, None, april),
            (None, Some(true), None, august),
            (None, Some(false), None, april),
            (None, None, Some(true), august),
            (None, None, Some(false), None),
            (None, Some(false), Some(false), april),
            (None, Some(true), Some(false), august),
            (Some(true), Some(false), None, None),
            (None, Some(false), Some(true), None),
        ] {
            let signs = Signs {
                type_column,
                block_signature,
                transaction_route,
            };
            assert_eq!(detect(signs), expected, "{signs:?}");
        }
    }

    #[test]
    fn an_account_is_the_same_in_all_its_spellings() {
        let account =
            |dialect, text: &'static str| super::account(dialect, text.into()).into_owned();
        let ait1 = "ait12b8facdb297c8439b404e59d2290f9906b1fdf9c";
        for spelled in [
            ait1,
            "0x2b8faCdB297C8439B404e59D2290F9906b1FdF9c",
            "aitbc12b8facdb297c8439b404e59d2290f9906b1fdf9c",
            "AIT12B8FACDB297C8439B404E59D2290F9906B1FDF9C",
            " 0x2b8faCdB297C8439B404e59D2290F9906b1FdF9c ",
        ] {
            assert_eq!(account(Dialect::August2026, spelled), ait1);
            assert_eq!(account(Dialect::April2026, spelled), spelled);
        }
        for other in ["hello world", "", "faucet", "0x1234"] {
            assert_eq!(account(Dialect::August2026, other), other);
        }
    }
}
