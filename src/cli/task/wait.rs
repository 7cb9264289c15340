//! `agentry task wait`.

use std::time::{Duration, Instant};

use agentry_store::Reader;
use agentry_store::list::task;
use clap::Args;
use indicatif::ProgressBar;

use super::super::args::duration;
use super::super::output::{Tone, printable, printable_lines};
use super::super::{Context, ExitCode, Failure};
use super::job::{self, Job, JobState};
use super::sealed::Opener;
use super::{IdArgs, executing, open, or_dash, show, unknown};
use crate::config::Config;

/// How often the store is checked.
const POLL: Duration = Duration::from_millis(200);

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

pub(super) fn run(args: &WaitArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let deadline = Instant::now() + args.timeout;
    wait(args.id.id.trim(), deadline, config, context)
}

/// Waits until a job has ended, and prints its outcome.
pub(super) fn wait(
    id: &str,
    deadline: Instant,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let db = open(config)?;
    let mut opener = Opener::new(config)?;
    let bar = context.output.progress(1000, "submitted");
    let watched = watch(id, deadline, &db, &mut opener, &bar);
    bar.finish_and_clear();
    let Some(job) = watched? else {
        return wait_here(id, deadline, &db, config, context);
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

fn watch(
    id: &str,
    deadline: Instant,
    db: &Reader,
    opener: &mut Opener,
    bar: &ProgressBar,
) -> Result<Option<Job>, Failure> {
    loop {
        opener.again();
        let Some(job) = job::find(db, id, opener)? else {
            return Ok(None);
        };
        if let Some(part) = job.progress {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part of 1000"
            )]
            bar.set_position((part * PARTS) as u64);
        }
        let note = job.note.as_deref().unwrap_or(job.state.as_str());
        bar.set_message(printable(note, 40));
        // A sealed answer that does not open is not a result; but without a runtime it may be the
        // final one.
        let answers_stay_closed = job.sealed_answers > 0 && opener.is_closed();
        if !job.state.is_open() || answers_stay_closed || Instant::now() >= deadline {
            return Ok(Some(job));
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until a task that is executed here has ended, and prints it.
fn wait_here(
    id: &str,
    deadline: Instant,
    db: &Reader,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let item = loop {
        let item = executing::find(db, id)?.ok_or_else(|| unknown(id, config))?;
        if item.ended_at.is_some() {
            break item;
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(
                ExitCode::Temporary,
                format!("timed out; {} is {}", item.id, item.state),
            ));
        }
        std::thread::sleep(POLL);
    };
    let row = executing::row(&item.id).unwrap_or_default();
    let result = task::result(db, row)?;
    executing::show(&item, result.as_deref(), config, context)?;
    if item.state == JobState::Completed.as_str() {
        return Ok(());
    }
    let why = executing::failure(&item, 300).map_or_else(String::new, |why| format!(": {why}"));
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
                    "cut        {} of {} bytes came; sha256 of all {}",
                    result.text.len(),
                    result.bytes,
                    result.sha256
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
