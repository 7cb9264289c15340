//! Logs: to standard error, so that standard output holds results alone.
//!
//! Logging is best effort: nothing fails, ends or waits because nobody reads the log, its disk is
//! full, or its reader is gone.
//!
//! | part | what it is for |
//! |---|---|
//! | `writer` | a thread that writes, so that no other one waits for the log's reader |
//! | `quota` | what repeats without end is written now and then, with a count of what was left out |

mod quota;
mod writer;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use self::writer::Log;
use super::failure::Failure;

/// The log of this process, once it was begun.
static LOG: OnceLock<Log> = OnceLock::new();

/// What is logged, as `info` or `agentry=debug,warn`; without it, what `RUST_LOG` says.
pub const FILTER: &str = "AGENTRY_LOG";
/// `json` for one JSON object a line; else text.
pub const FORMAT: &str = "AGENTRY_LOG_FORMAT";

/// What a command that serves logs by default: what happens, without the web server's own life.
pub const SERVING: &str = "info,actix_server=warn,actix_web=warn";

/// Begins to log: what [`FILTER`] says, else `default`. A second call, or one in a program that
/// logs already, changes nothing.
///
/// # Errors
/// A filter that cannot be understood.
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
        // It would tell of a failed write on standard error, and panic where that fails.
        .log_internal_errors(false)
        .with_writer(log.clone());
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(colours).with_target(false).try_init()
    };
    // Whoever embeds the command line may have a subscriber of their own.
    if started.is_ok() {
        drop(LOG.set(log));
    }
    Ok(())
}

/// Waits, for a second at most, until what was logged is written. To be called before the process
/// ends, or tells something on standard error by other means.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush();
    }
}
