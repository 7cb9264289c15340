//! `agentry reload`: a running runtime reads its configuration again.

use clap::Args;
use serde_json::json;

use super::global::About;
use super::{Context, ExitCode, Failure, runtime};
use crate::ops::OperationError;
use crate::runtime::control::{Client, ControlError};
use crate::runtime::reload::Applied;

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// An agent or a fleet whose behaviours are restarted, whether they have changed or not: a
    /// program of a `process` behaviour is started again. May be given several times
    #[arg(long, value_name = "AGENT")]
    restart: Vec<String>,
}

pub(super) fn run(args: &ReloadArgs, context: &Context) -> Result<(), Failure> {
    // In a cluster, every host reads its own file.
    let configs = context.configs_of(About::Everything)?;
    let reloaded = runtime()?.block_on(async {
        let mut together = Applied::default();
        for config in configs {
            let client = Client::new(config.store.path);
            together.add(client.reload(args.restart.clone()).await?);
        }
        Ok(together)
    });
    match reloaded {
        Ok(applied) => show(&applied, context),
        Err(ControlError::Refused(OperationError::NotApplied(reasons)))
            if context.output.is_json() =>
        {
            context.output.json(&json!({
                "applied": false,
                "agents": null,
                "restarted": [],
                "contacts": null,
                "reasons": reasons,
            }))?;
            Err(Failure::new(ExitCode::Config, ""))
        }
        Err(error) => Err(error.into()),
    }
}

fn show(applied: &Applied, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(&json!({
            "applied": true,
            "agents": applied.agents,
            "restarted": applied.restarted,
            "contacts": applied.contacts,
            "reasons": [],
        }));
    }
    context.output.line(applied.to_string())
}
