//! The calls under `/dev`, which no real node has: faucet, faults, blocks on demand. Faults do not
//! affect them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{self, Early, blocking, either};
use super::query::Parameters;
use crate::chain::accounts;
use crate::fault::Fault;
use crate::node::Node;
use crate::text::{ObjectText, quoted};

/// The most credits of one answer.
const MAX_CREDITS: i64 = 10_000;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Early> {
    serde_json::from_slice(body).map_err(|error| answer::detail(400, error).into())
}

fn producing(node: &Node) -> Result<(), Early> {
    match &node.leader {
        None => Ok(()),
        Some(leader) => Err(answer::detail(
            400,
            format!(
                "this node follows {}; send the request there",
                leader.client.url()
            ),
        )
        .into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faucet {
    address: String,
    amount: u64,
}

/// `POST /dev/faucet {"address", "amount"}`
pub(crate) async fn faucet(node: web::Data<Node>, body: web::Bytes) -> HttpResponse {
    if !node.config.faucet {
        return super::not_found().await;
    }
    either(
        async {
            producing(&node)?;
            let Faucet { address, amount } = read(&body)?;
            let dialect = node.config.dialect;
            let address = dialect
                .address(&address)
                .map_err(|error| answer::detail(400, error))?;
            let name = address.to_string();
            let balance = blocking(&node, move |node| {
                node.chain().credit(address.as_str(), amount)
            })
            .await?
            .map_err(|error| answer::detail(400, error))?;
            Ok(answer::json(
                ObjectText::new()
                    .plain("success", true)
                    .string("address", &name)
                    .plain("balance", balance)
                    .end(),
            ))
        }
        .await,
    )
}

/// `GET /dev/credits?after&limit`: the credits of the initial allocation and the faucet, for
/// followers.
pub(crate) async fn credits(node: web::Data<Node>, request: HttpRequest) -> HttpResponse {
    either(
        async {
            let parameters = Parameters::of(&request);
            let after = parameters.integer("after", Some(0))?;
            let limit = parameters
                .integer("limit", Some(1000))?
                .clamp(0, MAX_CREDITS)
                .cast_unsigned();
            let credits = answer::reading(&node, move |db, _| {
                accounts::credits_after(db, after, limit)
            })
            .await?;
            let items = credits.iter().map(|credit| {
                ObjectText::new()
                    .plain("id", credit.id)
                    .string("address", &credit.address)
                    .plain("amount", credit.amount)
                    .end()
            });
            Ok(answer::json(ObjectText::new().list("credits", items).end()))
        }
        .await,
    )
}

fn faults_text(node: &Node) -> HttpResponse {
    let faults = node.faults.current();
    let items = faults.iter().map(|fault| quoted(&fault.to_string()));
    answer::json(ObjectText::new().list("faults", items).end())
}

/// `GET /dev/faults`
pub(crate) async fn faults(node: web::Data<Node>) -> HttpResponse {
    faults_text(&node)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    set: Vec<String>,
    #[serde(default)]
    clear: Vec<String>,
}

/// `POST /dev/faults {"set": ["silent-drop=0.2"], "clear": ["hang"]}`: clears first; `"all"` clears
/// every fault. Nothing is changed if one of the texts is not a fault.
pub(crate) async fn set_faults(node: web::Data<Node>, body: web::Bytes) -> HttpResponse {
    either(read::<Change>(&body).and_then(|change| {
        let set: Result<Vec<Fault>, _> = change.set.iter().map(|text| text.parse()).collect();
        let set = set.map_err(|error| answer::detail(400, error))?;
        for name in &change.clear {
            if name == "all" {
                node.faults.clear_all();
            } else {
                node.faults.clear(name);
            }
        }
        for fault in set {
            node.faults.set(fault);
        }
        Ok(faults_text(&node))
    }))
}

/// `POST /dev/mine`: produces a block now.
pub(crate) async fn mine(node: web::Data<Node>) -> HttpResponse {
    either(
        async {
            producing(&node)?;
            let block = blocking(&node, Node::produce)
                .await?
                .map_err(|error| answer::detail(500, error))?;
            Ok(answer::json(
                ObjectText::new()
                    .plain("height", block.height)
                    .string("hash", &block.hash.to_string())
                    .plain("tx_count", block.tx_count)
                    .end(),
            ))
        }
        .await,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reorganise {
    depth: u64,
    /// Whether the orphaned transactions are lost.
    #[serde(default)]
    drop: bool,
}

/// `POST /dev/reorganise {"depth": N[, "drop": true]}`
pub(crate) async fn reorganise(node: web::Data<Node>, body: web::Bytes) -> HttpResponse {
    either(
        async {
            producing(&node)?;
            let Reorganise { depth, drop } = read(&body)?;
            blocking(&node, move |node| node.reorganise(depth, !drop))
                .await?
                .map_err(|error| answer::detail(400, error))?;
            Ok(answer::json(
                ObjectText::new()
                    .plain("success", true)
                    .plain("depth", depth)
                    .end(),
            ))
        }
        .await,
    )
}
