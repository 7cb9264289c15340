//! `agentry task cancel`.

use agentry_core::rows::TaskId;
use agentry_protocol::KnownCommand;
use agentry_store::Reader;
use clap::Args;
use serde_json::json;

use super::super::{Context, Failure, runtime};
use super::sealed::Opener;
use super::submit::random;
use super::{IdArgs, executing, job, open, unknown};
use crate::config::Config;
use crate::ops::send::{SendRequest, Sent};
use crate::runtime::control::Client;

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

pub(super) fn run(args: &CancelArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let id = args.id.id.trim();
    let db = open(config)?;
    let Some(job) = job::find(&db, id, &mut Opener::new(config)?)? else {
        return end(id, &db, config, context);
    };
    if !job.state.is_open() {
        return Err(Failure::data(format!(
            "{} has ended: it is {}",
            job.id,
            job.state.as_str()
        )));
    }
    let Some(transaction) = job.hash() else {
        return Err(Failure::data(format!(
            "{0} is not signed yet, so its recipient does not know of it; `agentry queue drop \
             {0}` cancels it",
            job.id
        )));
    };
    let to = job
        .to
        .parse()
        .map_err(|error| Failure::data(format!("the address {:?}: {error}", job.to)))?;
    let key = format!("cancel/{}", random()?);
    let request = SendRequest {
        re: Some(transaction),
        ..SendRequest::new(to, KnownCommand::CancelJob.body(), key)
    };
    let client = Client::new(&config.store.path);
    let Sent { outbox, hash, .. } = runtime()?.block_on(client.send(&job.from, request))?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "id": job.id,
            "state": job.state,
            "outbox": outbox,
            "transaction": hash,
        }));
    }
    out.line(format!(
        "asked {} to cancel {}: outbox/{outbox}{}",
        job.to,
        job.id,
        hash.map_or_else(String::new, |hash| format!(", {hash}"))
    ))
}

/// Cancels a task that is executed here.
fn end(id: &str, db: &Reader, config: &Config, context: &Context) -> Result<(), Failure> {
    let item = executing::find(db, id)?.ok_or_else(|| unknown(id, config))?;
    let task = executing::row(&item.id).ok_or_else(|| unknown(id, config))?;
    let task = TaskId(task);
    if !runtime()?.block_on(Client::new(&config.store.path).cancel_task(task))? {
        return Err(Failure::data(format!(
            "{} has ended: it is {}",
            item.id, item.state
        )));
    }
    if context.output.is_json() {
        return context.output.json(&json!({
            "id": item.id,
            "state": "canceled",
            "outbox": null,
            "transaction": null,
        }));
    }
    context.output.line(format!("canceled {}", item.id))
}
