//! `agentry reload`: a running runtime reads its configuration again.

use clap::Args;
use serde_json::json;

use super::{Context, ExitCode, Failure, runtime};
use crate::runtime::control::{self, Answer, Request};
use crate::runtime::reload::Applied;

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// An agent or a fleet whose behaviours are restarted, whether they have changed or not: a
    /// program of a `process` behaviour is started again. May be given several times
    #[arg(long, value_name = "AGENT")]
    restart: Vec<String>,
}

pub(super) fn run(args: ReloadArgs, context: &Context) -> Result<(), Failure> {
    let store = context.config()?.store.path;
    let request = Request::Reload {
        restart: args.restart,
    };
    let answer = runtime()?.block_on(control::ask(&store, &request));
    match answer {
        Ok(Answer::Reloaded(applied)) => show(&applied, context),
        Ok(Answer::NotReloaded { reasons }) => {
            if context.output.is_json() {
                context.output.json(&json!({
                    "applied": false,
                    "agents": null,
                    "restarted": [],
                    "contacts": null,
                    "reasons": reasons,
                }))?;
                return Err(Failure::new(ExitCode::Config, ""));
            }
            let reasons = reasons.join("\n");
            Err(Failure::new(
                ExitCode::Config,
                format!("nothing was applied\n{reasons}"),
            ))
        }
        Ok(answer) => Err(answer.into()),
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
