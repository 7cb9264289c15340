//! Printing of blocks and transactions. Their content is untrusted: JSON is written from the exact
//! document, text goes through [`printable`].

use agentry_chain::Block;
use agentry_protocol::{Json, Payload, StoredTransaction, TransactionHash};

use super::super::output::printable;

/// Headings for [`row`]s.
pub(super) const HEADINGS: [&str; 6] = ["HASH", "FROM", "TO", "AMOUNT", "FEE", "MESSAGE"];

/// How much of a message a row shows, in characters.
const MESSAGE: usize = 60;

/// A transaction as JSON: `hash` and the stored form's keys; `error` if it cannot be read.
pub(super) fn transaction(
    hash: Option<TransactionHash>,
    stored: Result<&StoredTransaction, &str>,
) -> Json {
    let hash = hash.map_or_else(Json::null, |hash| Json::string(hash.to_string()));
    let mut fields = vec![("hash".to_owned(), hash)];
    match stored {
        Ok(stored) => {
            let form = stored.to_json();
            fields.extend(
                form.root()
                    .entries()
                    .map(|(key, value)| (key.to_owned(), value.to_json())),
            );
        }
        Err(reason) => fields.push(("error".to_owned(), Json::string(reason))),
    }
    Json::object(fields)
}

/// A block as JSON.
pub(super) fn block(block: &Block) -> Json {
    let parent = block
        .parent_hash
        .map_or_else(Json::null, |hash| Json::string(hash.to_string()));
    let transactions = block.transactions.as_ref().map_or_else(Json::null, |list| {
        Json::array(
            list.iter()
                .map(|one| transaction(one.hash, one.stored.as_ref().map_err(String::as_str))),
        )
    });
    Json::object([
        ("height", Json::integer(block.height.0.into())),
        ("hash", Json::string(block.hash.to_string())),
        ("parent_hash", parent),
        ("proposer", Json::string(block.proposer.as_str())),
        ("timestamp", Json::string(block.timestamp.as_str())),
        ("tx_count", Json::integer(block.tx_count.into())),
        ("transactions", transactions),
    ])
}

/// A transaction as a row of a table.
pub(super) fn row(hash: String, stored: Result<&StoredTransaction, &str>) -> Vec<String> {
    match stored {
        Ok(stored) => vec![
            hash,
            printable(stored.from.as_str(), 70),
            printable(stored.to.as_str(), 70),
            printable(&stored.amount.to_string(), 40),
            printable(&stored.fee.to_string(), 40),
            message(&stored.message(), MESSAGE),
        ],
        Err(reason) => {
            let reason = format!("cannot be read: {}", printable(reason, MESSAGE));
            vec![hash, "-".into(), "-".into(), "-".into(), "-".into(), reason]
        }
    }
}

/// A short description of a payload.
pub(super) fn message(payload: &Json, limit: usize) -> String {
    match Payload::read(payload) {
        Payload::Text(text) => printable(&text, limit),
        Payload::Command(command) => printable(
            &format!("{} {}", command.cmd, command.body.to_compact()),
            limit,
        ),
        Payload::Opaque(json) => printable(&json.to_compact(), limit),
    }
}
