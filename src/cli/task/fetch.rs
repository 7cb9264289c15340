//! `agentry task fetch`.

use std::time::{Duration, Instant};

use agentry_protocol::ContentHash;
use agentry_store::Reader;
use agentry_store::list::task;
use clap::Args;
use serde_json::json;

use super::super::args::duration;
use super::super::{Context, Failure};
use super::{IdArgs, open};
use crate::config::Config;
use crate::ops::tasks::fetch::FetchError;
use crate::ops::tasks::{self, TaskError};

/// Arguments of `task fetch`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Prints the result byte for byte. If it was cut, the agent that did the job is asked \
                  for the rest, part by part; each part costs a fee here and there. A call that ends \
                  early loses nothing: the next one asks only for what is missing."
)]
pub struct FetchArgs {
    #[command(flatten)]
    id: IdArgs,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn run(
    args: &FetchArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let deadline = Instant::now() + args.timeout;
    let db = open(config)?;
    let bar = context.output.progress(1, "bytes");
    let id = args.id.id.trim();
    let fetched = tasks::fetch::fetch(&db, id, None, deadline, config, |here, bytes| {
        bar.set_length(bytes);
        bar.set_position(u64::try_from(here).unwrap_or(u64::MAX));
        bar.set_message(format!("{here} of {bytes} bytes"));
    })
    .await;
    bar.finish_and_clear();
    let (id, media_type, text) = match fetched {
        Ok((job, text)) => {
            let media_type = job.result.and_then(|result| result.media_type);
            (job.id, media_type, text)
        }
        Err(unknown @ TaskError::Unknown { .. }) => here(id, &db, config)?.ok_or(unknown)?,
        Err(error) => return Err(error.into()),
    };
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "id": id,
            "bytes": text.len(),
            "sha256": ContentHash::of(text.as_bytes()).to_string(),
            "media_type": media_type,
            "text": text,
        }));
    }
    out.exact(&text)
}

/// The id, the media type and the result of a task that was executed here; `None` if there is no such
/// task.
fn here(
    id: &str,
    db: &Reader,
    config: &Config,
) -> Result<Option<(String, Option<String>, String)>, Failure> {
    let Some(task) = tasks::executing::find(db, id, config)? else {
        return Ok(None);
    };
    let (row, item) = (task.row, task.item);
    match task::result(db, row)? {
        Some(result) => Ok(Some((item.id, item.media_type, result))),
        None => {
            let (id, state) = (item.id, item.state);
            Err(TaskError::from(FetchError::NoResult { id, state }).into())
        }
    }
}
