//! `agentry task cancel`.

use clap::Args;
use serde_json::json;

use super::super::{Context, Failure};
use super::{IdArgs, open};
use crate::config::Config;
use crate::ops::send::random_key;
use crate::ops::tasks::{self, Canceled};

/// Arguments of `task cancel`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A requested job is canceled by a message (CANCEL_JOB) to the agent that executes \
                  it; `agentry task wait` then shows the outcome. A task that is executed here is \
                  canceled at once, and its submitter is notified."
)]
pub struct CancelArgs {
    #[command(flatten)]
    id: IdArgs,
}

pub(super) async fn run(
    args: &CancelArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let (id, key) = (args.id.id.trim(), random_key()?);
    let canceled = tasks::cancel(&open(config)?, id, (&key, None), config).await?;
    let out = context.output;
    match canceled {
        Canceled::Requested { job, sent } if out.is_json() => out.json(&json!({
            "id": job.id,
            "state": job.state,
            "outbox": sent.outbox,
            "transaction": sent.hash,
        })),
        Canceled::Requested { job, sent } => out.line(format!(
            "asked {} to cancel {}: outbox/{}{}",
            job.to,
            job.id,
            sent.outbox,
            sent.hash
                .map_or_else(String::new, |hash| format!(", {hash}"))
        )),
        Canceled::Here(task) if out.is_json() => out.json(&json!({
            "id": task.item.id,
            "state": "canceled",
            "outbox": null,
            "transaction": null,
        })),
        Canceled::Here(task) => out.line(format!("canceled {}", task.item.id)),
    }
}
