//! Checks that each row can be read back and is what was written.

use agentry_chain::Cursor;
use agentry_core::rows::{EventKind, EventState, InboxState, OutboxState, ReceiptState, TaskState};
use agentry_protocol::{
    Address, BlockHash, ChainId, Json, Limits, MessageDigest, MessageId, PublicKey,
    SignedTransaction, StoredTransaction, TransactionHash,
};
use rusqlite::{Connection, Result, Row};
use serde_json::Value;

use super::{Depth, NAMED};
use crate::cause;
use crate::column::{natural, optional_natural, optional_text, text, undecodable, word};
use crate::error::Trouble;
use crate::meta;
use crate::read::{announce, authenticity};

/// Reads a column, or a row from that column on.
type Form = fn(&Row<'_>, usize) -> Result<()>;

/// How the rows of a table are checked.
struct Table {
    name: &'static str,
    /// The SQL expression that identifies a row.
    key: &'static str,
    /// The SQL condition on the rows that will be acted on.
    open: &'static str,
    /// The columns, each with its type.
    columns: &'static [(&'static str, Form)],
}

const WHOLE: Form = |row, column| natural(row, column).map(drop);
const SOME_WHOLE: Form = |row, column| optional_natural(row, column).map(drop);
const FLAG: Form = |row, column| match natural(row, column)? {
    0 | 1 => Ok(()),
    other => Err(undecodable(
        row,
        column,
        format!("holds {other}, not 0 or 1"),
    )),
};
const TEXT: Form = |row, column| text(row, column, meta::as_it_is).map(drop);
const SOME_TEXT: Form = |row, column| optional_text(row, column, meta::as_it_is).map(drop);
const ADDRESS: Form = |row, column| text(row, column, Address::from_chain).map(drop);
const SOME_ADDRESS: Form = |row, column| optional_text(row, column, Address::from_chain).map(drop);
const HASH: Form = |row, column| text(row, column, str::parse::<TransactionHash>).map(drop);
const SOME_HASH: Form =
    |row, column| optional_text(row, column, str::parse::<TransactionHash>).map(drop);
const SOME_BLOCK: Form =
    |row, column| optional_text(row, column, str::parse::<BlockHash>).map(drop);
const DIGEST: Form = |row, column| text(row, column, str::parse::<MessageDigest>).map(drop);
const SOME_DIGEST: Form =
    |row, column| optional_text(row, column, str::parse::<MessageDigest>).map(drop);
const SOME_ID: Form = |row, column| optional_text(row, column, str::parse::<MessageId>).map(drop);
const KEY: Form = |row, column| text(row, column, str::parse::<PublicKey>).map(drop);
const JSON: Form =
    |row, column| text(row, column, |json| serde_json::from_str::<Value>(json)).map(drop);
const PAYLOAD: Form = |row, column| text(row, column, parse_json).map(drop);
const STORED: Form = |row, column| text(row, column, parse_stored).map(drop);

/// Two columns: this one, and `sender` after it.
const CAUSE: Form = |row, column| cause::read(row, column).map(drop);

const TABLES: &[Table] = &[
    Table {
        name: "meta",
        key: "key",
        open: "true",
        columns: &[("key", TEXT), ("value", meta_value)],
    },
    Table {
        name: "agent",
        key: "id",
        open: "true",
        columns: &[
            ("address", ADDRESS),
            ("name", TEXT),
            ("start_height", WHOLE),
            ("last_nonce", SOME_WHOLE),
        ],
    },
    Table {
        name: "inbox",
        key: "id",
        open: "state IN ('waiting', 'withdrawn')",
        columns: &[
            ("digest", DIGEST),
            ("hash", HASH),
            ("sender", ADDRESS),
            ("height", SOME_WHOLE),
            ("stored", arrived),
            ("authenticity", |row, column| {
                word(row, column, authenticity).map(drop)
            }),
            ("state", |row, column| {
                word(row, column, InboxState::parse).map(drop)
            }),
            ("seq", WHOLE),
            ("attempts", WHOLE),
            ("due_at", WHOLE),
            ("reason", SOME_TEXT),
            ("seen_at", WHOLE),
            ("settled_at", SOME_WHOLE),
            ("identity", SOME_TEXT),
            ("re", SOME_HASH),
            ("thread", SOME_TEXT),
            ("expires_at", SOME_WHOLE),
            ("priority", FLAG),
            ("rejected", SOME_TEXT),
        ],
    },
    Table {
        name: "progress",
        key: "inbox",
        open: "true",
        columns: &[("inbox", WHOLE), ("behaviour", TEXT)],
    },
    Table {
        name: "forged",
        key: "agent || '/' || hash",
        open: "false",
        columns: &[
            ("hash", HASH),
            ("sender", ADDRESS),
            ("height", WHOLE),
            ("stored", STORED),
            ("seen_at", WHOLE),
        ],
    },
    Table {
        name: "state",
        key: "agent || '/' || behaviour || '/' || key",
        open: "true",
        columns: &[("behaviour", TEXT), ("key", TEXT), ("value", JSON)],
    },
    Table {
        name: "outbox",
        key: "id",
        open: "state IN ('queued', 'prepared', 'accepted', 'mined')",
        columns: &[
            ("origin", TEXT),
            ("inbox", SOME_WHOLE),
            ("recipient", ADDRESS),
            ("amount", WHOLE),
            ("fee", WHOLE),
            ("payload", PAYLOAD),
            ("state", |row, column| {
                word(row, column, OutboxState::parse).map(drop)
            }),
            ("reason", SOME_TEXT),
            ("nonce", SOME_WHOLE),
            ("hash", SOME_HASH),
            ("digest", SOME_DIGEST),
            ("body", signed),
            ("since", SOME_WHOLE),
            ("posts", WHOLE),
            ("posted_at", SOME_WHOLE),
            ("height", SOME_WHOLE),
            ("block_hash", SOME_BLOCK),
            ("created_at", WHOLE),
            ("prepared_at", SOME_WHOLE),
            ("accepted_at", SOME_WHOLE),
            ("mined_at", SOME_WHOLE),
            ("settled_at", SOME_WHOLE),
            ("message_id", SOME_ID),
            ("resend_of", SOME_WHOLE),
            ("expires_at", SOME_WHOLE),
            ("budget_day", SOME_WHOLE),
            ("held", FLAG),
            ("standing", CAUSE),
            ("sender", TEXT),
        ],
    },
    Table {
        name: "gap",
        key: "height",
        open: "true",
        columns: &[("height", WHOLE), ("reason", TEXT), ("since", WHOLE)],
    },
    Table {
        name: "event",
        key: "id",
        open: "true",
        columns: &[
            ("behaviour", TEXT),
            ("kind", |row, column| {
                word(row, column, EventKind::parse).map(drop)
            }),
            ("name", TEXT),
            ("data", JSON),
            ("inbox", SOME_WHOLE),
            ("state", |row, column| {
                word(row, column, EventState::parse).map(drop)
            }),
            ("due_at", WHOLE),
            ("attempts", WHOLE),
            ("reason", SOME_TEXT),
            ("made_at", WHOLE),
            ("standing", CAUSE),
            ("sender", TEXT),
            ("anchor", SOME_WHOLE),
        ],
    },
    Table {
        name: "receipt",
        key: "outbox",
        open: "due_at IS NOT NULL",
        columns: &[
            ("behaviour", SOME_TEXT),
            ("label", SOME_TEXT),
            ("wanted", |row, column| {
                let known = |word: &str| match word {
                    "received" | "done" => Ok(()),
                    other => Err(format!("{other:?} is not an acknowledgment")),
                };
                optional_text(row, column, known).map(drop)
            }),
            ("state", |row, column| {
                word(row, column, ReceiptState::parse).map(drop)
            }),
            ("detail", SOME_TEXT),
            ("within_ms", WHOLE),
            ("resends_left", WHOLE),
            ("mined", FLAG),
            ("due_at", SOME_WHOLE),
            ("changed_at", WHOLE),
        ],
    },
    Table {
        name: "task",
        key: "id",
        open: "state IN ('submitted', 'working')",
        columns: &[
            ("behaviour", TEXT),
            ("key", TEXT),
            ("kind", TEXT),
            ("input", JSON),
            ("inbox", SOME_WHOLE),
            ("submitter", SOME_ADDRESS),
            ("state", |row, column| {
                word(row, column, TaskState::parse).map(drop)
            }),
            ("attempts", WHOLE),
            ("interrupted", WHOLE),
            ("due_at", WHOLE),
            ("deadline", SOME_WHOLE),
            ("note", SOME_TEXT),
            ("result", SOME_TEXT),
            ("media_type", SOME_TEXT),
            ("error_code", SOME_TEXT),
            ("error", SOME_TEXT),
            ("made_at", WHOLE),
            ("started_at", SOME_WHOLE),
            ("ended_at", SOME_WHOLE),
            ("standing", CAUSE),
            ("sender", TEXT),
        ],
    },
    Table {
        name: "card",
        key: "id",
        open: "true",
        columns: &[
            ("address", ADDRESS),
            ("hash", HASH),
            ("height", WHOLE),
            ("public_key", KEY),
            ("card", |row, column| {
                optional_text(row, column, announce).map(drop)
            }),
            ("expires_at", WHOLE),
            ("announced_at", WHOLE),
        ],
    },
    Table {
        name: "spending",
        key: "agent || '/' || day || '/' || standing || '/' || sender",
        open: "true",
        columns: &[
            ("day", WHOLE),
            ("spent", WHOLE),
            ("standing", CAUSE),
            ("sender", TEXT),
        ],
    },
];

/// Reads the rows of all tables. A value that cannot be read back is named by table, row and
/// column.
pub(super) fn look(db: &Connection, depth: Depth) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for table in TABLES {
        let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let condition = match depth {
            Depth::Open => table.open,
            Depth::All => "true",
        };
        let mut statement = db.prepare(&format!(
            "SELECT {}, {} FROM {} WHERE {condition}",
            columns.join(", "),
            table.key,
            table.name
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for (column, (_, form)) in table.columns.iter().enumerate() {
                let Err(error) = form(row, column) else {
                    continue;
                };
                let Some(Trouble::Value(what)) = Trouble::of(&error) else {
                    return Err(error);
                };
                found.push(format!(
                    "{} {}: {what}",
                    table.name,
                    key(row, columns.len())
                ));
                if found.len() == NAMED {
                    return Ok(found);
                }
            }
        }
    }
    Ok(found)
}

/// The key of a row as text, whatever its type.
fn key(row: &Row<'_>, column: usize) -> String {
    match row.get::<_, rusqlite::types::Value>(column) {
        Ok(rusqlite::types::Value::Integer(id)) => id.to_string(),
        Ok(rusqlite::types::Value::Text(text)) => agentry_protocol::untrusted::printable(&text, 80),
        _ => "of an unknown key".to_owned(),
    }
}

fn parse_json(text: &str) -> std::result::Result<Json, agentry_protocol::JsonError> {
    Json::parse(text.as_bytes(), Limits::default())
}

fn parse_stored(
    text: &str,
) -> std::result::Result<StoredTransaction, agentry_protocol::TransactionError> {
    StoredTransaction::parse(text.as_bytes(), Limits::default())
}

/// A value of `meta`, read as the key in the column before it requires.
fn meta_value(row: &Row<'_>, column: usize) -> Result<()> {
    let key: String = row.get(column - 1)?;
    match key.as_str() {
        meta::CHAIN_ID => text(row, column, str::parse::<ChainId>).map(drop),
        meta::GENESIS => text(row, column, str::parse::<BlockHash>).map(drop),
        meta::CURSOR => text(row, column, |json| serde_json::from_str::<Cursor>(json)).map(drop),
        meta::CARDS_FINAL => text(row, column, str::parse::<i64>).map(drop),
        meta::DIRECTORY_FROM => text(row, column, str::parse::<u64>).map(drop),
        meta::DIRECTORY_PROGRESS => JSON(row, column),
        _ => TEXT(row, column),
    }
}

/// The transaction of a message, compared with the digest and the sender in the columns before it.
fn arrived(row: &Row<'_>, column: usize) -> Result<()> {
    // The content of a pruned message is empty.
    if row.get_ref(column)?.as_str().is_ok_and(str::is_empty) {
        return Ok(());
    }
    let stored = text(row, column, parse_stored)?;
    let digest: MessageDigest = text(row, 0, str::parse)?;
    let sender = text(row, 2, Address::from_chain)?;
    if stored.digest() != digest {
        let what = format!("has the digest {}, not {digest}", stored.digest());
        return Err(undecodable(row, column, what));
    }
    if stored.from != sender {
        let what = format!("is from {}, not {sender}", stored.from);
        return Err(undecodable(row, column, what));
    }
    Ok(())
}

/// The signed bytes of a transaction, compared with the columns before it that say what was signed.
fn signed(row: &Row<'_>, column: usize) -> Result<()> {
    let parse = |body: &str| SignedTransaction::from_body(body.as_bytes(), Limits::default());
    let Some(signed) = optional_text(row, column, parse)? else {
        return Ok(());
    };
    let transaction = signed.transaction();
    let stored: Option<String> = row.get(9)?;
    let digest: Option<String> = row.get(10)?;
    let says = [
        ("hash", stored == Some(signed.hash().to_string())),
        ("digest", digest == Some(signed.digest().to_string())),
        (
            "recipient",
            text(row, 2, Address::from_chain)? == transaction.to,
        ),
        (
            "amount",
            natural(row, 3)?.to_string() == transaction.amount.to_string(),
        ),
        (
            "fee",
            natural(row, 4)?.to_string() == transaction.fee.to_string(),
        ),
        ("payload", text(row, 5, parse_json)? == transaction.payload),
    ];
    match says.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((name, _)) => {
            let what = format!("differs from column {name:?}");
            Err(undecodable(row, column, what))
        }
    }
}
