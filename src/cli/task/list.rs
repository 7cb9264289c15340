//! `agentry task list`.

use agentry_store::list::task::{self, ExecutingFilter};
use clap::Args;
use serde_json::{Value, json};

use super::super::names::shown;
use super::super::output::{first_line, printable};
use super::super::{Context, Failure};
use super::job::{self, Job, JobState};
use super::sealed::Opener;
use super::{executing, open, or_dash};
use crate::config::Config;
use crate::ops::names::Names;

/// How many messages are read from the store at a time.
const PAGE: u64 = 200;

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

pub(super) fn run(args: &ListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    if args.executing {
        return list_executing(args, config, context);
    }
    let db = open(config)?;
    let mut opener = Opener::new(config)?;
    let enough = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut jobs: Vec<Job> = Vec::new();
    let mut before = i64::MAX;
    // One more than the limit shows whether there are others.
    while jobs.len() <= enough {
        let page = task::asked(&db, before, PAGE)?;
        let Some(last) = page.last() else {
            break;
        };
        before = last.row;
        for item in page {
            let Some(job) = job::read(&db, &item, &mut opener)? else {
                continue;
            };
            if jobs.len() <= enough && args.state.is_none_or(|state| job.state == state) {
                jobs.push(job);
            }
        }
    }
    let more = jobs.len() > enough;
    jobs.truncate(enough);
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "jobs": jobs, "more": more }));
    }
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
    match (job.progress, &job.waits) {
        (Some(part), _) => format!("{:.0} %", part * 100.0),
        (None, Some(waits)) => printable(waits, 60),
        (None, None) => String::new(),
    }
}

fn list_executing(args: &ListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let db = open(config)?;
    let filter = ExecutingFilter {
        states: args
            .state
            .map(|state| state.as_str().to_owned())
            .into_iter()
            .collect(),
        limit: args.limit.saturating_add(1),
        ..ExecutingFilter::default()
    };
    let mut items = task::executing(&db, &filter)?;
    let enough = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let more = items.len() > enough;
    items.truncate(enough);
    let out = context.output;
    if out.is_json() {
        let items: Vec<Value> = items
            .iter()
            .map(|item| executing::as_json(item, config))
            .collect::<Result<_, _>>()?;
        return out.json(&json!({ "tasks": items, "more": more }));
    }
    if items.is_empty() {
        return out.line(match args.state {
            None => "no task was accepted here yet".to_owned(),
            Some(state) => format!("no task is {} here", state.as_str()),
        });
    }
    let names = Names::new(config, Some(&db))?;
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let failure = executing::failure(item, 300);
            vec![
                item.id.clone(),
                item.state.clone(),
                item.agent.clone(),
                printable(&item.kind, 20),
                item.submitter
                    .as_deref()
                    .map_or_else(|| "-".to_owned(), |address| shown(address, &names)),
                item.attempts.to_string(),
                executing::progress(item),
                executing::waits_for(item, config)
                    .map(|waits| format!("waits: {waits}"))
                    .or(failure)
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
            "PROGRESS",
            "OUTCOME",
        ],
        &rows,
    )
}
