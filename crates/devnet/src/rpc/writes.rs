//! The posting calls.

use actix_web::{Error, HttpResponse, web};
use agentry_chain::SubmitError;
use agentry_protocol::{Json, Limits, StoredTransaction};

use super::answer::{self, Early, blocking, either};
use crate::chain::blocks;
use crate::chain::mempool::Pending;
use crate::chain::{ChainError, seconds_now};
use crate::import::{Filing, ImportError, Incoming};
use crate::node::{Node, add, lock};
use crate::rules::Refusal;
use crate::text::ObjectText;

/// `POST /rpc/transaction`
pub(crate) async fn submit(node: web::Data<Node>, body: Result<web::Bytes, Error>) -> HttpResponse {
    either(
        async {
            let body = body.map_err(|error| answer::detail(413, error))?;
            if node.config.forward && node.leader.is_some() && !node.faults.is_set("no-forward") {
                return forward(&node, body).await;
            }
            match blocking(&node, move |node| node.submit(&body)).await? {
                Ok(hash) => Ok(taken(&hash)),
                Err(refusal) => Err(refused(&refusal).into()),
            }
        }
        .await,
    )
}

fn taken(hash: &str) -> HttpResponse {
    answer::json(
        ObjectText::new()
            .plain("success", true)
            .string("transaction_hash", hash)
            .string("message", "Transaction submitted to mempool")
            .end(),
    )
}

fn refused(refusal: &Refusal) -> HttpResponse {
    let words = format!("Failed to submit transaction: {refusal}");
    match refusal {
        Refusal::NotJson(_) => answer::not_json(refusal),
        Refusal::NotObject => answer::unprocessable(
            "dict_type",
            ["body", "0"],
            "Input should be a valid dictionary",
        ),
        Refusal::Crashed(_) => answer::detail(503, refusal),
        Refusal::Fields(fields) => answer::invalid(fields, "missing", "Field required"),
        Refusal::Field(field) => {
            answer::invalid(&[*field], "int_parsing", "Input should be a valid integer")
        }
        Refusal::Full(..) => answer::busy(429, words),
        Refusal::Chain(error) => answer::busy(if error.is_transient() { 503 } else { 500 }, words),
        _ => answer::detail(400, words),
    }
}

/// Forwards a transaction to the leader and returns the leader's answer.
async fn forward(node: &web::Data<Node>, body: web::Bytes) -> Result<HttpResponse, Early> {
    let Some(leader) = &node.leader else {
        return Err(answer::detail(500, "no leader").into());
    };
    let text = std::str::from_utf8(&body).map_err(answer::not_json)?;
    match leader.client.submit(text).await {
        Ok(hash) => {
            let hash = hash.to_string();
            remember(node, hash.clone(), body).await?;
            Ok(taken(&hash))
        }
        Err(SubmitError::Rejected { status, detail, .. }) => {
            Err(answer::detail(status, detail).into())
        }
        Err(SubmitError::Busy { .. }) => {
            Err(answer::busy(429, "Failed to submit transaction: the leader is busy").into())
        }
        Err(SubmitError::NotSent { reason }) => Err(answer::busy(
            429,
            format!("Failed to submit transaction: not forwarded to the leader: {reason}"),
        )
        .into()),
        Err(SubmitError::Unknown { reason }) => Err(answer::detail(
            502,
            format!("Failed to submit transaction: the leader may have accepted it: {reason}"),
        )
        .into()),
    }
}

/// Keeps a forwarded transaction also in this node's mempool, until it is imported.
async fn remember(node: &web::Data<Node>, hash: String, body: web::Bytes) -> Result<(), Early> {
    let kept = blocking(node, move |node| -> Result<(), ChainError> {
        let limits = Limits {
            max_bytes: crate::rules::MAX_BODY,
            ..Limits::default()
        };
        let Ok(stored) = StoredTransaction::read(node.config.dialect, &body, limits) else {
            return Ok(());
        };
        let pending = Pending::new(stored, false, seconds_now());
        // The leader may accept a body that this node would not: then only the leader keeps it.
        if pending.hash.as_ref() != hash {
            return Ok(());
        }
        let mut chain = node.chain();
        if !blocks::is_mined(&chain.db, chain.id.as_str(), &hash)? {
            chain.pool.add(pending)?;
            lock(&node.forwarded).insert(hash, None);
        }
        Ok(())
    })
    .await?;
    kept.map_err(|error| answer::failed(&error).into())
}

/// `POST /rpc/importBlock`
pub(crate) async fn import_block(
    node: web::Data<Node>,
    body: Result<web::Bytes, Error>,
) -> HttpResponse {
    either(
        async {
            let body = body.map_err(|error| answer::detail(413, error))?;
            let limits = Limits {
                max_bytes: super::MAX_IMPORT,
                ..Limits::default()
            };
            let json = Json::parse(&body, limits).map_err(answer::not_json)?;
            let imported = blocking(&node, move |node| import(node, &json)).await?;
            let (height, hash, existed) = imported
                .map_err(|error| answer::detail(500, format!("Failed to import block: {error}")))?;
            let text = ObjectText::new()
                .plain("success", true)
                .plain("block_number", height)
                .string("block_hash", &hash);
            Ok(answer::json(
                if existed {
                    text.string("message", "Block already exists")
                } else {
                    text
                }
                .end(),
            ))
        }
        .await,
    )
}

/// Height, hash, and whether there was already a block at that height.
fn import(node: &Node, json: &Json) -> Result<(u64, String, bool), ImportError> {
    let incoming = Incoming::read(node.config.dialect, json.root())?;
    let height = incoming.height;
    let mut chain = node.chain();
    if let Some(block) = blocks::at(&chain.db, chain.id.as_str(), height)? {
        return Ok((height, block.hash, true));
    }
    let hash = incoming.hash.clone();
    if node.faults.is_set("import-loses-transactions") {
        chain.import_as_aitbc(&incoming)?;
    } else {
        let mined = chain.import(&[incoming], &[], Filing::Whole)?;
        add(&node.counters.transactions_mined, mined);
    }
    add(&node.counters.blocks_imported, 1);
    Ok((height, hash, false))
}
