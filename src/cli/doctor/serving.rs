//! Checks the runtime that holds the store, by its own report.

use agentry_store::is_locked;
use serde_json::{Value, json};

use super::super::ExitCode;
use super::report::Check;
use super::{PATIENCE, http};
use crate::config::Config;
use crate::runtime::control::{Client, socket_path};

/// Name of the check in the report.
const NAME: &str = "runtime";

/// The conditions of readiness: the key in the answer, and the problem when it is false.
const NEEDS: [(&str, &str); 6] = [
    ("source_up", "the chain cannot be read"),
    ("node_up", "the node that is posted to does not answer"),
    ("posting", "posting is stopped"),
    (
        "acting",
        "agents do not act until the chain has been read up to its height at the start",
    ),
    (
        "caught_up",
        "the node is behind the blocks that were already read from it",
    ),
    ("store_up", "the store cannot be used"),
];

/// Status of the runtime.
#[derive(Debug)]
pub(super) struct Serving {
    /// Address that was queried.
    at: String,
    /// The runtime's report of its readiness.
    says: Option<Value>,
}

/// Queries the readiness: at the configured port, or through the store's socket if the runtime
/// chose its own port.
pub(super) async fn look(config: &Config) -> Serving {
    let listen = config.http.listen;
    if listen.port() != 0 {
        let at = format!("http://{listen}/ready");
        let says = http::get(&at).await.map(|answer| {
            let other = json!({ "reason": format!("it answers {}", answer.status) });
            serde_json::from_slice(&answer.body).unwrap_or(other)
        });
        return Serving { at, says };
    }
    let store = &config.store.path;
    let at = socket_path(store).display().to_string();
    // Without a runtime nobody listens there, and a starting runtime is waited for.
    let says = if is_locked(store).unwrap_or(false) {
        let client = Client::new(store);
        match tokio::time::timeout(PATIENCE, client.condition()).await {
            Ok(Ok(condition)) => serde_json::to_value(condition).ok(),
            Ok(Err(_)) | Err(_) => None,
        }
    } else {
        None
    };
    Serving { at, says }
}

impl Serving {
    /// The check of the runtime; `running` is whether a runtime holds the store.
    pub(super) fn check(&self, running: bool) -> Check {
        let at = &self.at;
        match (running, &self.says) {
            (true, None) => Check::warning(
                NAME,
                format!("it is running, but nothing answers at {at}"),
                "it may be starting and waiting for its node; see its log",
            ),
            (true, Some(says)) => condition(at, says),
            (false, Some(_)) => Check::wrong(
                NAME,
                format!("no runtime holds the store, but something else answers at {at}"),
                "choose another `http.listen`, or use the configuration of that runtime with -c",
                ExitCode::Unavailable,
            ),
            (false, None) => Check::well(NAME, "none is running; `agentry run` starts it"),
        }
    }
}

fn condition(at: &str, says: &Value) -> Check {
    if says["ready"] == true {
        let read = says["height"].as_i64();
        let read = read.map_or_else(String::new, |height| {
            format!("; it has read block {height}")
        });
        return Check::well(NAME, format!("it is running and ready{read}"));
    }
    let lacks: Vec<&str> = NEEDS
        .into_iter()
        .filter(|(key, _)| says[*key] == false)
        .map(|(_, text)| text)
        .collect();
    let mut why = if lacks.is_empty() {
        format!("{at} does not report the reason")
    } else {
        lacks.join(", ")
    };
    if let Some(reason) = says["reason"].as_str() {
        why = format!("{why}: {reason}");
    }
    Check::wrong(
        NAME,
        format!("it is running but not ready: {why}"),
        "see the other checks, or its log",
        ExitCode::Unavailable,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metrics::Metrics;

    #[test]
    fn every_condition_that_is_not_met_is_named() {
        let says = serde_json::to_value(Metrics::new().condition()).unwrap();
        let keys = says.as_object().unwrap().iter();
        let mut conditions: Vec<&str> = keys
            .filter(|(key, value)| value.is_boolean() && *key != "ready")
            .map(|(key, _)| key.as_str())
            .collect();
        let mut known: Vec<&str> = NEEDS.iter().map(|(key, _)| *key).collect();
        conditions.sort_unstable();
        known.sort_unstable();
        assert_eq!(conditions, known);
        for (key, text) in NEEDS {
            let mut says = says.clone();
            for (other, _) in NEEDS {
                says[other] = (other != key).into();
            }
            says["ready"] = false.into();
            let check = serde_json::to_value(condition("/ready", &says)).unwrap();
            let found = check["found"].as_str().unwrap();
            assert!(found.ends_with(text), "{key}: {found}");
        }
    }
}
