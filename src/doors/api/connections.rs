//! Ends connections of clients that do not read.
//!
//! The server itself waits for such a client without an end: what it has to write would keep the
//! connection, and its place among the limited number of them, for ever.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::dev::Extensions;

/// How often connections are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long a request may take.
const SERVING: Duration = Duration::from_secs(90);

/// How long writing a response may take, and waiting for the next request.
const WRITING: Duration = Duration::from_secs(20);

/// The open connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Connections {
    began: Instant,
    open: Arc<Mutex<Vec<Weak<Socket>>>>,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    began: Instant,
    /// When it ends unless something happens, in milliseconds since the server began.
    until: AtomicU64,
}

/// An open connection, for those who serve its requests.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Socket>);

impl Connection {
    /// A request begins.
    pub fn serving(&self) {
        self.0.ends_after(SERVING);
    }

    /// A response begins, or a part of a stream.
    pub fn writing(&self) {
        self.0.ends_after(WRITING);
    }
}

impl Socket {
    fn ends_after(&self, time: Duration) {
        let until = self.began.elapsed().saturating_add(time);
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until.store(until, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() > Duration::from_millis(self.until.load(Ordering::Relaxed))
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            open: Arc::default(),
        }
    }
}

impl Connections {
    /// Notes a new connection; for
    /// [`on_connect`](actix_web::HttpServer::on_connect).
    pub fn connected(&self, io: &dyn Any, data: &mut Extensions) {
        let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else {
            return;
        };
        // Without a second handle, the connection is not watched.
        let Ok(stream) = stream.as_fd().try_clone_to_owned() else {
            return;
        };
        let socket = Arc::new(Socket {
            stream: stream.into(),
            began: self.began,
            until: AtomicU64::new(0),
        });
        socket.ends_after(WRITING);
        self.lock().push(Arc::downgrade(&socket));
        data.insert(Connection(socket));
    }

    /// Ends connections that are over, until it is dropped.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.lock().retain(|socket| {
                let Some(socket) = socket.upgrade() else {
                    return false;
                };
                if socket.is_over() {
                    tracing::debug!("ended a connection whose client does not read");
                    // It may have ended by itself.
                    let _ = socket.stream.shutdown(Shutdown::Both);
                }
                true
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Socket>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
