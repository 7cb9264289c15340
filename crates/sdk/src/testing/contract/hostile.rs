//! Sample messages: common ones, and hostile ones.

use agentry_protocol::command::{ExecuteAiJob, StatusReport};
use agentry_protocol::{Json, KnownCommand, Limits, TransactionHash};
use serde_json::{Value, json};

use crate::testing::MessageBuilder;

/// A depth of nesting far beyond that of payloads that a chain serves.
const DEPTH: usize = 10_000;
/// A text that nearly fills a transaction.
const LONG: usize = 890_000;

/// Messages that well-behaved agents send.
pub(super) fn common() -> Vec<MessageBuilder> {
    let mut samples = vec![
        MessageBuilder::text("ping"),
        MessageBuilder::text("hello"),
        MessageBuilder::text("1"),
        MessageBuilder::command(&KnownCommand::Ping),
        MessageBuilder::command(&KnownCommand::StatusReport(StatusReport::default())),
    ];
    if let Ok(kind) = "text".parse() {
        let job = ExecuteAiJob {
            kind,
            prompt: "say hello".parse().ok(),
            model: None,
            params: None,
            deadline: None,
        };
        samples.push(MessageBuilder::command(&KnownCommand::ExecuteAiJob(job)).with_id());
    }
    samples
}

/// Messages that strangers may post. Each of them can be on a chain.
pub(super) fn hostile() -> Vec<MessageBuilder> {
    let mut messages: Vec<MessageBuilder> = texts().map(MessageBuilder::text).collect();
    messages.extend(opaque().into_iter().map(MessageBuilder::raw));
    messages.extend(commands().into_iter().map(MessageBuilder::raw));
    let unknown = TransactionHash::of(b"unknown");
    messages.push(MessageBuilder::text("ping").answering(unknown));
    messages.push(MessageBuilder::command(&KnownCommand::Pong).answering(unknown));
    messages.push(MessageBuilder::command(&KnownCommand::CancelJob).answering(unknown));
    messages.push(MessageBuilder::text("ping").sealed().with_id());
    messages.push(MessageBuilder::text("ping").amount(u64::MAX));
    messages
}

fn texts() -> impl Iterator<Item = String> {
    let short = [
        "",
        " ",
        "\n\r\t",
        "\u{0}\u{1b}[2J\u{7f}",
        "\u{202e}gnip\u{2066}",
        "é\u{301}\u{1f600}\u{fffd}",
        "{",
        "{\"cmd\":",
        "{{{{",
        "../../etc/passwd",
        "$(reboot); `reboot` && reboot",
        "' OR 1=1 --",
        "-9223372036854775809",
        "NaN",
    ];
    let long = ["x".repeat(LONG), "9".repeat(10_000), "ping ".repeat(10_000)];
    short.into_iter().map(str::to_owned).chain(long)
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn opaque() -> Vec<Json> {
    let deep = nested(DEPTH);
    let texts = [
        "null".to_owned(),
        "true".to_owned(),
        "0".to_owned(),
        "-1e300".to_owned(),
        format!("1{}", "0".repeat(4_000)),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"text":1}"#.to_owned(),
        r#"{"text":"a","text":"b"}"#.to_owned(),
        r#"{"cmd":"PING","cmd":"ACK"}"#.to_owned(),
        r#"{"cmd":7}"#.to_owned(),
        r#"{"text":"x","msg":"no header"}"#.to_owned(),
        r#"{"text":"x","msg":{"v":1,"exp":-1}}"#.to_owned(),
        r#"{"text":"x","msg":{"v":1,"id":"7"}}"#.to_owned(),
        r#"{"text":"x","msg":{"v":99}}"#.to_owned(),
        format!(r#"{{"text":"x","msg":{deep}}}"#),
        format!(r#"{{"cmd":"EXECUTE_AI_JOB","type":"text","params":{deep}}}"#),
        deep,
    ];
    texts
        .iter()
        .filter_map(|text| Json::parse(text.as_bytes(), Limits::NONE).ok())
        .collect()
}

/// Known commands with invalid parameters, and unknown commands.
fn commands() -> Vec<Json> {
    let parameters = [
        "status",
        "detail",
        "priority",
        "type",
        "prompt",
        "model",
        "params",
        "deadline",
        "result_id",
        "progress",
        "note",
        "result",
        "result_bytes",
        "error",
        "name",
        "capabilities",
        "expires",
        "suite",
        "enc",
        "ct",
        "agent",
        "queue",
    ];
    let values = [
        json!(-1),
        json!(""),
        json!({ "deep": [[[{}]]] }),
        json!("y".repeat(2_000)),
    ];
    let foreign = ["", "ping", "Ping", "DROP TABLE agents", "\u{0}", "é"];
    let long = "C".repeat(100_000);
    let mut commands = Vec::new();
    for cmd in KnownCommand::NAMES
        .into_iter()
        .chain(foreign)
        .chain([long.as_str()])
    {
        commands.push(json!({ "cmd": cmd }));
        for value in &values {
            let mut body: serde_json::Map<String, Value> = parameters
                .iter()
                .map(|name| ((*name).to_owned(), value.clone()))
                .collect();
            body.insert("cmd".to_owned(), json!(cmd));
            commands.push(Value::Object(body));
        }
    }
    commands
        .iter()
        .filter_map(|command| Json::from_serialize(command).ok())
        .collect()
}
