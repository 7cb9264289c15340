//! `agentry task show`.

use agentry_store::list::task;
use clap::Args;

use super::super::output::{moment, or_dash, printable, printable_lines};
use super::super::{Context, Failure};
use super::{IdArgs, executing, open};
use crate::config::Config;
use crate::ops::tasks::job::{self, Job};
use crate::ops::tasks::{self, TaskError};

/// Maximum length of a printed prompt or result, in characters.
const SHOWN: usize = 2000;

/// Arguments of `task show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    id: IdArgs,
    /// Prints only the result, byte for byte; of a task executed here, the whole result
    #[arg(long)]
    result: bool,
    /// Prints the task executed here, if the same runtime also requested it
    #[arg(long)]
    executing: bool,
}

pub(super) async fn run(
    args: &ShowArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let db = open(config)?;
    let id = args.id.id.trim();
    let job = if args.executing {
        None
    } else {
        job::find(&db, id, &mut tasks::opener(config)).await?
    };
    if let Some(job) = job {
        return if args.result {
            print_result(&job, context)
        } else {
            show(&job, context)
        };
    }
    let task = tasks::executing::find(&db, id, config)?;
    let task = task.ok_or_else(|| TaskError::unknown(id, config))?;
    let result = task::result(&db, task.row)?;
    if args.result {
        return match result {
            Some(result) => context.output.exact(&result),
            None => Err(Failure::no_input(format!(
                "{} has no result: it is {}",
                task.item.id, task.item.state
            ))),
        };
    }
    executing::show(&task, result.as_deref(), context)
}

fn print_result(job: &Job, context: &Context) -> Result<(), Failure> {
    match &job.result {
        Some(result) => {
            if !result.whole {
                tracing::warn!(
                    "the result was cut: {} of {} bytes came; `agentry task fetch {}` asks {} for the rest",
                    result.text.len(),
                    result.bytes,
                    job.id,
                    job.to
                );
            }
            context.output.exact(&result.text)
        }
        None => Err(Failure::no_input(format!(
            "{} has no result: it is {}{}",
            job.id,
            job.state.as_str(),
            closed(job)
        ))),
    }
}

/// Describes answers that could not be opened, and why.
pub(super) fn closed(job: &Job) -> String {
    job.closed_because.as_ref().map_or_else(String::new, |why| {
        format!(
            "; {} sealed answers were not opened: {}",
            job.sealed_answers,
            printable(why, 200)
        )
    })
}

/// Prints all that is known of a job.
pub(super) fn show(job: &Job, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(job);
    }
    let text =
        |text: &Option<String>| or_dash(text.as_deref().map(|text| printable_lines(text, SHOWN)));
    let mut fields = vec![
        ("id", job.id.clone()),
        ("result_id", or_dash(job.result_id.as_deref())),
        ("state", job.state.as_str().to_owned()),
        ("agent", job.agent.clone()),
        ("from", job.from.clone()),
        ("to", printable(&job.to, 200)),
        ("type", text(&job.asked.kind)),
    ];
    if job.asked.sealed {
        fields.push((
            "asked",
            "sealed: its recipient alone can read it".to_owned(),
        ));
    } else {
        fields.push(("prompt", text(&job.asked.prompt)));
        fields.push(("model", text(&job.asked.model)));
        let params = job.asked.params.as_ref().map(ToString::to_string);
        fields.push(("params", text(&params)));
        fields.push(("deadline", or_dash(job.asked.deadline.map(moment))));
    }
    fields.push(("asked at", moment(job.asked_at)));
    for carrier in &job.transactions {
        let place = match carrier.height {
            Some(height) => format!("block {height}"),
            None => carrier.state.clone(),
        };
        fields.push(("transaction", format!("{}, {place}", carrier.transaction)));
    }
    if let Some(waits) = &job.waits {
        fields.push(("waits", printable(waits, 500)));
    }
    if let Some(acknowledged) = &job.acknowledged {
        fields.push(("acknowledged", acknowledged.clone()));
    }
    if let Some(part) = job.progress {
        let note = job.note.as_deref().unwrap_or_default();
        fields.push((
            "progress",
            format!("{:.0} % {}", part * 100.0, printable(note, 200))
                .trim_end()
                .to_owned(),
        ));
    }
    if let Some(input) = &job.input {
        let answered = if input.answered { ", answered" } else { "" };
        fields.push((
            "question",
            format!(
                "{}{answered}: {}",
                input.number,
                printable_lines(&input.question, SHOWN)
            ),
        ));
        if let Some(schema) = &input.schema {
            fields.push(("schema", printable(&schema.to_string(), SHOWN)));
        }
        fields.push(("until", or_dash(input.until.map(moment))));
    }
    if job.sealed_answers > 0 {
        fields.push(("sealed", closed(job).trim_start_matches("; ").to_owned()));
    }
    if let Some(ended) = &job.ended {
        let sealed = if ended.sealed { ", sealed" } else { "" };
        fields.push((
            "ended",
            format!(
                "{}, in block {}{sealed}",
                moment(ended.at),
                or_dash(ended.height)
            ),
        ));
        fields.push(("answer", ended.transaction.clone()));
    }
    if let Some(error) = &job.error {
        let message = error.message.as_deref().unwrap_or_default();
        fields.push((
            "error",
            format!(
                "{}: {}",
                printable(&error.code, 64),
                printable_lines(message, SHOWN)
            ),
        ));
    }
    if let Some(result) = &job.result {
        let cut = if result.whole {
            "whole".to_owned()
        } else {
            format!(
                "cut: {} bytes of it came; `agentry task fetch` asks for the rest",
                result.text.len()
            )
        };
        let kind = or_dash(result.media_type.as_deref());
        fields.push(("result", format!("{} bytes, {cut}, {kind}", result.bytes)));
        fields.push(("sha256", result.sha256.clone()));
        if let Some(why) = &result.incomplete {
            fields.push(("incomplete", printable(why, 64)));
        }
        if let Some(ms) = result.duration_ms {
            fields.push(("took", format!("{ms} ms")));
        }
    }
    out.fields(&fields)?;
    if let Some(result) = &job.result {
        out.line("")?;
        out.line(printable_lines(&result.text, SHOWN))?;
    }
    Ok(())
}
