//! An agent coordinator, with the calls of AITBC's that agentry makes, in their forms.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

/// The types of agents that the coordinator takes.
const TYPES: [&str; 9] = [
    "coordinator",
    "worker",
    "specialist",
    "monitor",
    "gateway",
    "orchestrator",
    "inference",
    "training",
    "processing",
];

/// An answer out of the ordinary.
#[derive(Clone, Debug)]
pub struct OddAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl OddAnswer {
    /// An answer with this status and body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Too many requests; it asks for a pause of so many seconds.
    pub fn busy(seconds: u64) -> Self {
        Self {
            headers: vec![("Retry-After".to_owned(), seconds.to_string())],
            ..Self::new(429, r#"{"detail":"Rate limit exceeded"}"#)
        }
    }
}

/// A request that was made.
#[derive(Clone, Debug)]
pub struct RequestSeen {
    /// When it arrived.
    pub at: Instant,
    /// Its method and path, decoded.
    pub what: String,
    /// Its query.
    pub query: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

/// What the coordinator knows.
#[derive(Debug, Default)]
pub struct CoordinatorState {
    /// What was posted of each agent.
    pub agents: BTreeMap<String, Value>,
    /// The messages to each agent, the oldest first.
    pub inboxes: BTreeMap<String, Vec<Value>>,
    /// Answers to the next requests, whatever they are.
    pub next: VecDeque<OddAnswer>,
    /// The answers to looks into the inboxes of these agents, in place of the real ones.
    pub odd_inboxes: BTreeMap<String, OddAnswer>,
    /// Every request, in order.
    pub asked: Vec<RequestSeen>,
}

/// A coordinator on this machine. It ends when it is dropped.
#[derive(Debug)]
pub struct Coordinator {
    /// Its port.
    pub port: u16,
    known: Arc<Mutex<CoordinatorState>>,
    running: Option<(ServerHandle, JoinHandle<()>)>,
}

impl Coordinator {
    /// Starts one.
    pub fn start() -> Self {
        let mut coordinator = Self::absent();
        coordinator.begin();
        coordinator
    }

    /// One that does not answer yet.
    pub fn absent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            port: listener.local_addr().unwrap().port(),
            known: Arc::default(),
            running: None,
        }
    }

    /// Answers from now on.
    pub fn begin(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        let known = Arc::clone(&self.known);
        let (ready, readied) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    let known = web::Data::from(Arc::clone(&known));
                    App::new().app_data(known).default_service(web::to(answer))
                };
                let server = HttpServer::new(app)
                    .workers(1)
                    .disable_signals()
                    .listen(listener)
                    .unwrap()
                    .run();
                ready.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        self.running = Some((readied.recv().unwrap(), thread));
    }

    /// Answers no more.
    pub fn end(&mut self) {
        if let Some((handle, thread)) = self.running.take() {
            // The command is sent at once; the future only waits for the end, as `join` does.
            drop(handle.stop(false));
            let _ = thread.join();
        }
    }

    /// What it knows.
    pub fn known(&self) -> MutexGuard<'_, CoordinatorState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table of agents.toml, with further keys.
    pub fn table(&self, keys: &str) -> String {
        format!(
            "[coordinator]\nurl = \"http://127.0.0.1:{}\"\n{keys}\n",
            self.port
        )
    }

    /// Sends a message to an agent, as anybody can.
    pub fn send(&self, to: &str, from: &str, content: &str, id: &str) {
        let mut known = self.known();
        let inbox = known.inboxes.entry(to.to_owned()).or_default();
        let sent = format!("2026-08-22T00:00:{:02}+00:00", inbox.len() % 60);
        inbox.push(json!({
            "sender": from,
            "recipient": to,
            "content": content,
            "message_type": "direct",
            "encrypted": "False",
            "priority": "normal",
            "timestamp": sent,
            "ws_delivered": "False",
            "status": "pending",
            "sent_at": sent,
            "message_id": id,
        }));
    }

    /// How many requests of this kind were made: `what` is a part of the method and the path.
    pub fn count(&self, what: &str) -> usize {
        let known = self.known();
        known
            .asked
            .iter()
            .filter(|one| one.what.contains(what))
            .count()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.end();
    }
}

async fn answer(
    request: HttpRequest,
    body: web::Bytes,
    known: web::Data<Mutex<CoordinatorState>>,
) -> HttpResponse {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let authorization = request.headers().get("authorization");
    let mut asked = RequestSeen {
        at: Instant::now(),
        what: format!("{} {}", request.method(), decoded(request.path())),
        query: request.query_string().to_owned(),
        authorization: authorization.map(|text| text.to_str().unwrap().to_owned()),
        status: 0,
    };
    let odd = match known.next.pop_front() {
        Some(odd) => odd,
        None => {
            let (status, body) = known.answer(&asked.what, &asked.query, &body);
            let of = parameter(&asked.query, "agent_id").unwrap_or_default();
            match known.odd_inboxes.get(&of) {
                Some(odd) if asked.what.ends_with("/inbox") => odd.clone(),
                _ => OddAnswer::new(status, body.to_string()),
            }
        }
    };
    asked.status = odd.status;
    known.asked.push(asked);
    let mut answer = HttpResponse::build(StatusCode::from_u16(odd.status).unwrap());
    for (key, value) in odd.headers {
        answer.insert_header((key, value));
    }
    answer.content_type("application/json").body(odd.body)
}

impl CoordinatorState {
    fn answer(&mut self, what: &str, query: &str, body: &[u8]) -> (u16, Value) {
        let missing =
            json!({ "status": "error", "message": "Resource not found", "timestamp": "t" });
        let (method, path) = what.split_once(' ').unwrap();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (method, parts.as_slice()) {
            ("GET", ["health"]) => (200, json!({ "status": "healthy", "version": "1.0.0" })),
            ("POST", ["v1", "agents", "register"]) => self.register(body),
            ("POST", ["v1", "agents", agent, "heartbeat"]) => {
                match self.agents.contains_key(*agent) {
                    true => (
                        200,
                        json!({ "status": "success", "message": "m", "agent_id": agent, "heartbeat_at": "t" }),
                    ),
                    false => (404, missing),
                }
            }
            ("GET", ["api", "v1", "agent", "messages", "inbox"]) => self.inbox(query),
            ("POST", ["api", "v1", "agent", "messages", "id", id, "read"]) => {
                let all = self.inboxes.values_mut().flatten();
                let mut found = all
                    .filter(|message| message["message_id"] == **id)
                    .peekable();
                if found.peek().is_none() {
                    return (404, missing);
                }
                found.for_each(|message| message["status"] = json!("read"));
                (
                    200,
                    json!({ "status": "success", "message_id": id, "message_status": "read", "timestamp": "t" }),
                )
            }
            _ => (404, missing),
        }
    }

    fn register(&mut self, body: &[u8]) -> (u16, Value) {
        let wrong = || (422, json!({ "detail": [{ "type": "missing" }] }));
        let Ok(posted) = serde_json::from_slice::<Value>(body) else {
            return wrong();
        };
        let texts = |key: &str| {
            let list = posted[key].as_array();
            list.is_some_and(|list| list.iter().all(Value::is_string))
        };
        let is_valid = TYPES.contains(&posted["agent_type"].as_str().unwrap_or_default())
            && texts("capabilities")
            && texts("services")
            && posted["endpoints"].is_object()
            && posted["metadata"].is_object()
            && posted["chain_id"].is_string();
        let Some(agent) = posted["agent_id"].as_str().filter(|_| is_valid) else {
            return wrong();
        };
        let answer = json!({
            "status": "success",
            "message": format!("Agent {agent} registered successfully"),
            "agent_id": agent,
            "registered_at": "t",
        });
        self.agents.insert(agent.to_owned(), posted.clone());
        (200, answer)
    }

    /// The newest messages, the newest first.
    fn inbox(&self, query: &str) -> (u16, Value) {
        let Some(agent) = parameter(query, "agent_id") else {
            return (422, json!({ "detail": [{ "type": "missing" }] }));
        };
        let limit = parameter(query, "limit").map_or(100, |limit| limit.parse().unwrap());
        let all = self.inboxes.get(&agent).into_iter().flatten().rev();
        let messages: Vec<&Value> = all.take(limit).collect();
        let count = messages.len();
        (
            200,
            json!({ "agent_id": agent, "messages": messages, "count": count, "timestamp": "t" }),
        )
    }
}

/// The value of a key of a query.
fn parameter(query: &str, key: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(name, _)| *name == key);
    found.map(|(_, value)| decoded(value))
}

/// A part of a URL without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        (rest, _) = match (first, byte) {
            (b'%', Some(byte)) => (&after[2..], bytes.push(byte)),
            _ => (after, bytes.push(first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
