//! Tasks that this runtime executes.

use agentry_protocol::ContentHash;
use agentry_store::Reader;
use agentry_store::list::task::{self, ExecutingFilter, ExecutingItem};
use serde_json::{Value, json};

use super::super::output::{moment, printable, printable_lines};
use super::super::{Context, Failure};
use super::job::is_name;
use super::or_dash;
use crate::config::Config;

/// Finds the task with this name; `None` if there is none.
pub(super) fn find(db: &Reader, name: &str) -> Result<Option<ExecutingItem>, Failure> {
    let filter = match row(name) {
        Some(row) => ExecutingFilter {
            row: Some(row),
            limit: 1,
            ..ExecutingFilter::default()
        },
        None if is_name(name) => ExecutingFilter {
            asked_by: Some(name.to_ascii_lowercase()),
            limit: 1,
            ..ExecutingFilter::default()
        },
        None => return Ok(None),
    };
    Ok(task::executing(db, &filter)?.pop())
}

/// The row number in a name such as `task/7`.
pub(super) fn row(name: &str) -> Option<i64> {
    name.strip_prefix("task/")?.parse().ok()
}

/// Why a task cannot be executed: its agent or its behaviour was removed from agents.toml.
pub(super) fn waits_for(item: &ExecutingItem, config: &Config) -> Option<String> {
    if item.state != "submitted" && item.state != "working" {
        return None;
    }
    let agent = config.agents.iter().find(|one| one.name == item.agent);
    let fleet = || {
        let (fleet, _) = item.agent.split_once('/')?;
        config.fleets.iter().find(|one| one.name == fleet)
    };
    let behaviours = agent
        .map(|agent| &agent.behaviours)
        .or_else(|| fleet().map(|fleet| &fleet.behaviours));
    match behaviours {
        None => Some(format!(
            "agent {} was removed from {}",
            item.agent, config.file
        )),
        Some(behaviours) if behaviours.iter().all(|one| one.name != item.behaviour) => {
            Some(format!(
                "behaviour {} of agent {} was removed from {}",
                item.behaviour, item.agent, config.file
            ))
        }
        Some(_) => None,
    }
}

/// The task as JSON.
pub(super) fn as_json(item: &ExecutingItem, config: &Config) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(item)
        .map_err(|error| Failure::internal(format!("writing JSON: {error}")))?;
    if let Some(object) = value.as_object_mut() {
        let input = serde_json::from_str(&item.input).unwrap_or(Value::Null);
        object.insert("input".to_owned(), input);
        object.insert("incomplete".to_owned(), json!(incomplete(item)));
        object.insert("waits_for".to_owned(), json!(waits_for(item, config)));
    }
    Ok(value)
}

/// Progress of the task.
pub(super) fn progress(item: &ExecutingItem) -> String {
    match (item.progress, &item.note) {
        (Some(part), Some(note)) => format!("{:.0} %: {}", part * 100.0, printable(note, 60)),
        (Some(part), None) => format!("{:.0} %", part * 100.0),
        (None, _) => "-".to_owned(),
    }
}

/// Why its result is incomplete, as one word.
fn incomplete(item: &ExecutingItem) -> Option<&str> {
    item.error_code
        .as_deref()
        .filter(|_| item.state == "completed")
}

/// The error of the task or of its last attempt, for the operator, up to a maximum length in
/// characters.
pub(super) fn failure(item: &ExecutingItem, most: usize) -> Option<String> {
    let code = item.error_code.as_deref()?;
    if incomplete(item).is_some() {
        return None;
    }
    let sentence = item.error.as_deref().unwrap_or_default();
    Some(format!(
        "{}: {}",
        printable(code, 64),
        printable(sentence, most)
    ))
}

/// Prints one task, with the beginning of its result.
pub(super) fn show(
    item: &ExecutingItem,
    result: Option<&str>,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let sha256 = result.map(|result| ContentHash::of(result.as_bytes()).to_string());
    let out = context.output;
    if out.is_json() {
        let mut value = as_json(item, config)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("result".to_owned(), json!(result));
            object.insert("result_sha256".to_owned(), json!(sha256));
        }
        return out.json(&value);
    }
    let mut fields = vec![
        ("id", item.id.clone()),
        ("state", item.state.clone()),
        ("agent", item.agent.clone()),
        ("behaviour", item.behaviour.clone()),
        ("type", printable(&item.kind, 64)),
        ("submitter", or_dash(item.submitter.as_deref())),
        ("requested by", or_dash(item.transaction.as_deref())),
        ("accepted", moment(item.made_at)),
        ("began", or_dash(item.started_at.map(moment))),
        ("deadline", or_dash(item.deadline.map(moment))),
        ("ended", or_dash(item.ended_at.map(moment))),
        (
            "attempts",
            match item.interrupted {
                0 => item.attempts.to_string(),
                count => format!("{}, {count} ended with the process", item.attempts),
            },
        ),
        ("progress", progress(item)),
        ("input", printable(&item.input, 500)),
    ];
    if let Some(waits) = waits_for(item, config) {
        fields.push(("waits", waits));
    } else if item.state == "submitted" && item.attempts > 0 {
        fields.push(("again at", moment(item.due_at)));
    }
    if let Some(failure) = failure(item, 4096) {
        fields.push(("failure", failure));
    }
    if let (Some(result), Some(sha256)) = (result, sha256) {
        let incomplete = incomplete(item).map_or_else(String::new, |why| {
            format!(", incomplete: {}", printable(why, 64))
        });
        fields.push((
            "result",
            format!(
                "{} bytes, {}{incomplete}",
                result.len(),
                or_dash(item.media_type.as_deref())
            ),
        ));
        fields.push(("sha256", sha256));
    }
    out.fields(&fields)?;
    if let Some(result) = result {
        out.line("")?;
        out.line(printable_lines(result, 2000))?;
        if result.chars().nth(2000).is_some() {
            out.line(format!(
                "`agentry task show {} --result` prints all of it",
                item.id
            ))?;
        }
    }
    Ok(())
}
