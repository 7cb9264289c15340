//! Handwritten HTTP requests: the pings must not share code with the tested program.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The timeout for an answer, which a hanging node uses up.
const PATIENCE: Duration = Duration::from_millis(300);

/// Posts JSON to a path of a node on this machine. Returns the status and the rest of the answer.
pub fn post(port: u16, path: &str, body: &str) -> io::Result<(u16, String)> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    exchange(port, &[request.as_bytes(), body.as_bytes()])
}

/// Gets a path of a server on this machine.
pub fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    exchange(port, &[request.as_bytes()])
}

fn exchange(port: u16, parts: &[&[u8]]) -> io::Result<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    for part in parts {
        stream.write_all(part)?;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status in {text:?}")))?;
    Ok((status, text))
}
