//! Kinds are found by name, and their settings are checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_sdk::protocol::Timestamp;
use agentry_sdk::testing::{MessageBuilder, Party, TestEnvironment, block_on};
use agentry_sdk::{
    Authenticity, Behaviour, BehaviourError, BuildError, ConfigureError, Context, Desk, Effects,
    Event, Executor, Message, Registry, Settlement, Setup, State, Task, TaskError, TaskLimits,
    TaskOutput, Timer, Tokens,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Debug)]
struct Reader {
    file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReaderSettings {
    file: String,
    helper: Option<String>,
}

impl Behaviour for Reader {
    const KIND: &'static str = "reader";
    type Settings = ReaderSettings;

    fn configure(settings: ReaderSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.file.is_empty() {
            return Err(ConfigureError("`file` is empty".to_owned()));
        }
        if let Some(kind) = settings.helper {
            setup
                .executor(&kind, Map::new())
                .map_err(|error| ConfigureError(error.to_string()))?;
        }
        Ok(Self {
            file: setup.path(settings.file),
        })
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text() == Some("read")
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none().reply(self.file.display().to_string()))
    }
}

#[derive(Debug)]
struct Helper;

impl Executor for Helper {
    const KIND: &'static str = "helper";
    type Settings = Map<String, Value>;

    fn configure(settings: Self::Settings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.is_empty() {
            Ok(Self)
        } else {
            Err(ConfigureError("it has no keys".to_owned()))
        }
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        desk.progress(7.0, None);
        Ok(TaskOutput::text(&task.key))
    }
}

fn registry() -> Registry {
    Registry::new().with::<Reader>().with_executor::<Helper>()
}

fn build(kind: &str, settings: Value) -> Result<Arc<dyn agentry_sdk::AnyBehaviour>, BuildError> {
    let Value::Object(settings) = settings else {
        panic!("settings are an object");
    };
    registry().build(kind, settings, Path::new("/etc/agents"))
}

fn context() -> Context {
    Context {
        agent: "agent".to_owned(),
        address: Party::named("agent").address,
        behaviour: "reader".to_owned(),
        attempt: 1,
        now: Timestamp::EPOCH,
        state: State::default(),
        environment: Arc::new(TestEnvironment::new()),
    }
}

#[test]
fn paths_are_relative_to_the_configuration() {
    let reader = build("reader", json!({ "file": "notes.txt" })).unwrap();
    assert_eq!(reader.kind(), "reader");
    let event = Event::Message(Arc::new(MessageBuilder::text("read").build()));
    let effects = block_on(reader.on_event(&event, &context())).unwrap();
    assert_eq!(effects, Effects::none().reply("/etc/agents/notes.txt"));
    let absolute = build("reader", json!({ "file": "/notes.txt" })).unwrap();
    assert!(format!("{absolute:?}").contains("\"/notes.txt\""));
    assert_eq!(Setup::default().path("x"), Path::new("x"));
}

#[test]
fn invalid_kinds_and_settings_are_refused() {
    for (kind, settings, reason) in [
        (
            "writer",
            json!({}),
            "unknown behaviour kind \"writer\"; this binary knows reader",
        ),
        ("reader", json!({}), "missing field `file`"),
        (
            "reader",
            json!({ "file": "x", "fil": "y" }),
            "unknown field `fil`, expected `file` or `helper`",
        ),
        ("reader", json!({ "file": 7 }), "invalid type: integer `7`"),
        ("reader", json!({ "file": "" }), "`file` is empty"),
        (
            "reader",
            json!({ "file": "x", "helper": "nobody" }),
            "unknown executor \"nobody\"; this binary knows helper",
        ),
    ] {
        let error = build(kind, settings).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn executors_are_kinds_too() {
    assert_eq!(registry().kinds(), ["reader"]);
    assert_eq!(registry().executors(), ["helper"]);
    let settings = json!({ "file": "x", "helper": "helper" });
    assert!(build("reader", settings).is_ok());
    let registry = registry();
    let setup = Setup::new(Path::new(""), &registry);
    let helper = setup.executor("helper", Map::new()).unwrap();
    assert_eq!(helper.kind(), "helper");
    let keys = Map::from_iter([("key".to_owned(), json!(1))]);
    let refused = setup.executor("helper", keys).unwrap_err();
    assert_eq!(
        refused,
        BuildError::Refused(ConfigureError("it has no keys".to_owned()))
    );

    let (tell, told) = std::sync::mpsc::channel();
    let desk = Desk::new(move |progress, note| tell.send((progress, note)).unwrap());
    let output = block_on(helper.execute(&task(), &desk)).unwrap();
    assert_eq!(output, TaskOutput::text("key"));
    // Progress is clamped to 0 to 1.
    assert_eq!(told.recv(), Ok((1.0, None)));
}

fn task() -> Task {
    Task {
        key: "key".to_owned(),
        kind: "kind".to_owned(),
        input: Value::Null,
        deadline: None,
        agent: "agent".to_owned(),
        submitter: None,
        attempt: 1,
        idempotency_key: "51ab".repeat(10),
        answers: Vec::new(),
        tokens: Tokens::default(),
    }
}

#[test]
fn default_handlers_return_no_effects() {
    let reader = build("reader", json!({ "file": "x" })).unwrap();
    let message = Arc::new(MessageBuilder::text("read").build());
    assert_eq!(reader.demands(), Authenticity::Verified);
    assert!(!reader.demands_seal());
    assert!(!reader.watches(&message));
    assert!(reader.accepts(&message));
    assert!(reader.commands().is_empty() && reader.capabilities().is_empty());
    assert_eq!(reader.task_limits("any"), TaskLimits::default());
    let timer = Timer {
        name: "t".to_owned(),
        data: Value::Null,
        due_at: Timestamp::EPOCH,
    };
    for event in [
        Event::Timer(timer),
        Event::Settled(message, Settlement::Done),
    ] {
        let effects = block_on(reader.on_event(&event, &context()));
        assert_eq!(effects, Ok(Effects::none()));
    }
    let desk = Desk::new(|_, _| {});
    let error = block_on(reader.execute(&task(), &desk)).unwrap_err();
    assert_eq!(error.code(), "no-executor");
    assert!(!error.is_transient());
}
