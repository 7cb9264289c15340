//! Printing of tasks that this runtime executes.

use agentry_protocol::ContentHash;
use agentry_store::list::task::ExecutingItem;
use serde_json::{Value, json};

use super::super::output::{moment, or_dash, printable, printable_lines};
use super::super::{Context, Failure};
use crate::ops::tasks::executing::ExecutingTask;

/// The task as JSON.
pub(super) fn as_json(task: &ExecutingTask) -> Result<Value, Failure> {
    task.to_json()
        .map_err(|error| Failure::internal(format!("writing JSON: {error}")))
}

/// Progress of the task.
pub(super) fn progress(item: &ExecutingItem) -> String {
    match (item.progress, &item.note) {
        (Some(part), Some(note)) => format!("{:.0} %: {}", part * 100.0, printable(note, 60)),
        (Some(part), None) => format!("{:.0} %", part * 100.0),
        (None, _) => "-".to_owned(),
    }
}

/// The tokens that models have used for the task.
fn tokens(item: &ExecutingItem) -> String {
    match (item.input_tokens, item.output_tokens) {
        (0, 0) => "-".to_owned(),
        (input, output) => format!("{input} read, {output} written"),
    }
}

/// The error of the task or of its last attempt, for the operator, up to a maximum length in
/// characters.
pub(super) fn failure(task: &ExecutingTask, most: usize) -> Option<String> {
    let (code, sentence) = task.failure()?;
    let (code, sentence) = (printable(code, 64), printable(sentence, most));
    Some(format!("{code}: {sentence}"))
}

/// Prints one task, with the beginning of its result.
pub(super) fn show(
    task: &ExecutingTask,
    result: Option<&str>,
    context: &Context,
) -> Result<(), Failure> {
    let item = &task.item;
    let sha256 = result.map(|result| ContentHash::of(result.as_bytes()).to_string());
    let out = context.output;
    if out.is_json() {
        let mut value = as_json(task)?;
        value["result"] = json!(result);
        value["result_sha256"] = json!(sha256);
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
        ("tokens", tokens(item)),
        ("progress", progress(item)),
        ("input", printable(&item.input, 500)),
    ];
    if let Some(waits) = task.waits_for.clone() {
        fields.push(("waits", waits));
    } else if item.state == "submitted" && item.attempts > 0 {
        fields.push(("again at", moment(item.due_at)));
    }
    if let Some(failure) = failure(task, 4096) {
        fields.push(("failure", failure));
    }
    if let (Some(result), Some(sha256)) = (result, sha256) {
        let incomplete = task.incomplete().map_or_else(String::new, |why| {
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
