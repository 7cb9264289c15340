//! A small scripted HTTP node on the loopback: its answer is a function of method, path and body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The answer of a script.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, String),
    /// With a header.
    With(u16, &'static str, String),
    /// Bytes as they are, then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
    /// Another answer, after the node's one thread has worked on it for this long. Other answers of
    /// this sort wait for it, and it continues even if the client no longer waits.
    Worked(Duration, Box<Reply>),
}

type Script = dyn Fn(&str, &str, &str) -> Reply + Send + Sync;

/// A running node. It ends when dropped.
pub(crate) struct HttpNode {
    pub(crate) url: String,
    requests: Arc<AtomicU64>,
    most_at_once: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// The state that the connections of a node share.
#[derive(Clone, Default)]
struct Shared {
    requests: Arc<AtomicU64>,
    at_once: Arc<AtomicU64>,
    most_at_once: Arc<AtomicU64>,
    thread: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for HttpNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpNode {
    pub(crate) async fn start(
        script: impl Fn(&str, &str, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared::default();
        let (requests, most_at_once) = (shared.requests.clone(), shared.most_at_once.clone());
        let script: Arc<Script> = Arc::new(script);
        let task = tokio::spawn(async move {
            // The connections end with the node.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&script), shared.clone()));
            }
        });
        Self {
            url,
            requests,
            most_at_once,
            task,
        }
    }

    /// The most requests that were being processed or waiting at the same time.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.most_at_once.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A request that was read whole.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
}

impl Request {
    /// None: the peer has disconnected.
    pub(crate) async fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let Some((name, value)) = header.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Some(Self { method, path, body })
    }
}

/// None: the peer has disconnected.
async fn serve(stream: TcpStream, script: Arc<Script>, shared: Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Request { method, path, body } = Request::read(&mut stream).await?;
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let mut reply = script(&method, &path, &body);
        if let Reply::Worked(took, answer) = reply {
            let shared = shared.clone();
            let work = tokio::spawn(async move {
                let now = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
                shared.most_at_once.fetch_max(now, Ordering::SeqCst);
                let thread = shared.thread.lock().await;
                tokio::time::sleep(took).await;
                drop(thread);
                shared.at_once.fetch_sub(1, Ordering::SeqCst);
            });
            work.await.ok()?;
            reply = *answer;
        }
        let (status, header, body) = match reply {
            Reply::Json(status, body) => (status, String::new(), body),
            Reply::With(status, header, body) => (status, format!("{header}\r\n"), body),
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Reply::Silence => {
                // Waits until the peer disconnects.
                let _ = stream.read_u8().await;
                return None;
            }
            Reply::Worked(..) => return None,
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
