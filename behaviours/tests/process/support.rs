//! Programs, messages and contexts for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_sdk::protocol::{
    Address, BlockHeight, Json, MessageDigest, Timestamp, TransactionHash,
};
use agentry_sdk::testing::TestEnvironment;
use agentry_sdk::{
    AnyBehaviour, Authenticity, BehaviourError, BuildError, Context, Effect, Effects, Event,
    Message, State,
};
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The beginning of a program in sh: functions to say that it is ready, to read an event and to
/// answer it.
const SH: &str = r#"
read -r hello || exit 0
ready() { echo '{"type":"ready","protocol":1}'; }
event() {
    while read -r line; do
        case $line in '{"type":"event"'*|'{"type":"execute"'*)
            id=$(printf '%.60s' "$line" | sed 's/^{"type":"[a-z]*","id":\([0-9]*\).*/\1/')
            return 0 ;;
        esac
    done
    exit 0
}
answer() {
    printf '{"type":"effects","id":%s,"effects":[{"do":"reply","text":"%s"}]}\n' "$id" "$1"
}
"#;

pub(crate) fn address(text: &str) -> Address {
    Address::from_chain(text).unwrap()
}

/// The settings of a program in sh, which is shown every message.
pub(crate) fn sh(script: &str) -> Value {
    json!({
        "program": "sh",
        "args": ["-c", format!("{SH}{script}")],
        "demands": "unverified",
        "grace": "200ms",
        "restart_min": "10ms",
    })
}

/// The settings with one more key.
pub(crate) fn with(mut settings: Value, key: &str, value: impl Into<Value>) -> Value {
    settings
        .as_object_mut()
        .unwrap()
        .insert(key.to_owned(), value.into());
    settings
}

pub(crate) fn build_in(
    folder: &Path,
    settings: &Value,
) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
    let settings = settings.as_object().unwrap().clone();
    agentry_behaviours::builtins().build("process", settings, folder)
}

pub(crate) fn build(settings: &Value) -> Arc<dyn AnyBehaviour> {
    build_in(Path::new(""), settings).unwrap()
}

/// The folder of the Python examples.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python")
}

/// The folder of the Python package.
pub(crate) fn python() -> PathBuf {
    let found = std::process::Command::new("python3")
        .arg("--version")
        .output();
    assert!(
        found.is_ok_and(|found| found.status.success()),
        "these tests need python3 in PATH"
    );
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/src")
}

/// The settings of a Python program that is given on the command line.
pub(crate) fn python_program(text: &str) -> Value {
    json!({
        "program": "python3",
        "args": ["-c", text],
        "env": { "PYTHONPATH": python().to_str().unwrap(), "PYTHONDONTWRITEBYTECODE": "1" },
        "restart_min": "10ms",
    })
}

/// A message with this payload.
pub(crate) fn message(payload: &str) -> Message {
    let payload: Json = payload.parse().unwrap();
    let text = payload.to_compact();
    Message::read(
        TransactionHash::of(text.as_bytes()),
        MessageDigest::of(text.as_bytes()),
        (address("ait1sender"), address("ait1agent")),
        &payload,
        BlockHeight(7),
        Authenticity::Verified,
    )
}

/// A text.
pub(crate) fn text(text: &str) -> Event {
    Event::Message(Arc::new(message(&json!(text).to_string())))
}

pub(crate) fn context_in(environment: TestEnvironment) -> Context {
    Context {
        agent: "worker".to_owned(),
        address: address("ait1agent"),
        behaviour: "process".to_owned(),
        attempt: 1,
        now: Timestamp::new(1_795_000_000_000),
        state: State::default(),
        environment: Arc::new(environment),
    }
}

pub(crate) fn context() -> Context {
    context_in(TestEnvironment::new())
}

/// The result of a run for a text.
pub(crate) async fn ask(
    behaviour: &Arc<dyn AnyBehaviour>,
    said: &str,
) -> Result<Effects, BehaviourError> {
    let (event, context) = (text(said), context());
    let run = behaviour.on_event(&event, &context);
    tokio::time::timeout(PATIENCE, run)
        .await
        .expect("the run ends in time")
}

/// The text of a reply, which must be the only effect.
pub(crate) fn reply(effects: &Effects) -> &str {
    match effects.as_slice() {
        [Effect::Reply(outgoing)] => match &outgoing.payload {
            agentry_sdk::protocol::Payload::Text(text) => text,
            other => panic!("replied {other:?}"),
        },
        other => panic!("asked for {other:?}"),
    }
}

/// Repeats the run until it succeeds, for a program that is being restarted.
pub(crate) async fn ask_until(behaviour: &Arc<dyn AnyBehaviour>, said: &str) -> Effects {
    let begun = Instant::now();
    loop {
        match ask(behaviour, said).await {
            Ok(effects) => return effects,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                assert!(begun.elapsed() < PATIENCE, "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Repeats the run until it is answered, with a short time limit for each, as the runtime does. The
/// limits grow, for busy machines.
pub(crate) async fn ask_patiently(behaviour: &Arc<dyn AnyBehaviour>, said: &str) -> Effects {
    let begun = Instant::now();
    let (event, context) = (text(said), context());
    let mut moment = Duration::from_millis(500);
    loop {
        let run = behaviour.on_event(&event, &context);
        match tokio::time::timeout(moment, run).await {
            Ok(Ok(effects)) => return effects,
            Ok(Err(error)) => assert!(error.is_transient(), "{error}"),
            Err(_) => {}
        }
        assert!(begun.elapsed() < PATIENCE, "the program does not recover");
        moment *= 2;
    }
}

/// Waits until a file has this many complete lines.
pub(crate) async fn lines(path: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", path.display()), || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.matches('\n').count();
        (whole >= count).then(|| text.lines().map(str::to_owned).collect())
    })
    .await
}

/// Waits until a process has ended.
pub(crate) async fn gone(pid: &str) {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    until(&format!("the end of process {pid:?}"), || {
        // No process here waits for an orphaned descendant that was killed.
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let zombie = std::fs::read_to_string(stat).is_ok_and(|stat| stat.contains(") Z "));
        (zombie || test_kill_process(pid).is_err()).then_some(())
    })
    .await;
}

async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
