//! `agentry task wait`.

use std::time::{Duration, Instant};

use agentry_store::Reader;
use agentry_store::list::task;
use clap::Args;
use indicatif::ProgressBar;

use super::super::args::duration;
use super::super::output::{Tone, or_dash, printable, printable_lines};
use super::super::{Context, ExitCode, Failure};
use super::{IdArgs, executing, open, show};
use crate::config::Config;
use crate::ops::tasks::job::{Job, JobState};
use crate::ops::tasks::{self, TaskError};

/// Number of steps of a progress bar.
const PARTS: f64 = 1000.0;

/// Arguments of `task wait`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The exit code is 0 when the job is completed, 1 when it failed, was canceled or \
                  rejected, 75 when the time limit is reached."
)]
pub struct WaitArgs {
    #[command(flatten)]
    id: IdArgs,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn run(
    args: &WaitArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let deadline = Instant::now() + args.timeout;
    wait(args.id.id.trim(), deadline, config, context).await
}

/// Waits until a job has ended, and prints its outcome.
pub(super) async fn wait(
    id: &str,
    deadline: Instant,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let db = open(config)?;
    let bar = context.output.progress(1000, "submitted");
    let watched = tasks::until_ended(&db, id, deadline, config, |job| tell(job, &bar)).await;
    bar.finish_and_clear();
    let Some(job) = watched? else {
        return wait_here(id, deadline, &db, config, context).await;
    };
    if job.state.is_open() {
        return Err(Failure::new(
            ExitCode::Temporary,
            format!(
                "timed out; the job is {}{}. `agentry task show {}` shows its status",
                job.state.as_str(),
                show::closed(&job),
                job.id
            ),
        ));
    }
    print(&job, context)
}

fn tell(job: &Job, bar: &ProgressBar) {
    if let Some(part) = job.progress {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of 1000"
        )]
        bar.set_position((part * PARTS) as u64);
    }
    let asked = job.input.as_ref();
    let asked = asked.filter(|_| job.state == JobState::InputRequired);
    let asked = asked.map(|input| format!("asks: {}", input.question));
    let note = asked.as_deref().or(job.note.as_deref());
    let note = note.unwrap_or(job.state.as_str());
    bar.set_message(printable(note, 40));
}

/// Waits until a task that is executed here has ended, and prints it.
async fn wait_here(
    id: &str,
    deadline: Instant,
    db: &Reader,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let task = tasks::until_ended_here(db, id, deadline, config).await?;
    let task = task.ok_or_else(|| TaskError::unknown(id, config))?;
    let item = &task.item;
    if item.ended_at.is_none() {
        return Err(Failure::new(
            ExitCode::Temporary,
            format!("timed out; {} is {}", item.id, item.state),
        ));
    }
    let result = task::result(db, task.row)?;
    executing::show(&task, result.as_deref(), context)?;
    if item.state == JobState::Completed.as_str() {
        return Ok(());
    }
    let why = executing::failure(&task, 300).map_or_else(String::new, |why| format!(": {why}"));
    Err(Failure::new(
        ExitCode::Failed,
        format!("{} is {}{why}", item.id, item.state),
    ))
}

fn print(job: &Job, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    let completed = job.state == JobState::Completed;
    if out.is_json() {
        out.json(job)?;
    } else {
        let tone = if completed { Tone::Good } else { Tone::Bad };
        let block = job.ended.as_ref().and_then(|ended| ended.height);
        out.line(format!(
            "{} in block {}",
            out.tone(tone, job.state.as_str()),
            or_dash(block)
        ))?;
        if let Some(ended) = &job.ended {
            out.line(format!("answer     {}", ended.transaction))?;
        }
        if let Some(result) = &job.result {
            if !result.whole {
                out.line(format!(
                    "cut        {} of {} bytes came; `agentry task fetch {}` asks for the rest",
                    result.text.len(),
                    result.bytes,
                    job.id
                ))?;
            }
            out.line(printable_lines(&result.text, usize::MAX).trim_end_matches('\n'))?;
        }
    }
    if completed {
        return Ok(());
    }
    let why = job.error.as_ref().map_or_else(String::new, |error| {
        let message = error.message.as_deref().unwrap_or_default();
        format!(
            ": {}: {}",
            printable(&error.code, 64),
            printable(message, 500)
        )
    });
    Err(Failure::new(
        ExitCode::Failed,
        format!("the job is {}{why}", job.state.as_str()),
    ))
}
