//! `agentry queue retry` and `agentry queue drop`.

use agentry_core::commit::{QueueTarget, Selection};
use agentry_store::{Store, StoreError};
use serde_json::json;

use super::super::{Context, Failure, runtime};
use super::{DeadQueue, QueueIdArgs, Row, parse};
use crate::config::Config;
use crate::runtime::clock::Clock;
use crate::runtime::control::{self, Answer, ControlError, Request};

pub(super) fn each(
    args: &QueueIdArgs,
    config: &Config,
    context: &Context,
    done: &str,
    request: impl Fn(QueueTarget) -> Request,
) -> Result<(), Failure> {
    let selection = args
        .rows
        .selection(args.queue.map(DeadQueue::kind), config)?;
    let narrowed = selection != Selection::default();
    let targets = if args.all && narrowed {
        vec![QueueTarget::Matching(selection)]
    } else if args.all {
        vec![QueueTarget::All]
    } else if narrowed {
        return Err(Failure::usage(
            "--agent, --from, --to, --behaviour and --since narrow down --all; rows that are named \
             by their ids need nothing else",
        ));
    } else {
        let target = |id: &String| match parse(id)? {
            Row::Queue(target) => Ok(target),
            Row::Forged(_) => Err(Failure::usage(format!(
                "{id} is forged: no behaviour sees it, and it is pruned automatically"
            ))),
        };
        args.ids.iter().map(target).collect::<Result<_, _>>()?
    };
    let mut changed = 0;
    for target in targets {
        changed += ask(config, request(target))?;
    }
    if context.output.is_json() {
        return context.output.json(&json!({ "changed": changed }));
    }
    if changed == 0 && !args.all {
        return Err(Failure::no_input(
            "nothing was changed: no row with that id is in a suitable state; see `agentry queue \
             list`",
        ));
    }
    context.output.line(format!("{changed} {done}"))
}

/// Sends a change to a running runtime, or makes it here if none is running.
pub(super) fn ask(config: &Config, request: Request) -> Result<usize, Failure> {
    let store = config.store.path.clone();
    if !store.exists() {
        return Err(StoreError::Missing { path: store }.into());
    }
    runtime()?.block_on(async {
        match control::ask(&store, &request).await {
            Ok(Answer::Done { changed }) => Ok(changed),
            Ok(answer) => Err(answer.into()),
            Err(ControlError::NotRunning { .. }) => {
                let store = Store::open(&store)?;
                let Some(commit) = request.into_commit(Clock::default().now_ms()) else {
                    return Err(Failure::internal("this request needs a running runtime"));
                };
                Ok(store.commit_now(commit).await?.changed)
            }
            Err(error) => Err(error.into()),
        }
    })
}
