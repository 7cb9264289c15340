//! `/health` and `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{HttpResponse, web};

use super::answer::{self, blocking, either};
use crate::chain::blocks;
use crate::node::{Node, lock};
use crate::text::{ObjectText, quoted};

/// `GET /health`
pub(crate) async fn health(node: web::Data<Node>) -> HttpResponse {
    either(
        async {
            let head = answer::reading(&node, blocks::head).await?;
            let text = ObjectText::new()
                .string("status", "ok")
                .list("supported_chains", [quoted(node.config.chain_id.as_str())])
                .string("proposer_id", &node.config.proposer_id);
            let text = match head {
                Some(head) => text.plain("height", head.height),
                None => text.raw("height", "null"),
            };
            let Some(leader) = &node.leader else {
                return Ok(answer::json(text.end()));
            };
            let state = lock(&node.follow).clone();
            let text = text.string("following", leader.client.url());
            let text = match state.leader_height {
                Some(height) => text.plain("leader_height", height),
                None => text.raw("leader_height", "null"),
            };
            let text = text
                .plain(
                    "reorganisations",
                    node.counters.reorganisations.load(Ordering::Relaxed),
                )
                .optional("error", state.error.as_deref());
            let text = match state.fork {
                Some(fork) => {
                    let fork = ObjectText::new()
                        .plain("height", fork.height)
                        .string("ours", &fork.ours)
                        .string("leaders", &fork.leaders)
                        .end();
                    text.raw("fork", &fork)
                }
                None => text.raw("fork", "null"),
            };
            Ok(answer::json(text.end()))
        }
        .await,
    )
}

/// `GET /metrics`, in Prometheus' text format.
pub(crate) async fn metrics(node: web::Data<Node>) -> HttpResponse {
    either(
        async {
            let head = answer::reading(&node, blocks::head).await?;
            let pending = blocking(&node, |node| node.chain().pool.len()).await?;
            let mut text = String::new();
            let mut write = |name: &str, kind: &str, help: &str, value: u64| {
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
                );
            };
            let height = head.map_or(0, |head| head.height);
            write(
                "chain_head_height",
                "gauge",
                "Height of the newest block.",
                height,
            );
            write(
                "mempool_size",
                "gauge",
                "Pending transactions.",
                pending as u64,
            );
            let counters = &node.counters;
            let all: [(&str, &str, &AtomicU64); 8] = [
                (
                    "rpc_requests_total",
                    "Calls under /rpc.",
                    &counters.rpc_requests,
                ),
                (
                    "transactions_accepted_total",
                    "Transactions accepted.",
                    &counters.transactions_accepted,
                ),
                (
                    "transactions_refused_total",
                    "Transactions refused.",
                    &counters.transactions_refused,
                ),
                (
                    "transactions_mined_total",
                    "Transactions mined.",
                    &counters.transactions_mined,
                ),
                (
                    "blocks_proposed_total",
                    "Blocks produced by this node.",
                    &counters.blocks_proposed,
                ),
                (
                    "blocks_imported_total",
                    "Blocks imported from other nodes.",
                    &counters.blocks_imported,
                ),
                (
                    "chain_reorganisations_total",
                    "Times that blocks were reverted.",
                    &counters.reorganisations,
                ),
                (
                    "rpc_rate_limited_total",
                    "Calls refused because a client made too many.",
                    &counters.rate_limited,
                ),
            ];
            for (name, help, counter) in all {
                write(name, "counter", help, counter.load(Ordering::Relaxed));
            }
            Ok(HttpResponse::Ok()
                .content_type("text/plain; version=0.0.4; charset=utf-8")
                .body(text))
        }
        .await,
    )
}
