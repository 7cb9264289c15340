//! [`NodeClient`]: one HTTP exchange with a node, bounded in size and time.
//!
//! A small answer is read whole. A large one is a list: its items are processed as they arrive, and
//! are not kept.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use agentry_protocol::{ChainId, Dialect};
use reqwest::header::{
    CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Body, Client, Method, Response, StatusCode, Url, redirect, retry};
use tokio::time::Instant;

use crate::dialect::{self, PAUSE, Tempo};
use crate::list::{Item, ListCutter, ListError};
use crate::node::local::{self, LocalNode};
use crate::node::permit::{Permit, Permitted};
use crate::node::rate::{Lane, Rates, function};
use crate::node::tls::{self, Trouble};
use crate::node::{Budget, NodeError, one_line, segment};
use crate::raw;

/// The longest wait that a node may ask for; a longer one is shortened to it.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The most idle connections that are kept. It exceeds the number of concurrent calls (the runtime
/// posts 32 at a time): otherwise each burst would close connections that the next one has to open.
const MAX_IDLE: usize = 64;

/// How long a node asks the client to wait: a number of seconds, or a date (RFC 9110, section
/// 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let asked = match text.parse::<f64>() {
        // A number too large for a duration becomes the longest one; NaN is not a number.
        Ok(seconds) if !seconds.is_nan() => {
            Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
        }
        _ => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// Limits of a [`NodeClient`].
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The node's dialect. Default: that of April 2026.
    pub dialect: Dialect,
    /// The chain that calls are about, where they name it. Without it such a node answers for its own
    /// chain, and its mempool cannot be read. Default: none.
    pub chain: Option<ChainId>,
    /// The node does not limit how often it is asked: its limits are turned off. Then calls do not wait;
    /// a pause that it asks for is still kept. Default: false.
    pub unlimited: bool,
    /// For establishing a connection. Default 3 s.
    pub connect_timeout: Duration,
    /// How long what was sent may stay unacknowledged by the other machine, before the system drops it
    /// (`TCP_USER_TIMEOUT`, on Linux). Otherwise a transaction whose POST has timed out arrives when the
    /// link is back, however late. Default: as long as the system likes.
    pub unacknowledged: Option<Duration>,
    /// For a whole call, the answer's last byte included. Default 15 s.
    pub timeout: Duration,
    /// The same for calls with large answers (mempool, blocks-range). Default 60 s.
    pub large_timeout: Duration,
    /// The largest answer that is read as a whole, in bytes. Default 1 MiB.
    pub max_body_bytes: usize,
    /// The same for lists: blocks and their transactions, the mempool. They are processed as they
    /// arrive, and not kept. Default 256 MiB.
    pub max_list_bytes: usize,
    /// How many pending transactions [`NodeClient::mempool_hashes`] asks for at first. Default
    /// 20,000: a node keeps 10,000 by default.
    pub mempool_limit: u64,
    /// Deferrable requests wait while all requests together have used more than 1/n of the node's
    /// time; this is n. Default 16; with 1 they never wait.
    pub share: u32,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            chain: None,
            unlimited: false,
            connect_timeout: Duration::from_secs(3),
            unacknowledged: None,
            timeout: Duration::from_secs(15),
            large_timeout: Duration::from_secs(60),
            max_body_bytes: 1 << 20,
            max_list_bytes: 256 << 20,
            mempool_limit: 20_000,
            share: 16,
        }
    }
}

impl NodeOptions {
    /// The default limits, for a chain of this dialect.
    #[must_use]
    pub fn of(dialect: Dialect, chain: &ChainId) -> Self {
        Self {
            dialect,
            chain: Some(chain.clone()),
            ..Self::default()
        }
    }
}

/// A client of one node's RPC. Cheap to clone: clones share one pool of connections, and one budget
/// of the node's time.
///
/// It takes no proxy from the environment, follows no redirect and repeats no request: each request
/// is sent once, to the configured node. A node that limits how often it is asked is asked no more often:
/// calls wait, or fail with [`NodeError::Paused`] while the node asks for a pause.
#[derive(Clone)]
pub struct NodeClient {
    link: Link,
    node: Arc<Node>,
    /// Its caller waits for the turn of each call.
    is_paced_by_caller: bool,
}

/// How a node is reached.
#[derive(Clone)]
enum Link {
    Http(Client),
    Local(Arc<dyn LocalNode>),
}

struct Node {
    /// With credentials, if it has any; without a slash at the end.
    base: String,
    /// Without credentials, for logs and errors.
    shown: String,
    options: NodeOptions,
    budget: Mutex<Budget>,
    rates: Rates,
}

impl Node {
    fn budget<T>(&self, change: impl FnOnce(&mut Budget, Instant) -> T) -> T {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut budget, Instant::now())
    }
}

/// A request that is under way, until this is dropped.
struct UnderWay(Arc<Node>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.budget(Budget::end);
    }
}

impl fmt::Debug for NodeClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeClient")
            .field("url", &self.node.shown)
            .finish_non_exhaustive()
    }
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// The body, or why it could not be read.
    pub(super) body: Result<Vec<u8>, NodeError>,
}

/// What a request carries.
enum Sent<'a> {
    Nothing,
    /// A body, which is sent while there is a permit for it.
    Json(&'a str, Option<Permit>),
    /// The key of a WebSocket's handshake.
    Handshake(&'a str),
}

/// A list within an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    /// Its key.
    pub(super) key: &'static str,
    /// The longest item of it that is processed, in bytes.
    pub(super) longest_item: usize,
}

/// The most bytes that an answer may hold around its list.
const LONGEST_REST: usize = 1 << 20;

impl NodeClient {
    /// A client for the node at `url`, such as `http://127.0.0.1:8006`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`NodeError::Url`] when it is not an `http` or `https` URL of a host;
    /// [`NodeError::Client`] when TLS cannot be set up.
    pub fn new(url: &str, options: NodeOptions) -> Result<Self, NodeError> {
        let (base, shown) = read_url(url)?;
        // An Err means that a provider is already installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder();
        #[cfg(target_os = "linux")]
        let builder = builder.tcp_user_timeout(options.unacknowledged);
        let client = builder
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(MAX_IDLE)
            .tcp_nodelay(true)
            .user_agent(concat!("agentry/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| NodeError::Client {
                reason: reason(error),
            })?;
        Ok(Self::over(Link::Http(client), (base, shown), options))
    }

    /// A client for a node in this process, which is asked without HTTP. `name` stands for its URL
    /// in logs and errors.
    #[must_use]
    pub fn local(name: &str, node: Arc<dyn LocalNode>, options: NodeOptions) -> Self {
        Self::over(Link::Local(node), (String::new(), name.to_owned()), options)
    }

    fn over(link: Link, (base, shown): (String, String), options: NodeOptions) -> Self {
        Self {
            link,
            is_paced_by_caller: false,
            node: Arc::new(Node {
                base,
                shown,
                rates: Rates::new(options.dialect, options.unlimited),
                budget: Mutex::new(Budget::new(options.share, Instant::now())),
                options,
            }),
        }
    }

    /// The node's URL, without credentials and without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.node.shown
    }

    /// Whether the node is in this process, and is asked without HTTP.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.link, Link::Local(_))
    }

    /// The dialect that the node is asked in.
    #[must_use]
    pub fn configured_dialect(&self) -> Dialect {
        self.node.options.dialect
    }

    /// How often the head is polled.
    pub(crate) fn tempo(&self) -> Tempo {
        let options = &self.node.options;
        dialect::tempo(options.dialect, options.unlimited)
    }

    /// How much of the node's time deferrable requests may use now; zero while time is owed. The
    /// requests of all clones of this client count.
    #[must_use]
    pub fn spare_time(&self) -> Duration {
        self.node.budget(Budget::spare)
    }

    /// How long to wait before the node takes another POST of a transaction. A POST that is made earlier
    /// is not sent: it fails with [`SubmitError::Busy`](crate::SubmitError::Busy).
    #[must_use]
    pub fn next_post(&self) -> Duration {
        let lane = self.node.rates.lane(true, super::submit::PATH);
        lane.map_or(Duration::ZERO, |lane| lane.wait())
    }

    /// The same client, for a caller that waits for the [turn](Self::turn) of each call.
    pub(crate) fn paced_by_caller(&self) -> Self {
        Self {
            is_paced_by_caller: true,
            ..self.clone()
        }
    }

    /// Waits until the node lets a function be called once more.
    pub(crate) async fn turn(&self, method: &Method, path: &str) -> Result<(), NodeError> {
        match self.lane(method, path) {
            Some(lane) => lane
                .turn()
                .await
                .map_err(|wait| self.paused(method, path, wait)),
            None => Ok(()),
        }
    }

    /// Whether a function may be called for something that can be put off.
    pub(crate) fn has_spare_calls(&self, path: &str) -> bool {
        let lane = self.lane(&Method::GET, path);
        lane.is_none_or(|lane| lane.has_spare())
    }

    pub(super) fn lane(&self, method: &Method, path: &str) -> Option<Arc<Lane>> {
        self.node.rates.lane(*method == Method::POST, path)
    }

    fn paused(&self, method: &Method, path: &str, wait: Duration) -> NodeError {
        NodeError::Paused {
            call: call_name(method, function(path)),
            node: self.node.shown.clone(),
            wait,
        }
    }

    /// The turn of a call, unless the caller has waited for it.
    async fn own_turn(&self, method: &Method, path: &str) -> Result<(), NodeError> {
        if self.is_paced_by_caller {
            return Ok(());
        }
        self.turn(method, path).await
    }

    /// A path with the chain that the call is about, where calls name it.
    pub(super) fn with_chain(&self, path: String) -> String {
        let options = &self.node.options;
        match &options.chain {
            Some(chain) if dialect::names_chain(options.dialect) => {
                let mark = if path.contains('?') { '&' } else { '?' };
                format!("{path}{mark}chain_id={}", segment(chain.as_str()))
            }
            _ => path,
        }
    }

    fn under_way(&self) -> UnderWay {
        self.node.budget(Budget::begin);
        UnderWay(Arc::clone(&self.node))
    }

    pub(super) fn options(&self) -> &NodeOptions {
        &self.node.options
    }

    /// A GET whose answer must be a success.
    pub(super) async fn get(&self, path: &str) -> Result<Vec<u8>, NodeError> {
        self.get_up_to(path, self.node.options.max_body_bytes).await
    }

    /// The same for an answer of at most `limit` bytes.
    pub(super) async fn get_up_to(&self, path: &str, limit: usize) -> Result<Vec<u8>, NodeError> {
        self.own_turn(&Method::GET, path).await?;
        let _under_way = self.under_way();
        let timeout = self.node.options.timeout;
        let response = self.send(Method::GET, path, Sent::Nothing, timeout).await?;
        self.got(path, response, limit).await
    }

    /// The small answer to a GET, which must be a success.
    async fn got(
        &self,
        path: &str,
        response: Response,
        limit: usize,
    ) -> Result<Vec<u8>, NodeError> {
        let call = call_name(&Method::GET, path);
        let answer = self.answer(&call, response, limit).await;
        self.heed(&Method::GET, path, &answer)?;
        self.success(&call, answer)
    }

    /// The same for an answer that is a list. Each of its items is handed to `take` as it arrives;
    /// the result is the answer with an empty list.
    pub(super) async fn get_list(
        &self,
        path: &str,
        list: List,
        take: &mut (dyn FnMut(Item<'_>) + Send),
    ) -> Result<Vec<u8>, NodeError> {
        self.own_turn(&Method::GET, path).await?;
        let _under_way = self.under_way();
        let call = call_name(&Method::GET, path);
        let timeout = self.node.options.large_timeout;
        let mut response = self.send(Method::GET, path, Sent::Nothing, timeout).await?;
        if !response.status().is_success() {
            return self
                .got(path, response, self.node.options.max_body_bytes)
                .await;
        }
        let limit = self.node.options.max_list_bytes;
        let mut cutter = ListCutter::new(list.key, list.longest_item, LONGEST_REST);
        let unreadable = |error: ListError| self.unreadable(path, error);
        let mut left = limit;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    left = left
                        .checked_sub(chunk.len())
                        .ok_or_else(|| self.too_large(&call, limit))?;
                    cutter.feed(&chunk, take).map_err(unreadable)?;
                }
                Ok(None) => return cutter.finish().map_err(unreadable),
                Err(error) => return Err(self.failure(&call, error)),
            }
        }
    }

    /// A POST of JSON whose answer must be a success.
    pub(super) async fn post(&self, path: &str, body: &str) -> Result<Vec<u8>, NodeError> {
        self.own_turn(&Method::POST, path).await?;
        let answer = self.exchange(Method::POST, path, Some(body), None).await?;
        self.heed(&Method::POST, path, &answer)?;
        self.success(&call_name(&Method::POST, path), answer)
    }

    /// Remembers the pause that an answer asks for, if the node limits how often it is called.
    pub(super) fn heed(
        &self,
        method: &Method,
        path: &str,
        answer: &Answer,
    ) -> Result<(), NodeError> {
        if answer.status != StatusCode::TOO_MANY_REQUESTS {
            return Ok(());
        }
        let Some(lane) = self.lane(method, path) else {
            return Ok(());
        };
        let wait = answer.retry_after.unwrap_or(PAUSE);
        if lane.close(wait) {
            tracing::info!(
                chain.node = self.url(),
                call = call_name(method, function(path)),
                pause_seconds = wait.as_secs(),
                "the node has been asked too often; it is left alone until the pause is over"
            );
        }
        Err(self.paused(method, path, wait))
    }

    fn success(&self, call: &str, answer: Answer) -> Result<Vec<u8>, NodeError> {
        if answer.status.is_success() {
            return answer.body;
        }
        Err(NodeError::Status {
            call: call.to_owned(),
            node: self.node.shown.clone(),
            status: answer.status.as_u16(),
            detail: detail(answer.body.as_deref().unwrap_or_default()),
            retry_after: answer.retry_after,
        })
    }

    /// Sends one request, while there is a permit for it, and reads a small answer. An error means that
    /// no status arrived; an error of the body is part of the answer.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        permit: Option<Permit>,
    ) -> Result<Answer, NodeError> {
        let _under_way = self.under_way();
        let call = call_name(&method, path);
        let timeout = self.node.options.timeout;
        let sent = body.map_or(Sent::Nothing, |body| Sent::Json(body, permit));
        let response = self.send(method, path, sent, timeout).await?;
        let limit = self.node.options.max_body_bytes;
        Ok(self.answer(&call, response, limit).await)
    }

    /// A GET whose connection becomes a WebSocket: the request of a handshake with this key (RFC 6455,
    /// section 4.1).
    pub(super) async fn upgrade(&self, path: &str, key: &str) -> Result<Response, NodeError> {
        self.own_turn(&Method::GET, path).await?;
        let timeout = self.node.options.timeout;
        let response = self
            .send(Method::GET, path, Sent::Handshake(key), timeout)
            .await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        self.got(path, response, self.node.options.max_body_bytes)
            .await?;
        Err(self.unreadable(path, "it does not become a WebSocket"))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        sent: Sent<'_>,
        timeout: Duration,
    ) -> Result<Response, NodeError> {
        let client = match &self.link {
            Link::Http(client) => client,
            Link::Local(node) => {
                let body = match sent {
                    Sent::Json(body, _) => Some(body),
                    Sent::Nothing | Sent::Handshake(_) => None,
                };
                return Ok(local::response(node.as_ref(), path, body));
            }
        };
        let request = client
            .request(method.clone(), format!("{}{path}", self.node.base))
            .timeout(timeout);
        let request = match sent {
            Sent::Nothing => request,
            Sent::Json(body, permit) => {
                let body = body.to_owned();
                let body = match permit {
                    Some(permit) => Body::wrap(Permitted::new(body, permit)),
                    None => Body::from(body),
                };
                request.header(CONTENT_TYPE, "application/json").body(body)
            }
            Sent::Handshake(key) => request
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "websocket")
                .header(SEC_WEBSOCKET_VERSION, "13")
                .header(SEC_WEBSOCKET_KEY, key),
        };
        request
            .send()
            .await
            .map_err(|error| self.failure(&call_name(&method, path), error))
    }

    async fn answer(&self, call: &str, mut response: Response, limit: usize) -> Answer {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?.trim(), SystemTime::now()));
        let mut bytes = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if chunk.len() <= limit - bytes.len() => {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => break Err(self.too_large(call, limit)),
                Ok(None) => break Ok(bytes),
                Err(error) => break Err(self.failure(call, error)),
            }
        };
        Answer {
            status,
            retry_after,
            body,
        }
    }

    fn too_large(&self, call: &str, limit: usize) -> NodeError {
        NodeError::TooLarge {
            call: call.to_owned(),
            node: self.node.shown.clone(),
            limit,
        }
    }

    fn failure(&self, call: &str, error: reqwest::Error) -> NodeError {
        let (call, node) = (call.to_owned(), self.node.shown.clone());
        // The order matters: a timeout while connecting means that nothing was sent.
        if let Some(Trouble { reason, fix }) = tls::trouble(&error) {
            NodeError::Tls {
                call,
                node,
                reason: one_line(&reason),
                fix,
            }
        } else if error.is_connect() || error.is_builder() {
            NodeError::Connect {
                call,
                node,
                reason: reason(error),
            }
        } else if error.is_timeout() {
            NodeError::Timeout { call, node }
        } else {
            NodeError::Transport {
                call,
                node,
                reason: reason(error),
            }
        }
    }

    /// The error for an answer that cannot be understood.
    pub(super) fn unreadable(&self, path: &str, reason: impl fmt::Display) -> NodeError {
        NodeError::Unreadable {
            call: call_name(&Method::GET, path),
            node: self.node.shown.clone(),
            reason: one_line(&reason.to_string()),
        }
    }

    /// The error for a call that the node does not have.
    pub(super) fn unsupported(&self, path: &str) -> NodeError {
        NodeError::Unsupported {
            call: call_name(&Method::GET, path),
            node: self.node.shown.clone(),
        }
    }
}

/// A call by its name: method and path, without the query.
fn call_name(method: &Method, path: &str) -> String {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    one_line(&format!("{method} {path}"))
}

/// Checks a node's URL. Returns it with and without credentials.
fn read_url(text: &str) -> Result<(String, String), NodeError> {
    let refuse = |url: &str, reason: &str| {
        Err(NodeError::Url {
            url: one_line(url),
            reason: reason.to_owned(),
        })
    };
    let mut url = match Url::parse(text.trim()) {
        Ok(url) => url,
        // A text that cannot be parsed may hold credentials anywhere: it is not shown.
        Err(error) => return refuse("", &error.to_string()),
    };
    let base = url.as_str().trim_end_matches('/').to_owned();
    // Neither call fails on a URL with a host; the next check refuses a URL without one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let shown = url.as_str().trim_end_matches('/').to_owned();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return refuse(&shown, "it is not an http or https URL");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse(&shown, "it has a query or a fragment");
    }
    Ok((base, shown))
}

/// The innermost cause of an error. The errors around it only say that it happened in a request,
/// which the reader knows, and may hold the URL with its credentials.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    // Causes nest a few levels deep; the bound keeps the loop finite.
    for _ in 0..16 {
        let Some(inner) = cause.source() else { break };
        cause = inner;
    }
    one_line(&cause.to_string())
}

/// A node's own words for a refusal: the `detail` of its JSON, else the body.
pub(super) fn detail(body: &[u8]) -> String {
    let found = raw::Object::parse(body).ok().and_then(|object| {
        let text = object.get("detail").or_else(|| object.get("message"))?;
        Some(match raw::string(text) {
            Some(words) => words.into_owned(),
            None => String::from_utf8_lossy(text).into_owned(),
        })
    });
    one_line(
        &found.unwrap_or_else(|| {
            String::from_utf8_lossy(&body[..body.len().min(4_096)]).into_owned()
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_used_and_not_shown() {
        let client = NodeClient::new("http://user:secret@host:1/base/", NodeOptions::default());
        let client = client.unwrap();
        assert_eq!(client.url(), "http://host:1/base");
        assert_eq!(client.node.base, "http://user:secret@host:1/base");
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_node_is_refused_with_the_reason() {
        for url in [
            "",
            "nonsense",
            "ftp://host",
            "http://",
            "http://host/?a=1",
            "unix:/x",
            "//h",
        ] {
            let error = NodeClient::new(url, NodeOptions::default()).unwrap_err();
            assert!(matches!(error, NodeError::Url { .. }), "{url}: {error}");
            assert!(!error.is_transient());
        }
        let error = NodeClient::new("ftp://me:secret@host", NodeOptions::default()).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn the_detail_is_the_nodes_own_words() {
        assert_eq!(detail(br#"{"detail":"no blocks\nyet"}"#), "no blocks\\nyet");
        assert_eq!(detail(br#"{"detail":[{"msg":"x"}]}"#), r#"[{"msg":"x"}]"#);
        assert_eq!(detail(b"Internal Server Error"), "Internal Server Error");
        assert!(detail(&[0xff; 9_000]).chars().count() < 520);
    }
}
