//! A node that accepts everything at once: it reads a POST, answers 200 with the hash, and stores
//! only the count. What remains is the runtime's own work, HTTP included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentry_protocol::{Limits, SignedTransaction};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// The longest request that is read.
const LONGEST: usize = 8 * 1024;

/// A running sink.
pub(crate) struct Sink {
    address: SocketAddr,
    taken: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    /// Dropped, and so ended, with the sink.
    _runtime: Runtime,
}

impl Sink {
    /// Starts one on any free port, which says that its block 0 has this hash: the runtime posts only to
    /// a node of the chain that it reads.
    pub(crate) fn start(genesis: &str) -> anyhow::Result<Self> {
        let block = format!(
            r#""height":0,"hash":"{genesis}","parent_hash":"0x00","proposer":"genesis","timestamp":"2025-01-01T00:00:00","tx_count":0"#
        );
        // The answer to each of the runtime's questions: a block, a range of blocks, a mempool.
        let head = format!(
            r#"{{{block},"transactions":[],"count":1,"blocks":[{{{block},"transactions":[]}}]}}"#
        );
        let head: Arc<str> = head.into();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let connections = Arc::new(AtomicU64::new(0));
        let connected = Arc::clone(&connections);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connected.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, Arc::clone(&counter), Arc::clone(&head)));
            }
        });
        Ok(Self {
            address,
            taken,
            connections,
            _runtime: runtime,
        })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many transactions it accepted.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// Serves one connection until it is closed, or sends something that is not a request.
async fn serve(mut stream: TcpStream, taken: Arc<AtomicU64>, head: Arc<str>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = vec![0; LONGEST];
    let mut filled = 0;
    loop {
        let (start, body) = loop {
            if let Some(parts) = request(&buffer[..filled]) {
                break parts;
            }
            match stream.read(&mut buffer[filled..]).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => filled += count,
            }
        };
        let answer = if buffer.starts_with(b"POST /rpc/transaction ") {
            let posted = &buffer[start..start + body];
            let signed = SignedTransaction::from_body(posted, Limits::default()).ok()?;
            taken.fetch_add(1, Ordering::Relaxed);
            format!(
                r#"{{"success":true,"transaction_hash":"{}"}}"#,
                signed.hash()
            )
        } else {
            head.to_string()
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
        buffer.copy_within(start + body..filled, 0);
        filled -= start + body;
    }
}

/// The lengths of the head and body of a complete request; none while it is incomplete.
fn request(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let body = length.unwrap_or(0);
    (bytes.len() >= head + body).then_some((head, body))
}
