//! A link to a server that fails on demand.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a link does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It passes them on.
    Open,
    /// It ends connections, and accepts no new ones.
    Cut,
    /// It keeps them until it is open again: no connection ends.
    Held,
    /// It keeps those to the server only.
    HeldThere,
    /// It keeps those from the server only.
    HeldBack,
}

/// What a link does now.
#[derive(Clone, Copy, Debug)]
struct Now {
    way: Way,
    /// How often it was cut: a connection ends even if the link is open again at once.
    cuts: u64,
}

/// A link on loopback. Dropping it cuts it.
#[derive(Debug)]
pub struct Proxy {
    link: Arc<Link>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct Link {
    port: u16,
    to: AtomicU16,
    now: watch::Sender<Now>,
    accepted: AtomicUsize,
    connected: AtomicUsize,
}

impl Proxy {
    /// A link to a port.
    pub async fn start(to: u16) -> Self {
        Self::start_at([127, 0, 0, 1], to).await
    }

    /// A link to a port, at an address of this machine.
    pub async fn start_at(address: [u8; 4], to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::from(address), 0)).await;
        let listener = listener.unwrap();
        let link = Arc::new(Link {
            port: listener.local_addr().unwrap().port(),
            to: AtomicU16::new(to),
            now: watch::Sender::new(Now {
                way: Way::Open,
                cuts: 0,
            }),
            accepted: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
        });
        let mut task = JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&link)));
        Self { link, _task: task }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.link.port
    }

    /// Has it connect to another port from now on.
    pub fn aim(&self, to: u16) {
        self.link.to.store(to, Ordering::Relaxed);
    }

    /// How many connections were asked for.
    pub fn accepted(&self) -> usize {
        self.link.accepted.load(Ordering::Relaxed)
    }

    /// How many connections there are. None, soon after a cut.
    pub fn connected(&self) -> usize {
        self.link.connected.load(Ordering::Relaxed)
    }

    /// Has it do something else, with the connections that there are, too.
    pub fn set(&self, way: Way) {
        self.link.now.send_modify(|now| {
            now.way = way;
            now.cuts += u64::from(way == Way::Cut);
        });
    }
}

async fn serve(listener: TcpListener, link: Arc<Link>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        link.accepted.fetch_add(1, Ordering::Relaxed);
        let now = link.now.subscribe();
        let Now { way, cuts } = *now.borrow();
        let to = link.to.load(Ordering::Relaxed);
        if way != Way::Cut
            && let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await
        {
            link.connected.fetch_add(1, Ordering::Relaxed);
            let link = Arc::clone(&link);
            connections.spawn(async move {
                connect(client, server, now, cuts).await;
                link.connected.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Moves bytes both ways until one side ends, or the link is cut.
async fn connect(client: TcpStream, server: TcpStream, now: watch::Receiver<Now>, cuts: u64) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = now.clone();
    let held_there = |way: Way| matches!(way, Way::Held | Way::HeldThere);
    let held_back = |way: Way| matches!(way, Way::Held | Way::HeldBack);
    tokio::select! {
        _ = cut.wait_for(|now| now.cuts != cuts) => {}
        () = pass(from_client, to_server, now.clone(), cuts, held_there) => {}
        () = pass(from_server, to_client, now, cuts, held_back) => {}
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut now: watch::Receiver<Now>,
    cuts: u64,
    is_held: impl Fn(Way) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // What was held when the link was cut is lost, even if it is open again by now.
        let passes = |now: &Now| now.cuts != cuts || !is_held(now.way);
        let is_cut = match now.wait_for(passes).await {
            Ok(now) => now.cuts != cuts,
            Err(_) => true,
        };
        if is_cut || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
