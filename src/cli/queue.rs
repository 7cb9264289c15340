//! `agentry queue list|show|retry|drop|resume`.

use clap::{Args, Subcommand, ValueEnum};
use rusqlite::Connection;
use serde_json::json;

use super::output::printable;
use super::{Context, ExitCode, Failure, runtime};
use crate::config::Config;
use crate::runtime::control::{self, Answer, ControlError, Request};
use crate::store::commit::QueueTarget;
use crate::store::list::{self, Filter, InboxItem, OutboxItem};
use crate::store::{InboxId, OutboxId, Store, StoreError, open_for_reading, read};

/// The subcommands of `queue`.
#[derive(Clone, Debug, Subcommand)]
pub enum QueueCommand {
    /// Lists inbox, outbox and dead letters
    List(QueueListArgs),
    /// Prints one row whole
    Show {
        /// Its id, as `queue list` prints it
        id: String,
    },
    /// Handles dead letters, or posts failed transactions, once more
    Retry(QueueIdArgs),
    /// Gives rows up
    Drop(QueueIdArgs),
    /// Lets posting go on after a deep reorganisation or a chain reset stopped it
    Resume,
}

/// Arguments of `queue list`.
#[derive(Clone, Debug, Args)]
pub struct QueueListArgs {
    /// Which queue [default: all]
    #[arg(value_enum)]
    queue: Option<Queue>,
    /// Only this agent's
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Option<String>,
    /// Settled rows, too
    #[arg(long)]
    settled: bool,
    /// The newest so many of each
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
}

/// A queue of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Queue {
    /// Messages that wait to be handled
    Inbox,
    /// Transactions on their way onto the chain
    Outbox,
    /// Messages that could not be handled, and transactions that could not be sent
    Dead,
}

/// Arguments of `queue retry` and `queue drop`.
#[derive(Clone, Debug, Args)]
pub struct QueueIdArgs {
    /// Ids, as `queue list` prints them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All dead letters and failed transactions
    #[arg(long)]
    all: bool,
}

pub(super) fn run(command: QueueCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config()?;
    match command {
        QueueCommand::List(args) => show_list(&args, &config, context),
        QueueCommand::Show { id } => show(&id, &config, context),
        QueueCommand::Retry(args) => each(&args, &config, context, "to be tried again", |target| {
            Request::Retry { target }
        }),
        QueueCommand::Drop(args) => each(&args, &config, context, "given up", |target| {
            Request::Drop { target }
        }),
        QueueCommand::Resume => {
            let changed = change(&config, Request::Resume)?;
            let done = if changed > 0 {
                "posting goes on"
            } else {
                "posting was not stopped"
            };
            if context.output.is_json() {
                return context.output.json(&json!({ "resumed": changed > 0 }));
            }
            context.output.line(done)
        }
    }
}

fn open(config: &Config) -> Result<Connection, Failure> {
    Ok(open_for_reading(&config.store.path)?)
}

fn stored<T>(result: rusqlite::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| StoreError::from(error).into())
}

fn states(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn show_list(args: &QueueListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let db = open(config)?;
    let filter = |words: &[&str]| Filter {
        agent: args.agent.clone(),
        states: if args.settled {
            Vec::new()
        } else {
            states(words)
        },
        limit: args.limit,
        ..Filter::default()
    };
    let mut messages = Vec::new();
    let mut transactions = Vec::new();
    if matches!(args.queue, None | Some(Queue::Inbox)) {
        messages.extend(stored(list::inbox(
            &db,
            &filter(&["waiting", "withdrawn"]),
        ))?);
    }
    if matches!(args.queue, None | Some(Queue::Outbox)) {
        let open = &["queued", "prepared", "accepted", "mined"];
        transactions.extend(stored(list::outbox(&db, &filter(open)))?);
    }
    if args.queue == Some(Queue::Dead) || (args.queue.is_none() && !args.settled) {
        let dead = Filter {
            states: states(&["dead"]),
            ..filter(&[])
        };
        messages.extend(stored(list::inbox(&db, &dead))?);
        let failed = Filter {
            states: states(&["failed"]),
            ..filter(&[])
        };
        transactions.extend(stored(list::outbox(&db, &failed))?);
    }
    let counts = stored(read::counts(&db))?;
    let halted = stored(read::identity(&db))?.halted;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "messages": messages,
            "transactions": transactions,
            "counts": { "inbox": counts.inbox, "outbox": counts.outbox, "forged": counts.forged, "gaps": counts.gaps },
            "halted": halted,
        }));
    }
    if let Some(reason) = halted {
        out.line(format!(
            "posting is stopped: {reason}; `agentry queue resume` lets it go on"
        ))?;
    }
    let rows: Vec<Vec<String>> = messages
        .iter()
        .map(|item| {
            vec![
                item.id.clone(),
                item.state.clone(),
                item.agent.clone(),
                format!("from {}", short(&item.from)),
                item.height
                    .map_or("-".to_owned(), |height| height.to_string()),
                item.reason
                    .as_deref()
                    .map_or_else(String::new, |reason| printable(reason, 80)),
            ]
        })
        .chain(transactions.iter().map(|item| {
            vec![
                item.id.clone(),
                item.state.clone(),
                item.agent.clone(),
                format!("to {}", short(&item.to)),
                item.height
                    .map_or("-".to_owned(), |height| height.to_string()),
                item.reason
                    .as_deref()
                    .map_or_else(String::new, |reason| printable(reason, 80)),
            ]
        }))
        .collect();
    if rows.is_empty() {
        out.line("nothing waits, and nothing has failed")?;
    } else {
        out.table(
            &["ID", "STATE", "AGENT", "OTHER SIDE", "HEIGHT", "REASON"],
            &rows,
        )?;
    }
    let all = |counts: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<String> = counts
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        if parts.is_empty() {
            "empty".to_owned()
        } else {
            parts.join(", ")
        }
    };
    out.line(format!(
        "inbox: {}; outbox: {}; forged: {}; gaps: {}",
        all(&counts.inbox),
        all(&counts.outbox),
        counts.forged,
        counts.gaps
    ))
}

fn short(address: &str) -> String {
    printable(address, 24)
}

fn parse(id: &str) -> Result<QueueTarget, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "{id:?} is no id of a queue; `agentry queue list` prints them, as inbox/12 or outbox/7"
        ))
    };
    let (queue, row) = id.split_once('/').ok_or_else(wrong)?;
    let row: i64 = row.parse().map_err(|_| wrong())?;
    match queue {
        "inbox" => Ok(QueueTarget::Inbox(InboxId(row))),
        "outbox" => Ok(QueueTarget::Outbox(OutboxId(row))),
        _ => Err(wrong()),
    }
}

fn show(id: &str, config: &Config, context: &Context) -> Result<(), Failure> {
    let target = parse(id)?;
    let db = open(config)?;
    let one = |row| Filter {
        row: Some(row),
        limit: 1,
        ..Filter::default()
    };
    let missing = || {
        Failure::no_input(format!(
            "there is no {id} in {}",
            config.store.path.display()
        ))
    };
    match target {
        QueueTarget::Inbox(InboxId(row)) => {
            let item = stored(list::inbox(&db, &one(row)))?
                .pop()
                .ok_or_else(missing)?;
            show_message(&item, context)
        }
        QueueTarget::Outbox(OutboxId(row)) => {
            let item = stored(list::outbox(&db, &one(row)))?
                .pop()
                .ok_or_else(missing)?;
            show_transaction(&item, context)
        }
        QueueTarget::Event(_) | QueueTarget::All => Err(missing()),
    }
}

fn show_message(item: &InboxItem, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(item);
    }
    context.output.fields(&[
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        ("state", item.state.clone()),
        ("from", printable(&item.from, 200)),
        ("to", item.to.clone()),
        ("authenticity", item.authenticity.clone()),
        ("transaction", item.hash.clone()),
        (
            "height",
            item.height
                .map_or("-".to_owned(), |height| height.to_string()),
        ),
        ("failed attempts", item.attempts.to_string()),
        (
            "reason",
            item.reason
                .as_deref()
                .map_or("-".to_owned(), |text| printable(text, 500)),
        ),
        ("stored form", printable(&item.transaction, 2000)),
    ])
}

fn show_transaction(item: &OutboxItem, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(item);
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    context.output.fields(&[
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        ("state", item.state.clone()),
        ("from", item.from.clone()),
        ("to", printable(&item.to, 200)),
        ("amount", item.amount.to_string()),
        ("fee", item.fee.to_string()),
        ("payload", printable(&item.payload, 2000)),
        ("asked for by", item.origin.clone()),
        ("transaction", or_dash(item.hash.clone())),
        ("nonce", or_dash(item.nonce.map(|nonce| nonce.to_string()))),
        ("posted", format!("{} times", item.posts)),
        (
            "height",
            or_dash(item.height.map(|height| height.to_string())),
        ),
        (
            "reason",
            item.reason
                .as_deref()
                .map_or("-".to_owned(), |text| printable(text, 500)),
        ),
    ])
}

fn each(
    args: &QueueIdArgs,
    config: &Config,
    context: &Context,
    done: &str,
    request: impl Fn(QueueTarget) -> Request,
) -> Result<(), Failure> {
    let targets = if args.all {
        vec![QueueTarget::All]
    } else {
        args.ids
            .iter()
            .map(|id| parse(id))
            .collect::<Result<Vec<_>, _>>()?
    };
    let mut changed = 0;
    for target in targets {
        changed += change(config, request(target))?;
    }
    if context.output.is_json() {
        return context.output.json(&json!({ "changed": changed }));
    }
    if changed == 0 && !args.all {
        return Err(Failure::no_input(
            "nothing was changed: no such row is in a state for that; see `agentry queue list`",
        ));
    }
    context.output.line(format!("{changed} {done}"))
}

/// Has a running runtime make a change; where none runs, makes it here.
fn change(config: &Config, request: Request) -> Result<usize, Failure> {
    let store = config.store.path.clone();
    if !store.exists() {
        return Err(StoreError::Missing { path: store }.into());
    }
    runtime()?.block_on(async {
        match control::ask(&store, &request).await {
            Ok(Answer::Done { changed }) => Ok(changed),
            Ok(Answer::Queued { .. }) => {
                Err(Failure::internal("the runtime answered something else"))
            }
            Ok(Answer::Refused { reason }) => Err(Failure::new(ExitCode::Temporary, reason)),
            Err(ControlError::NotRunning { .. }) => {
                let store = Store::open(&store)?;
                let at = crate::runtime::clock::Clock::default().now_ms();
                let Some(commit) = request.into_commit(at) else {
                    return Err(Failure::internal("this request needs a running runtime"));
                };
                Ok(store.commit(commit).await?.changed)
            }
            Err(error) => Err(Failure::new(ExitCode::Unavailable, error.to_string())),
        }
    })
}
