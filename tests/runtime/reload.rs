//! Changing the configuration while an agent is handling a message.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry::config::{Config, ConfigError, Overlay, Source};
use agentry::ops::OperationError;
use agentry::runtime::control::{Client, ControlError};
use agentry::runtime::reload::Reread;
use agentry::{Host, HostOptions};
use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup};
use serde::Deserialize;
use tokio::sync::watch;

use super::{Stage, kinds};

/// Answers once a file exists; another file shows that it has begun.
#[derive(Debug)]
struct Patient(PatientSettings);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatientSettings {
    reply: String,
    begun: PathBuf,
    gate: PathBuf,
}

impl Behaviour for Patient {
    const KIND: &'static str = "patient";
    type Settings = PatientSettings;

    fn configure(settings: PatientSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self(settings))
    }

    fn demands(&self) -> agentry_sdk::Authenticity {
        agentry_sdk::Authenticity::Unverified
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        let failed = |error: std::io::Error| BehaviourError::permanent(error.to_string());
        std::fs::write(&self.0.begun, "").map_err(failed)?;
        while !self.0.gate.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Effects::none().reply(&self.0.reply))
    }
}

/// A runtime whose configuration is a text that the test changes.
struct Changing {
    stage: Stage,
    text: Arc<Mutex<String>>,
    begun: PathBuf,
    gate: PathBuf,
}

impl Changing {
    /// A runtime whose agent answers with this text.
    fn start(reply: &str) -> Self {
        let mut stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
        stage.stop();
        let (begun, gate) = (
            stage.dir.path().join("begun"),
            stage.dir.path().join("gate"),
        );
        let patient = format!(
            "{{ kind = \"patient\", reply = \"{reply}\", begun = \"{}\", gate = \"{}\" }}",
            begun.display(),
            gate.display()
        );
        stage.edit(r#"{ kind = "counter" }"#, &patient);
        let text = Arc::new(Mutex::new(stage.text.clone()));
        let path = stage.dir.path().join("agents.toml");
        let read = {
            let text = Arc::clone(&text);
            move || -> Result<Config, ConfigError> {
                let source = Source::Text {
                    path: path.clone(),
                    text: text.lock().unwrap().clone(),
                };
                let overlay = Overlay {
                    environment: Some(HashMap::new()),
                    flags: Vec::new(),
                };
                Config::load(&source, &overlay, &kinds::registry().with::<Patient>())
            }
        };
        let reread = Reread::new(read);
        let options = HostOptions {
            reread: Some(reread.clone()),
            ..HostOptions::default()
        };
        let (_keep, cancel) = watch::channel(false);
        stage.host = Some(Host::start(reread.read().unwrap(), options, cancel).unwrap());
        Self {
            stage,
            text,
            begun,
            gate,
        }
    }

    /// Posts a message, and waits until the agent is handling it.
    async fn in_hand(&self) {
        self.stage.say(2, "take your time").await;
        let begun = self.begun.clone();
        self.stage.until("a run to begin", |_| begun.exists()).await;
    }

    fn open(&self) {
        std::fs::write(&self.gate, "").unwrap();
    }

    /// Applies a change of the text; returns what was added, changed and removed.
    async fn change(&self, edit: impl FnOnce(&str) -> String) -> [usize; 3] {
        {
            let mut text = self.text.lock().unwrap();
            let edited = edit(&text);
            assert_ne!(*text, edited);
            *text = edited;
        }
        let client = Client::new(&self.stage.store);
        let agents = client.reload(Vec::new()).await.unwrap().agents;
        [&agents.added, &agents.changed, &agents.removed].map(Vec::len)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_event_finishes_with_its_old_configuration() {
    let changing = Changing::start("old");
    changing.in_hand().await;
    // It is applied immediately, and does not wait for the run.
    assert_eq!(
        changing.change(|text| text.replace("old", "new")).await,
        [0, 1, 0]
    );
    for _ in 0..3 {
        changing.stage.say(2, "and now?").await;
    }
    changing.open();
    changing
        .stage
        .until("all answers", |stage| stage.said().len() == 4)
        .await;
    assert_eq!(
        changing.stage.said(),
        ["\"old\"", "\"new\"", "\"new\"", "\"new\""]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_agent_finishes_its_current_event_and_nothing_more() {
    let changing = Changing::start("old");
    changing.in_hand().await;
    let agent = |text: &str| text[text.find("[[agent]]").unwrap()..].to_owned();
    let table = agent(&changing.text.lock().unwrap());
    let without = |text: &str| text.replace(&agent(text), "");
    assert_eq!(changing.change(without).await, [0, 0, 1]);
    changing.stage.say(2, "is anybody there?").await;
    changing.stage.blocks(3).await;
    changing.open();
    let handled = |stage: &Stage| {
        let inbox = stage.inbox();
        inbox.len() == 1 && inbox.iter().all(|item| item.state == "handled")
    };
    changing
        .stage
        .until("the first to be handled", handled)
        .await;
    // Its answer waits for its key, which was removed.
    let outbox = changing.stage.outbox();
    assert_eq!((outbox.len(), outbox[0].state.as_str()), (1, "queued"));

    // Hosted again, it sends the pending answer and receives new messages.
    assert_eq!(
        changing.change(|text| format!("{text}{table}")).await,
        [1, 0, 0]
    );
    changing.stage.say(2, "welcome back").await;
    changing
        .stage
        .until("two answers", |stage| stage.said().len() == 2)
        .await;
    changing.stage.blocks(3).await;
    assert_eq!(changing.stage.said(), ["\"old\"", "\"old\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_was_given_its_configuration_keeps_it() {
    let stage = Stage::set(r#"{ kind = "counter" }"#, "", "");
    let refused = Client::new(&stage.store).reload(Vec::new()).await;
    match refused.unwrap_err() {
        ControlError::Refused(OperationError::NotApplied(reasons)) => {
            assert!(
                reasons[0].contains("not started from a file"),
                "{reasons:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    stage.say(2, "one more").await;
    stage
        .until("an answer", |stage| stage.said().len() == 1)
        .await;
}
