//! A node that asks for pauses.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// A proxy in front of the node, which answers the first POST of a transaction with 429.
struct Proxy {
    url: String,
    refused: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Proxy {
    fn start(node: &str, retry_after: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let node = node.trim_start_matches("http://").to_owned();
        let (refused, over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let proxy = Self {
            url,
            refused: Arc::clone(&refused),
            over: Arc::clone(&over),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (node, refused) = (node.clone(), Arc::clone(&refused));
                // The client notices a broken connection.
                std::thread::spawn(move || pass_on(stream?, &node, retry_after, &refused));
            }
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener once more.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// One request, and its answer.
fn pass_on(
    mut client: TcpStream,
    node: &str,
    retry_after: &str,
    refused: &AtomicUsize,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length {
                break;
            }
        }
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    if request.starts_with(b"POST /rpc/transaction") && refused.fetch_add(1, Ordering::Relaxed) == 0
    {
        return write!(
            client,
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {retry_after}\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
    }
    let line = request.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
    let mut server = TcpStream::connect(node)?;
    server.write_all(&request[..line])?;
    server.write_all(b"Connection: close\r\n")?;
    server.write_all(&request[line..])?;
    std::io::copy(&mut server, &mut client)?;
    Ok(())
}

#[test]
fn no_requested_pause_stops_posting_for_long() {
    on_stage(async || {
        for retry_after in [
            "86400",
            "99999999999999999999999999",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            let stage = usual(&[1_000]).await;
            let proxy = Proxy::start(&stage.devnet.url(), retry_after);
            let settings = SubmitterSettings {
                node: NodeClient::new(&proxy.url, NodeOptions::default()).unwrap(),
                ..stage.settings()
            };
            let submitter = stage.submitter_with(settings).await;
            let draft = stage.draft(ONE, "one", Cause::Own);
            stage.send(&submitter, ONE, draft).await;
            stage.until(&["accepted"]).await;
            assert_eq!(proxy.refused.load(Ordering::Relaxed), 2, "{retry_after}");
        }
    });
}
