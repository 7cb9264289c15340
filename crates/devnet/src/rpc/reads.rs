//! The reading calls.

use actix_web::{HttpRequest, HttpResponse, web};
use agentry_protocol::isoformat;

use super::answer::{self, Early, blocking, either, reading};
use super::query::Parameters;
use crate::chain::accounts;
use crate::chain::blocks::{self, BlockRow, Page, TransactionRow};
use crate::dialect;
use crate::fault::Fault;
use crate::node::{Node, lock};
use crate::text::{ObjectText, quoted, with_member};

/// The most blocks of one blocks-range.
const MAX_RANGE: i64 = 1000;

/// Above this many bytes blocks-range ends early, after a whole block; `count` is the number of
/// blocks in the answer.
const MAX_ANSWER: usize = 24 * 1024 * 1024;

/// The most rows of one `/rpc/transactions`.
const MAX_ROWS: i64 = 1000;

/// `GET /rpc/head`
pub(crate) async fn head(node: web::Data<Node>) -> HttpResponse {
    either(
        async {
            Ok(match reading(&node, blocks::head).await? {
                None => answer::detail(404, "no blocks yet"),
                Some(block) => answer::json(
                    ObjectText::new()
                        .plain("height", block.height)
                        .string("hash", &block.hash)
                        .string("timestamp", &isoformat(&block.timestamp))
                        .plain("tx_count", block.tx_count)
                        .end(),
                ),
            })
        }
        .await,
    )
}

/// `GET /rpc/blocks/{height}`
pub(crate) async fn block(node: web::Data<Node>, height: web::Path<String>) -> HttpResponse {
    either(
        async {
            let Ok(height) = height.parse::<i64>() else {
                let message =
                    "Input should be a valid integer, unable to parse string as an integer";
                return Err(
                    answer::unprocessable("int_parsing", ["path", "height"], message).into(),
                );
            };
            let not_found = || answer::detail(404, "block not found");
            let height = u64::try_from(height).map_err(|_| not_found())?;
            let found = reading(&node, move |db, chain| {
                let Some(block) = blocks::at(db, chain, height)? else {
                    return Ok(None);
                };
                Ok(Some((block, blocks::rows(db, chain, height)?)))
            })
            .await?;
            let (block, rows) = found.ok_or_else(not_found)?;
            refuse_unreadable(&node, height, height)?;
            let text = answer::header(ObjectText::new(), &block)
                .optional("state_root", block.state_root.as_deref());
            let text = match &block.signature {
                None => text,
                Some(signature) => text
                    .string("chain_id", node.config.chain_id.as_str())
                    .string("signature", signature),
            };
            // Of a row of August 2026, that is the payload without sender and recipient.
            let shown =
                |row: &TransactionRow| with_member(&row.payload, "tx_hash", &quoted(&row.hash));
            Ok(answer::json(
                text.list("transactions", rows.iter().map(shown)).end(),
            ))
        }
        .await,
    )
}

/// `GET /rpc/blocks-range?start&end[&include_tx]`
pub(crate) async fn blocks_range(node: web::Data<Node>, request: HttpRequest) -> HttpResponse {
    either(
        async {
            let parameters = Parameters::of(&request);
            let start = parameters.integer("start", None)?;
            let end = parameters.integer("end", None)?;
            let include = parameters.boolean("include_tx", true)?
                && !node.faults.is_set("no-range-transactions");
            let refuse = |why| Err(answer::detail(400, why).into());
            let Ok(start) = u64::try_from(start) else {
                return refuse("start must be non-negative");
            };
            let Ok(end) = u64::try_from(end) else {
                return refuse("end must be greater than or equal to start");
            };
            if end < start {
                return refuse("end must be greater than or equal to start");
            }
            if end - start > MAX_RANGE.cast_unsigned() {
                return refuse("range cannot exceed 1000 blocks");
            }
            if include {
                refuse_unreadable(&node, start, end)?;
            }
            let texts = reading(&node, move |db, chain| {
                let mut texts = Vec::new();
                let mut bytes = 0;
                for block in blocks::range(db, chain, start, end)? {
                    let rows = include
                        .then(|| blocks::rows(db, chain, block.height))
                        .transpose()?;
                    let text = block_text(chain, &block, rows.as_deref());
                    bytes += text.len();
                    texts.push(text);
                    if bytes > MAX_ANSWER {
                        break;
                    }
                }
                Ok(texts)
            })
            .await?;
            let count = texts.len();
            Ok(answer::json(
                ObjectText::new()
                    .plain("success", true)
                    .list("blocks", texts)
                    .plain("count", count)
                    .end(),
            ))
        }
        .await,
    )
}

/// Refuses a range that includes the block that this node cannot write.
fn refuse_unreadable(node: &Node, start: u64, end: u64) -> Result<(), Early> {
    match node.faults.current().get("unreadable-block") {
        Some(Fault::UnreadableBlock(height)) if (start..=end).contains(&height) => {
            Err(answer::detail(503, "Internal server error").into())
        }
        _ => Ok(()),
    }
}

fn block_text(chain: &str, block: &BlockRow, rows: Option<&[TransactionRow]>) -> String {
    let text = answer::header(ObjectText::new(), block);
    let text = match &block.signature {
        None => text,
        Some(signature) => text
            .optional("state_root", block.state_root.as_deref())
            .optional("block_metadata", block.metadata.as_deref())
            .string("signature", signature),
    };
    match rows {
        Some(rows) => text.list("transactions", rows.iter().map(|row| row_text(chain, row))),
        None => text,
    }
    .end()
}

fn row_text(chain: &str, row: &TransactionRow) -> String {
    let text = ObjectText::new()
        .plain("id", row.id)
        .string("chain_id", chain)
        .string("tx_hash", &row.hash);
    let text = match row.height {
        Some(height) => text.plain("block_height", height),
        None => text.raw("block_height", "null"),
    }
    .string("sender", &row.sender)
    .string("recipient", &row.recipient)
    .raw("payload", &row.payload)
    .string("created_at", &isoformat(&row.created_at))
    .plain("nonce", row.nonce)
    .plain("value", row.value)
    .plain("fee", row.fee)
    .string("status", &row.status)
    .optional("timestamp", row.timestamp.as_deref())
    .optional("tx_metadata", row.metadata.as_deref());
    match &row.kind {
        None => text,
        Some(kind) => text.string("type", kind),
    }
    .end()
}

/// `GET /rpc/mempool[?limit]`
pub(crate) async fn mempool(node: web::Data<Node>, request: HttpRequest) -> HttpResponse {
    either(
        async {
            let parameters = Parameters::of(&request);
            let limit = parameters.integer("limit", Some(100))?;
            if node.faults.is_set("mempool-unreadable") {
                return Err(answer::detail(503, "Internal server error").into());
            }
            let names_chain = parameters.text("chain_id") == Some(node.config.chain_id.as_str());
            let limit = dialect::shown_pending(node.config.dialect, limit, names_chain);
            // The writer's lock: between its draining and its commit a block would hide
            // transactions.
            let pending = blocking(&node, move |node| {
                node.chain()
                    .pool
                    .iter()
                    .take(limit)
                    .map(|pending| pending.content.clone())
                    .collect::<Vec<_>>()
            })
            .await?;
            let count = pending.len();
            Ok(answer::json(
                ObjectText::new()
                    .plain("success", true)
                    .list("transactions", pending)
                    .plain("count", count)
                    .end(),
            ))
        }
        .await,
    )
}

/// `GET /rpc/accounts/{address}`
pub(crate) async fn account(node: web::Data<Node>, address: web::Path<String>) -> HttpResponse {
    either(
        async {
            let address = address.into_inner();
            if dialect::knows_accounts(node.config.dialect) {
                return known_account(&node, &address).await;
            }
            let name = address.clone();
            let account = reading(&node, move |db, chain| accounts::get(db, chain, &name)).await?;
            let exists = account.is_some();
            let account = account.unwrap_or_default();
            Ok(answer::json(
                ObjectText::new()
                    .string("address", &address)
                    .plain("balance", account.balance)
                    .plain("nonce", account.nonce)
                    .plain("exists", exists)
                    .end(),
            ))
        }
        .await,
    )
}

/// An account as a node shows it that knows accounts: under any of its spellings, and perhaps an old one.
async fn known_account(node: &web::Data<Node>, address: &str) -> Result<HttpResponse, Early> {
    let dialect = node.config.dialect;
    let unknown = || Early::from(answer::detail(404, "Account not found"));
    let account = dialect.address(address).map_err(|_| unknown())?;
    let is_stale = node.faults.is_set("stale-accounts");
    if is_stale && let Some(old) = lock(&node.accounts).get(account.as_str()) {
        return Ok(answer::json(old.clone()));
    }
    let name = account.as_str().to_owned();
    let found = reading(node, move |db, chain| accounts::get(db, chain, &name)).await?;
    let found = found.ok_or_else(unknown)?;
    let text = ObjectText::new()
        .string("address", account.as_str())
        .plain("balance", found.balance)
        .plain("nonce", found.nonce)
        .string("chain_id", node.config.chain_id.as_str())
        .end();
    if is_stale {
        lock(&node.accounts).insert(account.as_str().to_owned(), text.clone());
    }
    Ok(answer::json(text))
}

/// `GET /openapi.json`, which tells the dialect: that of April 2026 has no `/rpc/transaction/{tx_hash}`.
pub(crate) async fn openapi(node: web::Data<Node>) -> HttpResponse {
    let mut paths = vec![
        "/rpc/head",
        "/rpc/blocks-range",
        "/rpc/mempool",
        "/rpc/transaction",
    ];
    if dialect::shows_rows(node.config.dialect) {
        paths.push("/rpc/transaction/{tx_hash}");
    }
    let paths = paths
        .into_iter()
        .fold(ObjectText::new(), |text, path| text.raw(path, "{}"));
    answer::json(
        ObjectText::new()
            .string("openapi", "3.1.0")
            .raw("paths", &paths.end())
            .end(),
    )
}

/// `GET /rpc/transactions?address&limit&offset&order`, which AITBC's node of April 2026 lacked:
/// the rows that an address sent or received, newest first unless `order=asc`.
pub(crate) async fn transactions(node: web::Data<Node>, request: HttpRequest) -> HttpResponse {
    if node.faults.is_set("no-transaction-endpoints") {
        return super::not_found().await;
    }
    either(
        async {
            let parameters = Parameters::of(&request);
            let limit = parameters
                .integer("limit", Some(100))?
                .clamp(0, MAX_ROWS)
                .cast_unsigned();
            let offset = parameters
                .integer("offset", Some(0))?
                .max(0)
                .cast_unsigned();
            let newest_first = match parameters.text("order") {
                // By their rows, the oldest first.
                None if dialect::shows_rows(node.config.dialect) => false,
                None | Some("desc") => true,
                Some("asc") => false,
                Some(_) => return Err(answer::detail(400, "order must be asc or desc").into()),
            };
            let address = parameters.text("address").map(str::to_owned);
            let texts = reading(&node, move |db, chain| {
                let page = Page {
                    limit,
                    offset,
                    newest_first,
                };
                let rows = blocks::rows_of(db, chain, address.as_deref(), page)?;
                Ok(rows
                    .iter()
                    .map(|row| row_text(chain, row))
                    .collect::<Vec<_>>())
            })
            .await?;
            if dialect::shows_rows(node.config.dialect) {
                return Ok(answer::json(format!("[{}]", texts.join(","))));
            }
            let count = texts.len();
            Ok(answer::json(
                ObjectText::new()
                    .plain("success", true)
                    .list("transactions", texts)
                    .plain("count", count)
                    .end(),
            ))
        }
        .await,
    )
}

/// `GET /rpc/transaction/{hash}`, which AITBC's node of April 2026 lacked: the stored form with
/// `tx_hash`, `block_height`, `block_hash` and `status` (`mined` or `pending`).
pub(crate) async fn transaction(node: web::Data<Node>, hash: web::Path<String>) -> HttpResponse {
    if node.faults.is_set("no-transaction-endpoints") {
        return super::not_found().await;
    }
    either(
        async {
            let hash = hash.into_inner();
            let wanted = hash.clone();
            // First the mempool, then the chain: a transaction mined in between is found there.
            let pending = blocking(&node, move |node| {
                node.chain()
                    .pool
                    .get(&wanted)
                    .map(|pending| pending.content.clone())
            })
            .await?;
            let wanted = hash.clone();
            let mined = reading(&node, move |db, chain| {
                let Some(row) = blocks::row(db, chain, &wanted)? else {
                    return Ok(None);
                };
                let block = row
                    .height
                    .map(|height| blocks::at(db, chain, height))
                    .transpose()?;
                Ok(Some((row, block.flatten())))
            })
            .await?;
            let tx_hash = quoted(&hash);
            if dialect::shows_rows(node.config.dialect) {
                // Mined ones alone, as rows.
                let Some((row, _)) = mined else {
                    let words = format!("Transaction {hash} not found");
                    return Err(answer::detail(404, words).into());
                };
                if let Some(height) = row.height {
                    refuse_unreadable(&node, height, height)?;
                }
                return Ok(answer::json(row_text(node.config.chain_id.as_str(), &row)));
            }
            let text = match (mined, pending) {
                (Some((row, block)), _) => {
                    let text = with_member(&row.payload, "tx_hash", &tx_hash);
                    let height = row
                        .height
                        .map_or("null".to_owned(), |height| height.to_string());
                    let text = with_member(&text, "block_height", &height);
                    let block = block.map_or("null".to_owned(), |block| quoted(&block.hash));
                    let text = with_member(&text, "block_hash", &block);
                    with_member(&text, "status", "\"mined\"")
                }
                (None, Some(content)) => {
                    let text = with_member(&content, "tx_hash", &tx_hash);
                    let text = with_member(&text, "block_height", "null");
                    let text = with_member(&text, "block_hash", "null");
                    with_member(&text, "status", "\"pending\"")
                }
                (None, None) => return Err(answer::detail(404, "transaction not found").into()),
            };
            Ok(answer::json(text))
        }
        .await,
    )
}
