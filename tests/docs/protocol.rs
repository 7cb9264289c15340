//! Checks `docs/protocol.md` against `agentry-protocol`: every example parses as the command of its
//! section, every bound is the code's, every test vector is reproduced.

mod bounds;
mod other_language;
mod vectors;

use std::collections::BTreeSet;

use agentry_protocol::{
    Command, CommandError, Envelope, HeaderError, Json, KnownCommand, Limits, Payload, Timestamp,
    command, header, message,
};
use serde_json::Value;

use crate::page::{Block, Page, pages};

/// A parameter, as described in its table.
#[derive(Debug)]
struct Parameter {
    /// Its key; within an object, the object's key, a dot and its own.
    name: String,
    must: bool,
    holds: String,
}

/// A section of the page, under one heading.
#[derive(Debug)]
struct Section {
    heading: String,
    page: Page,
}

impl Section {
    /// Its examples of messages.
    fn examples(&self) -> Vec<Value> {
        let blocks = self.page.blocks().into_iter();
        blocks
            .filter(|block| block.language == "json")
            .map(|block| read(&block))
            .collect()
    }

    /// The rows of the table whose first column has this name, without the heading.
    fn table(&self, first: &str) -> Vec<Vec<String>> {
        let cells = |line: &str| -> Vec<String> {
            let line = line.trim().trim_start_matches('|').trim_end_matches('|');
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let prose = self.page.prose();
        prose
            .iter()
            .map(|(_, line)| *line)
            .skip_while(|line| !line.starts_with(&format!("| {first} |")))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(cells)
            .collect()
    }

    fn parameters(&self, first: &str) -> Vec<Parameter> {
        let rows = self.table(first).into_iter();
        rows.map(|row| Parameter {
            name: code(&row[0]),
            must: match row[1].as_str() {
                "yes" => true,
                "no" => false,
                other => panic!("{}: neither yes nor no: {other}", self.heading),
            },
            holds: row[2].clone(),
        })
        .collect()
    }
}

/// The text in backticks.
fn code(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn read(block: &Block) -> Value {
    serde_json::from_str(&block.text)
        .unwrap_or_else(|error| panic!("docs/protocol.md:{}: {error}", block.line))
}

fn page() -> Page {
    let mut found = pages().into_iter();
    found
        .find(|page| page.path.ends_with("docs/protocol.md"))
        .unwrap()
}

/// The page, cut at its headings.
fn sections() -> Vec<Section> {
    let page = page();
    let mut sections: Vec<Section> = Vec::new();
    let mut fenced = false;
    for line in page.text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if !fenced && line.starts_with('#') {
            sections.push(Section {
                heading: line.trim_start_matches('#').trim().to_owned(),
                page: Page {
                    path: page.path.clone(),
                    text: String::new(),
                },
            });
        } else if let Some(section) = sections.last_mut() {
            section.page.text.push_str(line);
            section.page.text.push('\n');
        }
    }
    sections
}

fn section(heading: &str) -> Section {
    let mut sections = sections().into_iter();
    sections
        .find(|section| section.heading == heading)
        .unwrap_or_else(|| panic!("docs/protocol.md has no heading {heading:?}"))
}

/// The commands' sections.
fn commands() -> Vec<Section> {
    KnownCommand::NAMES
        .iter()
        .map(|name| section(name))
        .collect()
}

fn json(value: &Value) -> Json {
    Json::parse(value.to_string().as_bytes(), Limits::default()).unwrap()
}

fn command(value: &Value) -> Command {
    let Payload::Command(command) = Payload::read(&json(value)) else {
        panic!("not a command: {value}");
    };
    command
}

fn known(value: &Value) -> Result<KnownCommand, CommandError> {
    KnownCommand::read(&command(value))
        .map(|known| known.unwrap_or_else(|| panic!("not a known command: {value}")))
}

/// The keys of an object, and with dots those of the inner objects that a table lists.
fn keys(object: &Value, within: &str, listed: &[Parameter], found: &mut BTreeSet<String>) {
    for (key, value) in object.as_object().unwrap() {
        let name = if within.is_empty() {
            key.clone()
        } else {
            format!("{within}.{key}")
        };
        let listed_within = |one: &Parameter| one.name.starts_with(&format!("{name}."));
        if listed.iter().any(listed_within) {
            keys(value, &name, listed, found);
        }
        found.insert(name);
    }
}

#[test]
fn every_command_is_described_with_an_example() {
    let listed = section("Commands").table("`cmd`");
    let listed: Vec<String> = listed
        .iter()
        .map(|row| code(row[0].split(']').next().unwrap().trim_start_matches('[')))
        .collect();
    assert_eq!(listed, KnownCommand::NAMES);
    let answers: Vec<String> = section("Commands")
        .table("`cmd`")
        .iter()
        .filter(|row| row[1] == "answers")
        .map(|row| code(row[0].split(']').next().unwrap().trim_start_matches('[')))
        .collect();
    let names = KnownCommand::NAMES.into_iter();
    let known_answers: Vec<&str> = names
        .filter(|name| KnownCommand::names_answer(name))
        .collect();
    assert_eq!(answers, known_answers);

    for section in commands() {
        let name = &section.heading;
        let examples = section.examples();
        assert!(!examples.is_empty(), "{name} has no example");
        let parameters = section.parameters("parameter");
        let mut used = BTreeSet::new();
        for example in &examples {
            let read = known(example).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(read.name(), name);
            // Bare, and as it is sent: the same message.
            let bare = Envelope::read(&json(example));
            let sent = Envelope::read(&Json::string(example.to_string()));
            assert_eq!(bare, sent, "{name}");
            assert_eq!(bare.header_error(), None, "{name}");
            keys(example, "", &parameters, &mut used);
            // Writing it gives the example again, so nothing in it was ignored.
            let mut written: Value = serde_json::from_str(&read.body().to_compact()).unwrap();
            if let Some(msg) = example.get("msg") {
                written["msg"] = msg.clone();
            }
            let mut example = example.clone();
            // Lists may be left out, but are always written.
            for parameter in parameters
                .iter()
                .filter(|one| one.holds.starts_with("list"))
            {
                let list = example.as_object_mut().unwrap();
                list.entry(parameter.name.clone())
                    .or_insert(Value::Array(Vec::new()));
            }
            assert_eq!(written, example, "{name}");
        }
        let listed: BTreeSet<String> = parameters.iter().map(|one| one.name.clone()).collect();
        used.remove("cmd");
        used.remove("msg");
        assert_eq!(
            listed, used,
            "{name}: what is listed, what the examples use"
        );
    }
}

#[test]
fn every_payload_is_read_as_in_the_table() {
    let rows = section("Reading a payload").table("payload");
    assert!(rows.len() > 10, "the table was not found");
    for row in rows {
        let payload: Json = code(&row[0]).parse().unwrap();
        let read = match Payload::read(&payload) {
            Payload::Command(_) => "command",
            Payload::Text(_) => "text",
            Payload::Opaque(_) => "opaque",
        };
        assert_eq!(read, row[1], "{}", row[0]);
    }
    // The encoding of a text.
    let braces = Payload::Text(r#"{"text":"ping"}"#.into());
    let sent = message::compose(&braces, None).unwrap();
    assert_eq!(sent, Json::string(r#"{"text":"ping"}"#));
    let command_like = Payload::Text(r#"{"cmd":"PING"}"#.into());
    let sent = message::compose(&command_like, None).unwrap();
    assert!(sent.root().is_object());
    assert_eq!(Payload::read(&sent), command_like);
}

#[test]
fn the_header_is_as_described() {
    let section = section("The header");
    let fields = section.parameters("field");
    let [example] = section.examples().try_into().unwrap();
    let msg = &example["msg"];
    let listed: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let used: Vec<&String> = msg.as_object().unwrap().keys().collect();
    assert_eq!(
        listed.iter().copied().collect::<BTreeSet<_>>(),
        used.iter().map(|key| key.as_str()).collect()
    );
    let envelope = Envelope::read(&json(&example));
    let header = envelope.header().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&header.to_json().to_compact()).unwrap(),
        *msg,
        "a field of the example was ignored"
    );
    let refused = |msg: Value| {
        let mut message = example.clone();
        message["msg"] = msg;
        Envelope::read(&json(&message)).header.err()
    };
    for field in &fields {
        let without = |value: Option<Value>| {
            let mut msg = msg.clone();
            match value {
                Some(value) => msg[&field.name] = value,
                None => drop(msg.as_object_mut().unwrap().remove(&field.name)),
            }
            refused(msg)
        };
        assert_eq!(without(None).is_some(), field.must, "{}", field.name);
        for (value, taken) in bounds::of(&field.holds) {
            let error = without(Some(value.clone()));
            let shown: String = value.to_string().chars().take(40).collect();
            assert_eq!(error.is_none(), taken, "{}: {shown}: {error:?}", field.name);
        }
    }
    // An unreadable header means what the table says.
    assert_eq!(refused(Value::Null), None);
    let unknown = refused(serde_json::json!({"v": 2, "id": 7})).unwrap();
    assert!(unknown.is_unknown_version());
    let broken = refused(serde_json::json!({"v": 1, "id": 7})).unwrap();
    assert!(!broken.is_unknown_version());
    assert_eq!(refused(Value::from(7)), Some(HeaderError::NotAnObject));
    for (msg, opaque) in [
        (serde_json::json!({"v": 2}), false),
        (serde_json::json!({"v": 1, "exp": "soon"}), true),
        (serde_json::json!(7), true),
    ] {
        let payload = json(&serde_json::json!({"text": "t", "msg": msg}));
        let place = (
            "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7"
                .parse()
                .unwrap(),
            "ait13b6a27bcceb6a42d62a3a8d02a6f0d7365321577"
                .parse()
                .unwrap(),
        );
        let message = agentry_sdk::Message::read(
            agentry_protocol::TransactionHash::of(b""),
            agentry_protocol::MessageDigest::of(b""),
            place,
            &payload,
            agentry_protocol::BlockHeight(1),
            agentry_protocol::Authenticity::Verified,
        );
        assert_eq!(matches!(message.payload, Payload::Opaque(_)), opaque);
        assert_eq!(message.header, None);
    }
}

#[test]
fn every_bound_of_a_parameter_is_the_code_s() {
    let mut tried = 0;
    for section in commands() {
        let name = &section.heading;
        // The example with the most parameters.
        let example = section
            .examples()
            .into_iter()
            .max_by_key(|example| example.as_object().unwrap().len())
            .unwrap();
        for parameter in section.parameters("parameter") {
            let mut without = example.clone();
            bounds::set(&mut without, &parameter.name, None);
            assert_eq!(
                known(&without).is_err(),
                parameter.must,
                "{name} without {}",
                parameter.name
            );
            for (value, taken) in bounds::of(&parameter.holds) {
                let mut changed = example.clone();
                bounds::set(&mut changed, &parameter.name, Some(value.clone()));
                if parameter.name == "result" {
                    // A part of a longer result, so it need not match a hash.
                    bounds::set(&mut changed, "result_bytes", Some(u64::MAX.into()));
                }
                if parameter.name == "result_bytes" && name == "JOB_COMPLETE" {
                    let of_nothing = agentry_protocol::ContentHash::of(b"").to_string();
                    bounds::set(&mut changed, "result", Some("".into()));
                    bounds::set(&mut changed, "result_sha256", Some(of_nothing.into()));
                }
                let read = known(&changed);
                let shown: String = value.to_string().chars().take(40).collect();
                assert_eq!(
                    read.is_ok(),
                    taken,
                    "{name}, {}, which holds {}: {shown}: {read:.200?}",
                    parameter.name,
                    parameter.holds
                );
                tried += 1;
            }
        }
    }
    // The words of an acknowledgment are complete.
    let [status, _] = section("ACK").parameters("parameter").try_into().unwrap();
    let words = status.holds.strip_prefix("one of ").unwrap().to_owned();
    let listed: Vec<String> = words.split(", ").map(code).collect();
    let all = command::AckStatus::ALL.into_iter();
    let all: Vec<&str> = all
        .map(command::AckStatus::as_str)
        .chain(["READY"])
        .collect();
    assert_eq!(listed, all);
    // Length and hash of a whole result must match it.
    let [complete] = section("JOB_COMPLETE").examples().try_into().unwrap();
    for (key, value) in [
        ("result_sha256", Value::from("0".repeat(64))),
        ("result_bytes", 34.into()),
        ("result", "A fork is two blocks of one height!".into()),
    ] {
        let mut changed = complete.clone();
        bounds::set(&mut changed, key, Some(value));
        assert!(known(&changed).is_err(), "{key}");
    }
    assert!(
        tried > 150,
        "{tried} values are too few: the search is broken"
    );
}

#[test]
fn the_limits_are_the_code_s() {
    let expected: [(&str, u64); 17] = [
        ("MAX_PAYLOAD_BYTES", message::MAX_PAYLOAD_BYTES as u64),
        ("PLAINTEXT_MAX", command::PLAINTEXT_MAX as u64),
        ("MAX_ID_AGE_MS", header::MAX_ID_AGE_MS),
        ("MAX_ID_AHEAD_MS", header::MAX_ID_AHEAD_MS),
        ("MAX_TIME_MS", Timestamp::MAX_STATED.get()),
        ("CARD_MAX_AHEAD_MS", command::CARD_MAX_AHEAD_MS),
        ("THREAD_MAX", header::THREAD_MAX as u64),
        (
            "AGENT_NAME_MAX",
            agentry_protocol::bounded::AGENT_NAME_MAX as u64,
        ),
        ("WORD_MAX", command::WORD_MAX as u64),
        ("TAGS_MAX", command::TAGS_MAX as u64),
        ("DESCRIPTION_MAX", command::DESCRIPTION_MAX as u64),
        ("DETAIL_MAX", command::DETAIL_MAX as u64),
        ("PROMPT_MAX", command::PROMPT_MAX as u64),
        ("PARAMS_MAX", command::PARAMS_MAX as u64),
        ("PARAMS_MAX_DEPTH", command::PARAMS_MAX_DEPTH as u64),
        ("MODEL_MAX", command::MODEL_MAX as u64),
        ("RESULT_MAX", command::RESULT_MAX as u64),
    ];
    let found: Vec<(String, u64)> = section("Limits")
        .table("limit")
        .iter()
        .map(|row| (code(&row[0]), bounds::number(&row[1])))
        .collect();
    let expected: Vec<(String, u64)> = expected
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(found, expected);
    // The limits in sentences.
    let text = page().text;
    let lines = text.lines().filter(|line| !line.starts_with('|'));
    let sentences: String = lines.collect::<Vec<_>>().join("\n");
    let limits = Limits::default();
    for number in [
        limits.max_bytes as u64,
        limits.max_depth as u64,
        header::MAX_ID_AGE_MS,
        header::MAX_ID_AHEAD_MS,
        Timestamp::MAX_STATED.get(),
        command::PLAINTEXT_MAX as u64,
    ] {
        let spelled = bounds::spelled(number);
        assert!(sentences.contains(&spelled), "{spelled} is not on the page");
    }
    assert!(text.contains(command::SUITE));
}
