//! `agentry task list`.

use agentry_store::Reader;
use clap::Args;
use serde_json::json;

use super::super::names::shown;
use super::super::output::{first_line, or_dash, printable};
use super::super::{Context, Failure};
use super::executing::{as_json, failure, progress};
use super::open;
use crate::config::Config;
use crate::ops::names::Names;
use crate::ops::tasks::job::{self, Job, JobState};
use crate::ops::tasks::{self, executing};

/// Arguments of `task list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Only jobs in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<JobState>,
    /// Maximum number of jobs, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Lists tasks that are executed here instead of requested jobs
    #[arg(long)]
    executing: bool,
}

pub(super) async fn run(
    args: &ListArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let db = open(config)?;
    if args.executing {
        return list_executing(args, &db, config, context);
    }
    let found = job::list(&db, args.state, args.limit, &mut tasks::opener(config)).await?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!(found));
    }
    let jobs = found.jobs;
    if jobs.is_empty() {
        return out.line(match args.state {
            None => "no job was requested yet; `agentry task submit` requests one".to_owned(),
            Some(state) => format!("no job is {}", state.as_str()),
        });
    }
    let names = Names::new(config, Some(&db))?;
    let rows: Vec<Vec<String>> = jobs.iter().map(|job| line(job, &names)).collect();
    out.table(
        &[
            "ID", "STATE", "AGENT", "TO", "TYPE", "BLOCK", "ENDED", "OUTCOME",
        ],
        &rows,
    )?;
    let closed = jobs.iter().find_map(|job| job.closed_because.as_deref());
    match closed {
        Some(why) => out.line(format!("sealed answers were not opened: {why}")),
        None => Ok(()),
    }
}

fn line(job: &Job, names: &Names<'_>) -> Vec<String> {
    vec![
        job.id.clone(),
        job.state.as_str().to_owned(),
        job.agent.clone(),
        shown(&job.to, names),
        job.asked
            .kind
            .as_deref()
            .map_or_else(|| "(sealed)".to_owned(), |kind| printable(kind, 20)),
        or_dash(job.height),
        or_dash(job.ended.as_ref().and_then(|ended| ended.height)),
        outcome(job),
    ]
}

/// A summary of the job's outcome on one line.
fn outcome(job: &Job) -> String {
    if let Some(result) = &job.result {
        return format!("{} bytes: {}", result.bytes, first_line(&result.text, 40));
    }
    if let Some(error) = &job.error {
        let message = error.message.as_deref().unwrap_or_default();
        return format!("{}: {}", printable(&error.code, 24), printable(message, 40));
    }
    if job.sealed_answers > 0 {
        return format!("{} sealed answers", job.sealed_answers);
    }
    if let Some(input) = job
        .input
        .as_ref()
        .filter(|_| job.state == JobState::InputRequired)
    {
        return format!("asks: {}", printable(&input.question, 54));
    }
    match (job.progress, &job.waits) {
        (Some(part), _) => format!("{:.0} %", part * 100.0),
        (None, Some(waits)) => printable(waits, 60),
        (None, None) => String::new(),
    }
}

fn list_executing(
    args: &ListArgs,
    db: &Reader,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let found = executing::list(db, args.state, args.limit, config)?;
    let out = context.output;
    if out.is_json() {
        let tasks = found.tasks.iter().map(as_json);
        let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
        return out.json(&json!({ "tasks": tasks, "more": found.more }));
    }
    if found.tasks.is_empty() {
        return out.line(match args.state {
            None => "no task was accepted here yet".to_owned(),
            Some(state) => format!("no task is {} here", state.as_str()),
        });
    }
    let names = Names::new(config, Some(db))?;
    let rows: Vec<Vec<String>> = found
        .tasks
        .iter()
        .map(|task| {
            let item = &task.item;
            vec![
                item.id.clone(),
                item.state.clone(),
                item.agent.clone(),
                printable(&item.kind, 20),
                item.submitter
                    .as_deref()
                    .map_or_else(|| "-".to_owned(), |address| shown(address, &names)),
                item.attempts.to_string(),
                item.input_tokens
                    .saturating_add(item.output_tokens)
                    .to_string(),
                progress(item),
                task.waits_for
                    .as_ref()
                    .map(|waits| format!("waits: {waits}"))
                    .or_else(|| failure(task, 300))
                    .or_else(|| item.result_bytes.map(|bytes| format!("{bytes} bytes")))
                    .unwrap_or_default(),
            ]
        })
        .collect();
    out.table(
        &[
            "ID",
            "STATE",
            "AGENT",
            "TYPE",
            "SUBMITTER",
            "ATTEMPTS",
            "TOKENS",
            "PROGRESS",
            "OUTCOME",
        ],
        &rows,
    )
}
