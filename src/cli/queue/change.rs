//! `agentry queue retry` and `agentry queue drop`.

use agentry_core::commit::{QueueTarget, Selection};
use serde_json::json;

use super::super::{Context, Failure};
use super::{DeadQueue, QueueIdArgs};
use crate::config::Config;
use crate::ops::change::{StoreChange, make};
use crate::ops::queues::list::RowId;

pub(super) async fn each(
    args: &QueueIdArgs,
    config: &Config,
    context: &Context,
    done: &str,
    change: impl Fn(QueueTarget) -> StoreChange,
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
        let target = |id: &String| id.parse().and_then(RowId::target);
        args.ids.iter().map(target).collect::<Result<_, _>>()?
    };
    let mut changed = 0;
    for target in targets {
        changed += make(&config.store.path, change(target)).await?;
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
