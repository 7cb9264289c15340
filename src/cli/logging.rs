//! Logs go to standard error, so that standard output contains results only.
//!
//! Logging is best effort: nothing fails, ends or waits because nobody reads the log, its disk is
//! full, or its reader is gone.
//!
//! | part | purpose |
//! |---|---|
//! | `writer` | a thread that writes, so that no other thread waits for the log's reader |
//! | `quota` | writes repeated lines only now and then, with a count of those left out |

mod quota;
mod writer;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use self::writer::Log;
use super::failure::Failure;

/// The log of this process, once logging has started.
static LOG: OnceLock<Log> = OnceLock::new();

/// Environment variable with the log filter, such as `info` or `agentry=debug,warn`; if unset,
/// `RUST_LOG` counts.
pub const FILTER: &str = "AGENTRY_LOG";
/// Environment variable with the log format: `json` for one JSON object per line, else text.
pub const FORMAT: &str = "AGENTRY_LOG_FORMAT";

/// Default filter of a command that serves: `info`, without the internal events of web server and
/// protocols.
pub const SERVING: &str = "info,actix_server=warn,actix_web=warn,rmcp=error";

/// Default filter of `dev`: what needs attention, and what programs say.
pub const DEV: &str = "warn,agentry_behaviours::process::journal=info";

/// Default filter of `mcp`: without what a host is told anyway.
pub const MCP: &str = "warn,rmcp=error";

/// Starts logging with the filter of [`FILTER`], else with `default`. A second call, or a call in a
/// program that already logs, changes nothing.
///
/// # Errors
/// The filter cannot be parsed.
pub fn init(default: &str) -> Result<(), Failure> {
    let filter = [FILTER, "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let filter = filter.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::usage(format!(
            "{FILTER}={filter:?}: {error}; write one such as \"agentry=debug,info\""
        ))
    })?;
    let json = std::env::var(FORMAT).is_ok_and(|format| format == "json");
    let log = Log::new(json);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // The layer would report a failed write on standard error, and panic if that fails, too.
        .log_internal_errors(false)
        .with_writer(log.clone());
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(colours).with_target(false).try_init()
    };
    // A program that embeds the command line may have a subscriber of its own.
    if started.is_ok() {
        drop(LOG.set(log));
    }
    Ok(())
}

/// Waits up to one second until everything logged so far is written. Call it before the process
/// ends, or before it writes to standard error by other means.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush();
    }
}
