//! A proxy that makes a node slow, as a real node with a long chain is: it has one thread, and takes
//! time for each block that it serves.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A slow node. The proxy stops when this is dropped.
#[derive(Debug)]
pub(crate) struct SlowNode {
    shared: Arc<Shared>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The port of the node behind it.
    node: u16,
    /// The time for a block, and for a query of the mempool or an account.
    takes: Duration,
    /// The node's one thread.
    one: Mutex<()>,
    /// How many blocks and queries it has served.
    worked: AtomicU32,
    ended: AtomicBool,
}

impl SlowNode {
    /// Starts a proxy for the node on this port.
    pub(crate) fn start(node: u16, takes: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            node,
            takes,
            one: Mutex::default(),
            worked: AtomicU32::new(0),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&serving);
                // A client that has disconnected needs no answer.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self {
            shared,
            port,
            thread: Some(thread),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How long the node has worked.
    pub(crate) fn worked(&self) -> Duration {
        self.shared.takes * self.shared.worked.load(Ordering::SeqCst)
    }
}

impl Drop for SlowNode {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    /// One request, one connection.
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let (head, body) = request(&mut stream)?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let worth = worth(path);
        let answer = {
            let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
            self.worked.fetch_add(worth, Ordering::SeqCst);
            std::thread::sleep(self.takes * worth);
            let mut node = TcpStream::connect((Ipv4Addr::LOCALHOST, self.node))?;
            node.write_all(head.as_bytes())?;
            node.write_all(&body)?;
            let mut answer = Vec::new();
            node.read_to_end(&mut answer)?;
            answer
        };
        stream.write_all(&answer)
    }
}

/// The head of a request, changed to close its connection, and its body.
fn request(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut one)?;
        bytes.extend(one);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut length = 0;
    let mut head = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if !lower.starts_with("connection:") {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head.push_str("connection: close\r\n\r\n");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

/// How many blocks or queries of work a request is.
fn worth(path: &str) -> u32 {
    let value = |name: &str| -> Option<u32> {
        let (_, after) = path.split_once(name)?;
        after.split('&').next()?.parse().ok()
    };
    if let (Some(start), Some(end)) = (value("start="), value("end=")) {
        return end.saturating_sub(start) + 1;
    }
    let is_work = ["/rpc/blocks/", "/rpc/mempool", "/rpc/accounts/"];
    u32::from(is_work.iter().any(|call| path.starts_with(call)))
}
