//! The blocks that a node of August 2026 pushes: over a real WebSocket.

use std::time::Duration;

use agentry_chain::{NodeClient, NodeError, NodeOptions, PushedBlock, Seen};
use agentry_protocol::{BlockHeight, Dialect};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::august::observed;
use crate::http::Request;

/// How long a test waits for what takes a moment.
const BOUND: Duration = Duration::from_secs(60);

/// What happens to a node.
#[derive(Debug, PartialEq)]
enum Event {
    Posted(String, Value),
    /// The first message over the WebSocket.
    Asked(Value),
}

/// What a node does.
#[derive(Clone, Default)]
struct Script {
    /// The answers to its POSTs, by path: status and body.
    posts: Vec<(&'static str, u16, Value)>,
    /// What it says over the WebSocket when it was asked, until it waits for the other side to close.
    says: Vec<Message>,
    /// Whether it closes the WebSocket then.
    closes: bool,
}

/// A node that pushes. It ends when it is dropped.
struct PushingNode {
    url: String,
    events: mpsc::UnboundedReceiver<Event>,
    task: JoinHandle<()>,
}

impl Drop for PushingNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PushingNode {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), seen.clone()));
            }
        });
        Self { url, events, task }
    }

    fn client(&self) -> NodeClient {
        let chain = "ait-h1".parse().unwrap();
        NodeClient::new(&self.url, NodeOptions::of(Dialect::August2026, &chain)).unwrap()
    }

    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(BOUND, self.events.recv()).await;
        event.expect("the node is not asked").unwrap()
    }
}

/// None: the peer has disconnected.
async fn serve(
    stream: TcpStream,
    script: Script,
    seen: mpsc::UnboundedSender<Event>,
) -> Option<()> {
    let mut start = [0; 4];
    while stream.peek(&mut start).await.ok()? < start.len() {
        tokio::task::yield_now().await;
    }
    if &start != b"POST" {
        return push(stream, script, seen).await;
    }
    let mut stream = BufReader::new(stream);
    let Request { path, body, .. } = Request::read(&mut stream).await?;
    let body = serde_json::from_str(&body).unwrap();
    let found = script.posts.iter().find(|(of, _, _)| *of == path);
    let (_, status, answer) = found.expect("a POST that is known");
    seen.send(Event::Posted(path, body)).ok()?;
    let answer = answer.to_string();
    let length = answer.len();
    // What upgrades comes over a connection of its own.
    let answer = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{answer}"
    );
    stream.write_all(answer.as_bytes()).await.ok()
}

async fn push(stream: TcpStream, script: Script, seen: mpsc::UnboundedSender<Event>) -> Option<()> {
    let mut socket = accept_async(stream).await.ok()?;
    let first = socket.next().await?.ok()?.into_text().ok()?;
    seen.send(Event::Asked(serde_json::from_str(&first).unwrap()))
        .ok()?;
    for message in script.says {
        socket.send(message).await.ok()?;
    }
    if script.closes {
        return socket.close(None).await.ok();
    }
    while socket.next().await?.is_ok() {}
    Some(())
}

fn lease(seconds: u64) -> (&'static str, u16, Value) {
    let answer = json!({
        "node_id": "x", "transport": "websocket", "chain_id": "ait-h1",
        "expiry": 1_780_000_000.5, "lease_duration": seconds,
    });
    ("/rpc/subscribe", 200, answer)
}

fn subscribed() -> Message {
    Message::text(json!({"status": "subscribed", "chain_id": "ait-h1"}).to_string())
}

fn frame() -> Value {
    observed()["WebSocket /rpc/subscribe/ws, frame of block 10"].take()
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(BOUND, work).await;
    done.expect("it takes too long")
}

/// A script that says these after it has confirmed.
fn saying(says: impl IntoIterator<Item = Message>) -> Script {
    Script {
        posts: vec![lease(3_600)],
        says: [subscribed()].into_iter().chain(says).collect(),
        closes: true,
    }
}

/// What a subscription to such a node brings until it ends.
async fn pushed(script: Script) -> (Vec<PushedBlock>, NodeError) {
    let node = PushingNode::start(script).await;
    within(async {
        let mut subscription = node.client().subscribe().await.unwrap().unwrap();
        let mut blocks = Vec::new();
        loop {
            match subscription.next().await {
                Ok(block) => blocks.push(block),
                Err(error) => return (blocks, error),
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_blocks_of_a_node_are_pushed_with_their_signatures() {
    let mut node = PushingNode::start(saying([Message::text(frame().to_string())])).await;
    let mut subscription = within(node.client().subscribe()).await.unwrap().unwrap();
    let Event::Posted(path, asked) = node.event().await else {
        panic!("a lease comes first");
    };
    assert_eq!(path, "/rpc/subscribe");
    let id = asked["node_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("agentry-"), "{id}");
    let request = json!({"node_id": id, "chain_id": "ait-h1", "transport": "websocket"});
    assert_eq!(asked, request);
    assert_eq!(node.event().await, Event::Asked(request));

    let block = within(subscription.next()).await.unwrap();
    assert_eq!(block.head.height, BlockHeight(10));
    let hash = frame()["hash"].as_str().unwrap().to_owned();
    assert_eq!(block.head.hash.to_string(), hash);
    assert_eq!(block.transactions.len(), 1);
    assert!(Seen::default().see(&block.transactions[0]));
    let ended = within(subscription.next()).await.unwrap_err();
    assert!(ended.to_string().contains("ended"), "{ended}");

    // Another subscription has another name.
    within(node.client().subscribe()).await.unwrap().unwrap();
    let Event::Posted(_, again) = node.event().await else {
        panic!("a lease comes first");
    };
    assert_ne!(again["node_id"], id.as_str());
}

#[tokio::test]
async fn what_is_no_block_is_left_out() {
    let mut partly = frame();
    let good = partly["transactions"][0].clone();
    partly["transactions"] = json!([1, {"from": 2}, good, null]);
    let mut without = frame();
    without.as_object_mut().unwrap().remove("transactions");
    without["height"] = json!(11);
    let mut no_height = frame();
    no_height["height"] = json!("eleven");
    let (blocks, _) = pushed(saying([
        Message::text(json!({"type": "ping", "timestamp": 1_780_000_000.5}).to_string()),
        Message::text("{"),
        Message::text("[]"),
        Message::text(no_height.to_string()),
        Message::binary(frame().to_string()),
        Message::text(partly.to_string()),
        Message::text(without.to_string()),
    ]))
    .await;
    let [first, second] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    assert_eq!(first.transactions.len(), 1);
    assert_eq!(second.head.height, BlockHeight(11));
    assert!(second.transactions.is_empty());
}

#[tokio::test]
async fn a_message_without_end_is_not_read() {
    let long = Message::text(" ".repeat((16 << 20) + 1));
    let (blocks, error) = pushed(saying([long])).await;
    assert!(blocks.is_empty());
    assert!(matches!(error, NodeError::Transport { .. }), "{error}");
}

#[tokio::test]
async fn a_node_that_does_not_push_says_so() {
    let refused = |posts, says| Script {
        posts,
        says,
        closes: true,
    };
    // It has no Redis.
    let detail = json!({"detail": "Failed to register subscription"});
    let node = PushingNode::start(refused(vec![("/rpc/subscribe", 500, detail)], vec![])).await;
    let error = within(node.client().subscribe()).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("500") && words.contains("Failed"), "{words}");

    // It refuses over the WebSocket; it says nothing there.
    let no_lease = Message::text(json!({"error": "no valid lease"}).to_string());
    for (says, words) in [(vec![no_lease], "no valid lease"), (vec![], "")] {
        let node = PushingNode::start(refused(vec![lease(3_600)], says)).await;
        let error = within(node.client().subscribe()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_node_that_pushes_nothing_is_not_asked() {
    let mut node = PushingNode::start(saying([])).await;
    let chain = "ait-h1".parse().unwrap();
    let april = NodeOptions::of(Dialect::April2026, &chain);
    let no_chain = NodeOptions {
        chain: None,
        ..NodeOptions::of(Dialect::August2026, &chain)
    };
    for options in [april, no_chain] {
        let client = NodeClient::new(&node.url, options).unwrap();
        assert!(within(client.subscribe()).await.unwrap().is_none());
    }
    assert!(node.events.try_recv().is_err());
}

/// A lease is prolonged when half of it is over.
#[tokio::test]
async fn a_lease_is_prolonged() {
    let script = Script {
        posts: vec![lease(60), ("/rpc/heartbeat", 200, lease(60).2)],
        says: vec![subscribed()],
        closes: false,
    };
    let mut node = PushingNode::start(script).await;
    let mut subscription = within(node.client().subscribe()).await.unwrap().unwrap();
    let Event::Posted(_, asked) = node.event().await else {
        panic!("a lease comes first");
    };
    assert!(matches!(node.event().await, Event::Asked(_)));
    let follow = tokio::spawn(async move { subscription.next().await });
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    let prolonged = json!({"node_id": asked["node_id"]});
    let expected = Event::Posted("/rpc/heartbeat".to_owned(), prolonged);
    assert_eq!(node.event().await, expected);
    follow.abort();
}

/// A node that forgot the lease, and one that is silent.
#[tokio::test]
async fn a_subscription_ends_when_its_node_is_gone() {
    let lost = json!({"detail": "Subscriber not found or lease expired"});
    for (seconds, later, words) in [(60, 31, "lease expired"), (3_600, 66, "did not answer")] {
        let script = Script {
            posts: vec![lease(seconds), ("/rpc/heartbeat", 404, lost.clone())],
            says: vec![subscribed()],
            closes: false,
        };
        let node = PushingNode::start(script).await;
        let mut subscription = within(node.client().subscribe()).await.unwrap().unwrap();
        let follow = tokio::spawn(async move { subscription.next().await.unwrap_err() });
        tokio::task::yield_now().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(later)).await;
        tokio::time::resume();
        let error = within(follow).await.unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
