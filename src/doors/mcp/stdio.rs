//! Serving a host that has started this process: one JSON message a line, on standard input and
//! output.

use std::io;

use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::stdio_pipes;

use super::super::api::request::MAX_BODY;
use super::McpServer;

/// Serves until the host closes standard input. A longer message than over HTTP is dropped.
///
/// # Errors
/// The host does not speak the protocol; standard input or output cannot be used.
pub async fn serve(server: McpServer) -> io::Result<()> {
    let (input, output) = stdio_pipes();
    let transport = AsyncRwTransport::new(input, output).with_max_line_length(MAX_BODY);
    match server.serve(transport).await {
        Ok(running) => running.waiting().await.map(drop).map_err(io::Error::other),
        // It left before it said anything.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}
