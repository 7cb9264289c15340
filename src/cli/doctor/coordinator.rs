//! Checks that the agent coordinator answers, if one is configured.

use super::http;
use super::report::Check;
use crate::config::{Config, masked};

/// Name of the check in the report.
const NAME: &str = "coordinator";

/// Asks it for its health, which needs no login and changes nothing. An agent runs without it, so
/// nothing about it is an error.
pub(super) async fn look(config: &Config) -> Option<Check> {
    let url = &config.coordinator.as_ref()?.url;
    let shown = masked(url);
    let answer = http::get(&format!("{}/health", &**url)).await;
    Some(match answer.map(|answer| answer.status) {
        Some(200) => Check::well(NAME, format!("{shown} answers")),
        Some(429) => Check::warning(
            NAME,
            format!("{shown} is asked too often from this address (429)"),
            "lower `coordinator.requests`, or ask it from fewer hosts",
        ),
        Some(status) => Check::warning(
            NAME,
            format!("{shown} answers {status} when it is asked for its health"),
            "correct `coordinator.url`: agents are announced nowhere",
        ),
        None => Check::warning(
            NAME,
            format!("{shown} does not answer"),
            "start it, or correct `coordinator.url`; agents work without it, and it is tried again",
        ),
    })
}
