//! `agentry reload`: a running runtime reads its configuration anew.

use clap::Args;
use serde_json::json;

use super::{Context, ExitCode, Failure, runtime};
use crate::runtime::control::{self, Answer, Request};
use crate::runtime::reload::Applied;

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {}

pub(super) fn run(ReloadArgs {}: ReloadArgs, context: &Context) -> Result<(), Failure> {
    let store = context.config()?.store.path;
    let answer = runtime()?.block_on(control::ask(&store, &Request::Reload));
    match answer {
        Ok(Answer::Reloaded(applied)) => show(&applied, context),
        Ok(Answer::NotReloaded { reasons }) => {
            if context.output.is_json() {
                context
                    .output
                    .json(&json!({ "applied": false, "reasons": reasons }))?;
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
            "contacts": applied.contacts,
        }));
    }
    context.output.line(applied.to_string())
}
