//! The `behaviours` of an agent or a fleet.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use agentry_sdk::{AnyBehaviour, BuildError, Registry};
use serde_json::{Map, Value, json};

use super::approve::Approvals;
use super::document::{Entry, Given, Raw};
use super::error::{Origin, did_you_mean};
use super::model::{BehaviourInstance, Written};
use super::values::Reader;
use super::{names, schedules};

/// Parts of a key's name that mark its value as a secret.
const SECRET: [&str; 6] = [
    "password",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
];

/// The instances, and their form in `config show`. `owner` is, for example, `agent "ponger"`.
pub(super) fn read(
    owner: &str,
    given: &Given,
    registry: &Registry,
    reader: &mut Reader,
) -> (Vec<BehaviourInstance>, Value) {
    let Raw::List(items) = &given.raw else {
        let text = format!(
            "`behaviours` of {owner} must be a list of tables, for example \
             [{{ kind = \"pong\" }}], not {}",
            given.raw.what()
        );
        reader.report(&given.origin, text);
        return (Vec::new(), Value::Null);
    };
    let mut instances = Vec::new();
    let mut shown = Vec::new();
    let mut names = HashSet::new();
    for item in items {
        let Raw::Table(entries) = &item.raw else {
            let text = format!(
                "a behaviour of {owner} must be a table, for example {{ kind = \"pong\" }}, not {}",
                item.raw.what()
            );
            reader.report(&item.origin, text);
            continue;
        };
        let Some(instance) = instance(owner, &item.origin, entries, registry, reader) else {
            continue;
        };
        if !names.insert(instance.name.clone()) {
            let text = format!(
                "{owner} has two behaviours named {:?}; give one of them another `name`",
                instance.name
            );
            reader.report(&item.origin, text);
        }
        shown.push(show(&instance, entries));
        instances.push(instance);
    }
    (instances, Value::Array(shown))
}

fn instance(
    owner: &str,
    origin: &Origin,
    entries: &[Entry],
    registry: &Registry,
    reader: &mut Reader,
) -> Option<BehaviourInstance> {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let known = registry.kinds();
    let Some(kind_entry) = find("kind") else {
        let text = format!(
            "a behaviour of {owner} has no `kind`; known kinds: {}",
            known.join(", ")
        );
        reader.report(origin, text);
        return None;
    };
    let kind = reader.read::<String>("kind", &kind_entry.value)?;
    if !known.contains(&kind.as_str()) {
        let text = format!(
            "unknown kind {kind:?} of a behaviour of {owner}{}; known kinds: {}",
            did_you_mean(&kind, known.iter().copied()),
            known.join(", ")
        );
        reader.report(&kind_entry.value.origin, text);
        return None;
    }
    let name = match find("name") {
        None => Some(kind.clone()),
        Some(entry) => names::read("name", &entry.value, reader),
    };
    let place = format!(
        "behaviour {:?} of {owner}",
        name.as_deref().unwrap_or(&kind)
    );
    let settings = settings(&place, entries, reader)?;
    let given = find("schedules").map(|entry| &entry.value);
    let approve = find("approve").map(|entry| &entry.value);
    let mut written = settings.clone();
    if let Some(Ok(approve)) = approve.map(|given| to_json(&given.raw)) {
        written.insert("approve".to_owned(), approve);
    }
    if let Some(Ok(schedules)) = given.map(|given| to_json(&given.raw)) {
        written.insert("schedules".to_owned(), schedules);
    }
    let behaviour = build(&place, &kind, origin, entries, settings, registry, reader)?;
    let schedules = schedules::read((&place, origin), &*behaviour, given, reader);
    let content = behaviour.content();
    if !content.is_null() {
        // No behaviour has a key of this name.
        written.insert("\0content".to_owned(), content);
    }
    Some(BehaviourInstance {
        name: name?,
        kind,
        approve: approve.map_or(Approvals::NONE, |given| {
            Approvals::read(&place, given, reader)
        }),
        schedules,
        known_senders: behaviour.known_senders(),
        behaviour,
        written: Written::new(written),
    })
}

/// The behaviour's own keys, as JSON.
fn settings(place: &str, entries: &[Entry], reader: &mut Reader) -> Option<Map<String, Value>> {
    let mut settings = Map::new();
    let mut whole = true;
    for entry in entries.iter().filter(|entry| !is_ours(&entry.key)) {
        match to_json(&entry.value.raw) {
            Ok(value) => {
                settings.insert(entry.key.clone(), value);
            }
            Err(reason) => {
                reader.report(
                    &entry.value.origin,
                    format!("`{}` of {place} {reason}", entry.key),
                );
                whole = false;
            }
        }
    }
    whole.then_some(settings)
}

fn is_ours(key: &str) -> bool {
    matches!(key, "kind" | "name" | "schedules" | "approve")
}

/// Builds the behaviour. Each error is reported at the key that causes it; the build is then
/// tried again without that key, so that all errors are found.
fn build(
    place: &str,
    kind: &str,
    origin: &Origin,
    entries: &[Entry],
    mut settings: Map<String, Value>,
    registry: &Registry,
    reader: &mut Reader,
) -> Option<Arc<dyn AnyBehaviour>> {
    let mut left_out: Vec<String> = Vec::new();
    loop {
        let error = match registry.build(kind, settings.clone(), &reader.folder) {
            Ok(behaviour) => return left_out.is_empty().then_some(behaviour),
            Err(error) => error,
        };
        let text = error.to_string();
        let named = quoted(&text).next().unwrap_or_default();
        if left_out.iter().any(|key| key == named) {
            return None; // Reported as missing only because it was left out.
        }
        let culprit = if settings.contains_key(named) {
            Some(named.to_owned())
        } else {
            culprit(kind, &settings, &error, registry, &reader.folder)
        };
        let entry = entries
            .iter()
            .find(|entry| Some(&entry.key) == culprit.as_ref());
        let (at, key) = match entry {
            Some(entry) => (&entry.origin, format!(", `{}`", entry.key)),
            None => (origin, String::new()),
        };
        let hint = if text.starts_with("unknown field") {
            did_you_mean(named, quoted(&text).skip(1))
        } else {
            String::new()
        };
        reader.report(at, format!("{place}{key}: {text}{hint}"));
        let culprit = culprit?;
        settings.remove(&culprit);
        left_out.push(culprit);
    }
}

/// The one key whose removal changes the error: serde does not say where a wrong type is.
fn culprit(
    kind: &str,
    settings: &Map<String, Value>,
    error: &BuildError,
    registry: &Registry,
    folder: &Path,
) -> Option<String> {
    let mut suspects = settings.keys().filter(|key| {
        let mut without = settings.clone();
        without.remove(*key);
        registry.build(kind, without, folder).err().as_ref() != Some(error)
    });
    match (suspects.next(), suspects.next()) {
        (Some(key), None) => Some(key.clone()),
        _ => None,
    }
}

/// The parts of a text between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn to_json(raw: &Raw) -> Result<Value, String> {
    Ok(match raw {
        Raw::Text(text) | Raw::DateTime(text) => json!(text),
        Raw::Integer(integer) => json!(integer),
        Raw::Boolean(boolean) => json!(boolean),
        Raw::Float(float) if float.is_finite() => json!(float),
        Raw::Float(_) => return Err("must be a finite number".to_owned()),
        Raw::TooLarge(digits) => return Err(format!("is too large: {digits}")),
        Raw::List(items) => Value::Array(
            items
                .iter()
                .map(|item| to_json(&item.raw))
                .collect::<Result<_, _>>()?,
        ),
        Raw::Table(entries) => {
            let mut table = Map::new();
            for entry in entries {
                table.insert(entry.key.clone(), to_json(&entry.value.raw)?);
            }
            Value::Object(table)
        }
    })
}

fn show(instance: &BehaviourInstance, entries: &[Entry]) -> Value {
    let mut shown = Map::new();
    shown.insert("name".into(), json!(instance.name));
    shown.insert("kind".into(), json!(instance.kind));
    for entry in entries
        .iter()
        .filter(|entry| !matches!(entry.key.as_str(), "kind" | "name"))
    {
        let mut value = to_json(&entry.value.raw).unwrap_or_default();
        mask(&entry.key, &mut value);
        shown.insert(entry.key.clone(), value);
    }
    Value::Object(shown)
}

/// Masks values whose key names a secret, and passwords in URLs.
fn mask(key: &str, value: &mut Value) {
    let key = key.to_ascii_lowercase();
    if SECRET.iter().any(|part| key.contains(part)) && !key.ends_with("_file") {
        *value = json!("***");
        return;
    }
    match value {
        Value::String(text) if text.contains("://") => *text = super::masked(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(&key, item)),
        Value::Object(table) => table.iter_mut().for_each(|(key, value)| mask(key, value)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
