//! Pushing blocks to whoever holds a lease, as nodes of August 2026 do over a WebSocket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{Error, HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{interval, timeout};

use super::answer::{self, Early, either};
use crate::chain::blocks::BlockRow;
use crate::chain::mempool::Pending;
use crate::chain::seconds_now;
use crate::dialect;
use crate::node::{Node, lock};
use crate::text::ObjectText;

/// How long a lease is valid.
const LEASE: Duration = Duration::from_secs(3_600);

/// The most leases that are kept.
const MOST_LEASES: usize = 1_024;

/// The most WebSockets that are open.
const MOST_SOCKETS: usize = 64;

/// How many blocks are kept for a client that is slow. Then it is cut off.
const KEPT: usize = 16;

/// The longest name of a client, in bytes.
const LONGEST_ID: usize = 256;

/// How long a client has to say whom it is, and to take a block.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a client hears something.
const PING_EVERY: Duration = Duration::from_secs(20);

/// The blocks that are pushed, and to whom.
#[derive(Debug)]
pub(crate) struct Pushes {
    blocks: broadcast::Sender<Arc<str>>,
    /// Until when the leases are valid, by the names of those who hold them.
    leases: HashMap<String, Instant>,
    sockets: Arc<Semaphore>,
}

impl Default for Pushes {
    fn default() -> Self {
        Self {
            blocks: broadcast::Sender::new(KEPT),
            leases: HashMap::new(),
            sockets: Arc::new(Semaphore::new(MOST_SOCKETS)),
        }
    }
}

impl Pushes {
    /// Pushes a block, which was committed with these transactions.
    pub(crate) fn push(&self, chain: &str, block: &BlockRow, mined: &[Arc<Pending>]) {
        if self.blocks.receiver_count() > 0 {
            // An error means that the last client has left meanwhile.
            let _ = self.blocks.send(frame(chain, block, mined).into());
        }
    }

    fn lease(&mut self, holder: &str, now: Instant) -> bool {
        self.leases.retain(|_, until| *until > now);
        let has_room = self.leases.len() < MOST_LEASES || self.leases.contains_key(holder);
        if has_room {
            self.leases.insert(holder.to_owned(), now + LEASE);
        }
        has_room
    }

    fn prolong(&mut self, holder: &str, now: Instant) -> bool {
        match self.leases.get_mut(holder) {
            Some(until) if *until > now => {
                *until = now + LEASE;
                true
            }
            _ => false,
        }
    }

    fn is_leased(&self, holder: &str, now: Instant) -> bool {
        self.leases.get(holder).is_some_and(|until| *until > now)
    }
}

/// A block as it is pushed: its transactions as they were posted, so with their signatures.
fn frame(chain: &str, block: &BlockRow, mined: &[Arc<Pending>]) -> String {
    let transactions = mined.iter().map(|pending| pending.stored.stored_text());
    answer::header(ObjectText::new().string("chain_id", chain), block)
        .optional("state_root", block.state_root.as_deref())
        .optional("signature", block.signature.as_deref())
        .raw("block_metadata", "null")
        .list("transactions", transactions)
        .end()
}

/// What a client says of itself, with the defaults of the node.
struct Client {
    id: String,
    chain: String,
    transport: String,
}

impl Client {
    /// None: it does not say a name, or one that is too long.
    fn read(body: &Value, node: &Node) -> Option<Self> {
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            id: text("node_id").filter(|id| (1..=LONGEST_ID).contains(&id.len()))?,
            chain: text("chain_id").unwrap_or_else(|| node.config.chain_id.to_string()),
            transport: text("transport").unwrap_or_else(|| "websocket".to_owned()),
        })
    }
}

/// Who posted this; or the answer to it.
fn posted(node: &Node, body: &[u8]) -> Result<Client, Early> {
    if !dialect::pushes_blocks(node.config.dialect) {
        return Err(answer::detail(404, "Not Found").into());
    }
    let body: Value = serde_json::from_slice(body).map_err(answer::not_json)?;
    Client::read(&body, node).ok_or_else(|| answer::detail(400, "node_id is required").into())
}

/// What a node without Redis answers.
fn no_store() -> Early {
    answer::detail(500, "Internal server error").into()
}

/// `POST /rpc/subscribe`
pub(crate) async fn subscribe(node: web::Data<Node>, body: web::Bytes) -> HttpResponse {
    either(lease(&node, &body))
}

fn lease(node: &Node, body: &[u8]) -> Result<HttpResponse, Early> {
    let client = posted(node, body)?;
    if !["websocket", "http", "redis"].contains(&&*client.transport) {
        let words = format!("Invalid transport: {}", client.transport);
        return Err(answer::detail(400, words).into());
    }
    if node.faults.is_set("no-push") || !lock(&node.pushes).lease(&client.id, Instant::now()) {
        return Err(no_store());
    }
    let mut lease = lease_of(&client);
    lease["transport"] = client.transport.into();
    lease["chain_id"] = client.chain.into();
    Ok(answer::json(lease.to_string()))
}

/// `POST /rpc/heartbeat`
pub(crate) async fn heartbeat(node: web::Data<Node>, body: web::Bytes) -> HttpResponse {
    either(prolong(&node, &body))
}

fn prolong(node: &Node, body: &[u8]) -> Result<HttpResponse, Early> {
    let client = posted(node, body)?;
    if node.faults.is_set("no-push") {
        return Err(no_store());
    }
    if !lock(&node.pushes).prolong(&client.id, Instant::now()) {
        return Err(answer::detail(404, "Subscriber not found or lease expired").into());
    }
    Ok(answer::json(lease_of(&client).to_string()))
}

/// What a client is told of the lease that begins, or goes on, now.
fn lease_of(client: &Client) -> Value {
    json!({
        "node_id": client.id,
        "expiry": seconds_now() + LEASE.as_secs_f64(),
        "lease_duration": LEASE.as_secs(),
    })
}

/// `GET /rpc/subscribe/ws`
pub(crate) async fn socket(
    node: web::Data<Node>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Error> {
    if !dialect::pushes_blocks(node.config.dialect) {
        return Ok(super::not_found().await);
    }
    let sockets = Arc::clone(&lock(&node.pushes).sockets);
    let Ok(place) = sockets.try_acquire_owned() else {
        return Ok(answer::detail(503, "too many WebSockets are open"));
    };
    let (response, session, messages) = actix_ws::handle(&request, payload)?;
    let messages = messages.aggregate_continuations();
    actix_web::rt::spawn(async move {
        let _place = place;
        serve(node, session, messages).await;
    });
    Ok(response)
}

/// Serves a client until it leaves, or does not take what it is sent.
async fn serve(node: web::Data<Node>, mut session: Session, mut messages: AggregatedMessageStream) {
    let (blocks, confirmed) = match admit(&node, &mut messages).await {
        Ok(admitted) => admitted,
        Err(Some((error, code))) => {
            let error = json!({"error": error}).to_string();
            let _ = timeout(PATIENCE, session.text(error)).await;
            let _ = session.close(Some(CloseReason::from(code))).await;
            return;
        }
        Err(None) => return,
    };
    // The sockets end with the node, which must not wait for them.
    drop(node);
    if matches!(timeout(PATIENCE, session.text(confirmed)).await, Ok(Ok(()))) {
        push(blocks, &mut session, &mut messages).await;
    }
    let _ = session.close(None).await;
}

/// The blocks that a client is pushed; none of another chain.
struct Blocks(Option<broadcast::Receiver<Arc<str>>>);

impl Blocks {
    /// The next one. None: the client is too slow, or the node ends.
    async fn next(&mut self) -> Option<Arc<str>> {
        match &mut self.0 {
            Some(blocks) => blocks.recv().await.ok(),
            None => std::future::pending().await,
        }
    }
}

/// Reads who the client is. The error is what it is told, with the code of the close frame.
async fn admit(
    node: &Node,
    messages: &mut AggregatedMessageStream,
) -> Result<(Blocks, String), Option<(&'static str, CloseCode)>> {
    let first = timeout(PATIENCE, messages.recv()).await;
    let Ok(Some(Ok(AggregatedMessage::Text(first)))) = first else {
        return Err(None);
    };
    let refused = |error| Some((error, CloseCode::Policy));
    let body: Value = serde_json::from_str(&first).map_err(|_| refused("Invalid JSON"))?;
    let client = Client::read(&body, node).ok_or(refused("node_id is required"))?;
    if node.faults.is_set("no-push") {
        return Err(Some(("Failed to validate lease", CloseCode::Error)));
    }
    let pushes = lock(&node.pushes);
    if !pushes.is_leased(&client.id, Instant::now()) {
        return Err(refused(
            "No valid lease found. Register subscription first via POST /rpc/subscribe",
        ));
    }
    let confirmed = json!({
        "status": "subscribed",
        "node_id": client.id,
        "chain_id": client.chain,
        "transport": client.transport,
    });
    let is_ours = client.chain == node.config.chain_id.as_str();
    let blocks = is_ours.then(|| pushes.blocks.subscribe());
    Ok((Blocks(blocks), confirmed.to_string()))
}

/// Sends the blocks until one of both sides ends it.
async fn push(mut blocks: Blocks, session: &mut Session, messages: &mut AggregatedMessageStream) {
    let mut pings = interval(PING_EVERY);
    pings.reset();
    loop {
        let text = tokio::select! {
            block = blocks.next() => match block {
                Some(block) => block.to_string(),
                None => return,
            },
            _ = pings.tick() => json!({"type": "ping", "timestamp": seconds_now()}).to_string(),
            message = messages.recv() => match message {
                Some(Ok(AggregatedMessage::Ping(bytes))) => {
                    if !matches!(timeout(PATIENCE, session.pong(&bytes)).await, Ok(Ok(()))) {
                        return;
                    }
                    continue;
                }
                Some(Ok(AggregatedMessage::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        if !matches!(timeout(PATIENCE, session.text(text)).await, Ok(Ok(()))) {
            return;
        }
    }
}
