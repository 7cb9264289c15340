//! The runtime that has the store, by its own word.

use serde_json::Value;

use super::super::ExitCode;
use super::http::{self, Answer};
use super::report::Check;
use crate::config::Config;

/// How it is called in a report.
const NAME: &str = "runtime";

/// What is known of it.
#[derive(Debug)]
pub(super) struct Serving {
    /// Where it should answer; `None`, where it chooses a port itself.
    at: Option<String>,
    answer: Option<Answer>,
}

/// Asks whether it is ready.
pub(super) async fn look(config: &Config) -> Serving {
    let listen = config.http.listen;
    let at = (listen.port() != 0).then(|| format!("http://{listen}/ready"));
    let answer = match &at {
        Some(at) => http::get(at).await,
        None => None,
    };
    Serving { at, answer }
}

impl Serving {
    /// What there is to say of it; `running` is whether a runtime has the store.
    pub(super) fn check(&self, running: bool) -> Check {
        match (running, &self.at, &self.answer) {
            (true, None, _) => Check::well(NAME, "it runs, at a port of its own choice"),
            (true, Some(at), None) => Check::warning(
                NAME,
                format!("it runs, and nothing answers at {at}"),
                "it may be starting, and wait for its node: its log says so",
            ),
            (true, Some(at), Some(answer)) => condition(at, answer),
            (false, Some(at), Some(_)) => Check::wrong(
                NAME,
                format!("none has the store, and something else answers at {at}"),
                "choose another `http.listen`, or name the configuration of that runtime with -c",
                ExitCode::Unavailable,
            ),
            (false, _, None) | (false, None, Some(_)) => {
                Check::well(NAME, "none runs; `agentry run` starts it")
            }
        }
    }
}

fn condition(at: &str, answer: &Answer) -> Check {
    let says: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status == 200 && says["ready"] == true {
        let read = says["height"].as_i64();
        let read = read.map_or_else(String::new, |height| {
            format!("; it has read block {height}")
        });
        return Check::well(NAME, format!("it runs and is ready{read}"));
    }
    let lacks: Vec<&str> = [
        ("source_up", "the chain cannot be read"),
        ("node_up", "the node that is posted to does not answer"),
        ("posting", "posting is stopped"),
        (
            "caught_up",
            "the node is behind what was read of its chain before",
        ),
        ("store_up", "the store cannot be used"),
    ]
    .into_iter()
    .filter(|(key, _)| says[*key] == false)
    .map(|(_, text)| text)
    .collect();
    let mut why = if lacks.is_empty() {
        format!("{at} answers {}", answer.status)
    } else {
        lacks.join(", ")
    };
    if let Some(reason) = says["reason"].as_str() {
        why = format!("{why}: {reason}");
    }
    Check::wrong(
        NAME,
        format!("it runs and is not ready: {why}"),
        "see the other lines; else its log",
        ExitCode::Unavailable,
    )
}
