//! [`Subscription`]: the blocks that a node pushes as it commits them.
//!
//! A node of August 2026 pushes its blocks over a WebSocket to whoever holds a lease: each with its
//! transactions as they were posted, so with the signatures that no call shows any more once they are
//! mined. A node needs Redis for that, and not all have it.
//!
//! What is pushed is a hint. Nothing is pushed a second time, so what was missed is read from the chain,
//! and what cannot be read is left out. A signature proves itself; the rest is believed as far as the
//! node is.

use std::fmt;
use std::time::Duration;

use agentry_protocol::json::{Json, Limits};
use agentry_protocol::{ChainId, StoredTransaction};
use futures_util::{SinkExt, StreamExt};
use reqwest::Upgraded;
use reqwest::header::SEC_WEBSOCKET_ACCEPT;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::dialect::{self, SUBSCRIBE};
use crate::node::block::head;
use crate::node::{Head, NodeClient, NodeError, one_line};
use crate::raw::{self, Object};

const HEARTBEAT: &str = "/rpc/heartbeat";
const SOCKET: &str = "/rpc/subscribe/ws";

/// The longest message that is read. A block holds 1 MB of transactions, which JSON may spell in more
/// bytes than the node counts.
const LONGEST_MESSAGE: usize = 16 << 20;

/// A node says something every 20 s. One that has been silent for so long is gone.
const LONGEST_SILENCE: Duration = Duration::from_secs(65);

/// How long a lease is valid if the node does not say, and the bounds of what it may say.
const LEASE: Duration = Duration::from_secs(3_600);
const SHORTEST_LEASE: Duration = Duration::from_secs(60);
const LONGEST_LEASE: Duration = Duration::from_secs(86_400);

/// A block that a node has pushed.
#[derive(Debug, Clone)]
pub struct PushedBlock {
    /// The block.
    pub head: Head,
    /// Its transactions, each with its signature if the node shows it. Those that cannot be read are
    /// left out.
    pub transactions: Vec<StoredTransaction>,
}

/// A node's promise to push each block that it commits from now on. It ends when it is dropped.
pub struct Subscription {
    node: NodeClient,
    /// The name under which the node keeps the lease.
    id: String,
    socket: WebSocketStream<Upgraded>,
    lease: Duration,
    /// When the lease is prolonged.
    prolong: Instant,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscription")
            .field("node", &self.node)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl NodeClient {
    /// Subscribes to the blocks that the node commits from now on. `None`: a node of its dialect pushes
    /// none, the chain is not known, or the node is in this process.
    ///
    /// # Errors
    /// A failed call or an unreadable answer: also of a node that lacks Redis, which pushes nothing.
    pub async fn subscribe(&self) -> Result<Option<Subscription>, NodeError> {
        let options = self.options();
        let Some(chain) = &options.chain else {
            return Ok(None);
        };
        if !dialect::pushes_blocks(options.dialect) || self.is_local() {
            return Ok(None);
        }
        let id = new_id();
        let request = request(&id, chain);
        let answer = self.post(SUBSCRIBE, &request).await?;
        let lease = lease(&answer);
        let mut socket = self.web_socket().await?;
        let patience = options.timeout;
        let begin = async {
            socket.send(Message::text(request)).await?;
            socket.next().await.transpose()
        };
        let first = match timeout(patience, begin).await {
            Ok(Ok(first)) => text(first),
            Ok(Err(error)) => return Err(self.broken(error)),
            Err(_) => return Err(self.silent()),
        };
        let is_subscribed = first.as_deref().is_some_and(|first| {
            let object = Object::parse(first.as_bytes()).ok();
            object.is_some_and(|object| object.string("status").as_deref() == Some("subscribed"))
        });
        if !is_subscribed {
            let words = first.unwrap_or_default();
            let reason = format!("it does not subscribe: {}", one_line(&words));
            return Err(self.unreadable(SOCKET, reason));
        }
        Ok(Some(Subscription {
            node: self.clone(),
            id,
            socket,
            lease,
            prolong: Instant::now() + lease / 2,
        }))
    }

    /// Opens the WebSocket (RFC 6455, section 4).
    async fn web_socket(&self) -> Result<WebSocketStream<Upgraded>, NodeError> {
        let key = generate_key();
        let response = self.upgrade(SOCKET, &key).await?;
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        let expected = derive_accept_key(key.as_bytes());
        if accepted.is_none_or(|accepted| accepted.as_bytes() != expected.as_bytes()) {
            return Err(self.unreadable(SOCKET, "it is no answer to the key of the handshake"));
        }
        let stream = response.upgrade();
        let stream = match timeout(self.options().timeout, stream).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(self.unreadable(SOCKET, format!("it is no WebSocket: {error}")));
            }
            Err(_) => return Err(self.silent()),
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE));
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
    }

    fn broken(&self, error: impl fmt::Display) -> NodeError {
        NodeError::Transport {
            call: format!("GET {SOCKET}"),
            node: self.url().to_owned(),
            reason: one_line(&error.to_string()),
        }
    }

    fn silent(&self) -> NodeError {
        NodeError::Timeout {
            call: format!("GET {SOCKET}"),
            node: self.url().to_owned(),
        }
    }
}

impl Subscription {
    /// Waits for the next block. Cancel-safe, but for a lease that is being prolonged: it may be
    /// prolonged twice.
    ///
    /// # Errors
    /// The node has ended the subscription, has been silent for more than a minute, cannot be reached, or
    /// does not prolong the lease. Then the subscription is over.
    pub async fn next(&mut self) -> Result<PushedBlock, NodeError> {
        loop {
            let silence = sleep_until(Instant::now() + LONGEST_SILENCE);
            let message = tokio::select! {
                message = self.socket.next() => message,
                () = sleep_until(self.prolong) => {
                    self.prolong().await?;
                    continue;
                }
                () = silence => return Err(self.node.silent()),
            };
            let message = message
                .transpose()
                .map_err(|error: Error| self.node.broken(error))?;
            match message {
                None | Some(Message::Close(_)) => {
                    return Err(self.node.broken("it has ended the subscription"));
                }
                message => {
                    if let Some(block) = text(message).and_then(|text| self.block(&text)) {
                        return Ok(block);
                    }
                }
            }
        }
    }

    async fn prolong(&mut self) -> Result<(), NodeError> {
        let body = Json::object([("node_id", Json::string(self.id.as_str()))]).to_compact();
        let answer = self.node.post(HEARTBEAT, &body).await?;
        self.lease = lease(&answer);
        self.prolong = Instant::now() + self.lease / 2;
        Ok(())
    }

    /// The block in a message. `None`: it is a ping, or something else that is no block.
    fn block(&self, text: &str) -> Option<PushedBlock> {
        let object = Object::parse(text.as_bytes()).ok()?;
        let head = head(&object).ok()?;
        let dialect = self.node.configured_dialect();
        let list = object.get("transactions").unwrap_or(b"[]");
        let transactions = raw::each(list)
            .map_while(Result::ok)
            .filter_map(|text| StoredTransaction::read(dialect, text, Limits::default()).ok())
            .collect();
        Some(PushedBlock { head, transactions })
    }
}

/// A name under which no one else has a lease.
fn new_id() -> String {
    format!("agentry-{:032x}", rand::random::<u128>())
}

fn request(id: &str, chain: &ChainId) -> String {
    Json::object([
        ("node_id", Json::string(id)),
        ("chain_id", Json::string(chain.as_str())),
        ("transport", Json::string("websocket")),
    ])
    .to_compact()
}

/// How long the lease of an answer is valid.
fn lease(answer: &[u8]) -> Duration {
    let object = Object::parse(answer).ok();
    let seconds = object.and_then(|object| object.unsigned("lease_duration"));
    let lease = seconds.map_or(LEASE, Duration::from_secs);
    lease.clamp(SHORTEST_LEASE, LONGEST_LEASE)
}

/// The text of a message, if it is one.
fn text(message: Option<Message>) -> Option<String> {
    match message {
        Some(Message::Text(text)) => Some(text.as_str().to_owned()),
        _ => None,
    }
}
