//! Logs: to standard error, so that standard output holds results alone.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::failure::Failure;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = if std::env::var(FORMAT).is_ok_and(|format| format == "json") {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(colours).with_target(false).try_init()
    };
    // Whoever embeds the command line may have a subscriber of their own.
    drop(started);
    Ok(())
}
