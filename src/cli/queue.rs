//! `agentry queue list|show|retry|drop|stats|resume`.

mod change;
mod list;
mod rows;
mod show;
mod stats;

use std::time::{Duration, SystemTime};

use agentry_core::commit::{QueueKind, QueueTarget, Selection};
use agentry_core::rows::EventId;
use agentry_core::{InboxId, OutboxId};
use agentry_store::{Reader, open_for_reading};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Context, Failure, runtime};
use crate::config::Config;
use crate::ops::queues::{self, QueueChange};
use crate::ops::who::{self, resolve};
use crate::runtime::clock::{Clock, millis};

/// The subcommands of `queue`.
#[derive(Clone, Debug, Subcommand)]
pub enum QueueCommand {
    /// Lists the inbox, outbox, events and dead letters
    ///
    /// By default, rows that wait and rows that failed. Forged messages, which name a sender who
    /// did not sign them and which no behaviour sees, are listed by `queue list forged`.
    List(list::QueueListArgs),
    /// Prints all details of one row
    Show {
        /// The row's id, as `queue list` prints it
        id: String,
    },
    /// Retries dead letters and failed transactions
    ///
    /// A running runtime first verifies the sender of a dead letter again, because its key may have
    /// become known since. A failed transaction that is posted again is paid from today's budget,
    /// even if nothing is left of it.
    Retry(QueueIdArgs),
    /// Drops rows, so that they are not retried
    Drop(QueueIdArgs),
    /// Prints statistics per agent: rows by state, the longest wait, and spending
    Stats(stats::QueueStatsArgs),
    /// Resumes posting after a deep reorganisation or a chain reset stopped it
    Resume,
}

/// A queue of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Queue {
    /// Messages that wait to be handled
    Inbox,
    /// Transactions that are not yet in a block
    Outbox,
    /// Other events for agents: timers, delivery updates, task updates
    Events,
    /// Messages and events that could not be handled, and transactions that could not be sent
    Dead,
    /// Messages that name a sender who did not sign them
    Forged,
}

/// Filters that select rows.
#[derive(Clone, Debug, Default, Args)]
struct RowArgs {
    /// Only rows of this agent
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Option<String>,
    /// Only messages from this sender
    #[arg(long, visible_alias = "sender", value_name = "ADDR|NAME")]
    from: Option<String>,
    /// Only transactions to this recipient
    #[arg(long, value_name = "ADDR|NAME")]
    to: Option<String>,
    /// Only rows of this behaviour: its events, and what it sent
    #[arg(long, value_name = "NAME")]
    behaviour: Option<String>,
    /// Only rows received or requested since: a time (2026-11-22T08:00:00Z), or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
}

/// Arguments of `queue retry` and `queue drop`.
#[derive(Clone, Debug, Args)]
pub struct QueueIdArgs {
    /// Ids, as `queue list` prints them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All dead letters and failed transactions that match the filters
    #[arg(long)]
    all: bool,
    /// With --all, only those of this queue
    #[arg(long, value_enum, requires = "all", value_name = "QUEUE")]
    queue: Option<DeadQueue>,
    #[command(flatten)]
    rows: RowArgs,
}

/// A queue that can hold dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DeadQueue {
    /// Messages
    Inbox,
    /// Transactions
    Outbox,
    /// Events
    Events,
}

impl DeadQueue {
    const fn kind(self) -> QueueKind {
        match self {
            Self::Inbox => QueueKind::Inbox,
            Self::Outbox => QueueKind::Outbox,
            Self::Events => QueueKind::Events,
        }
    }
}

/// A point in time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// A duration before now.
    Ago(Duration),
    /// Milliseconds since the epoch.
    At(u64),
}

impl Since {
    /// The point in time, in milliseconds since the epoch.
    fn at_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(ago) => now_ms.saturating_sub(millis(ago)),
            Self::At(at) => at,
        }
    }
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Since::Ago(ago));
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(|_| {
        "write a time such as 2026-11-22T08:00:00Z, or how long ago, such as 90s, 2h or 7d"
            .to_owned()
    })?;
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let ms = millis(since);
    Ok(Since::At(ms))
}

impl RowArgs {
    /// The rows that the filters select, with names resolved to addresses.
    fn selection(&self, queue: Option<QueueKind>, config: &Config) -> Result<Selection, Failure> {
        let address = |who: &Option<String>| {
            who.as_deref()
                .map(|who| resolve(who, config).map(|address| address.to_string()))
                .transpose()
        };
        Ok(Selection {
            queue,
            agent: self.agent(config)?,
            sender: address(&self.from)?,
            recipient: address(&self.to)?,
            behaviour: self.behaviour.clone(),
            since: self.since_ms(),
        })
    }

    /// The address of the selected agent.
    fn agent(&self, config: &Config) -> Result<Option<String>, Failure> {
        match &self.agent {
            Some(who) => Ok(Some(who::resolve_own(who, config)?.to_string())),
            None => Ok(None),
        }
    }

    fn since_ms(&self) -> Option<u64> {
        self.since
            .map(|since| since.at_ms(Clock::default().now_ms()))
    }
}

pub(super) fn run(command: QueueCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config()?;
    match command {
        QueueCommand::List(args) => list::run(&args, &config, context),
        QueueCommand::Show { id } => show::run(&id, &config, context),
        QueueCommand::Retry(args) => {
            let done = "will be retried";
            change::each(&args, &config, context, done, QueueChange::Retry)
        }
        QueueCommand::Drop(args) => {
            change::each(&args, &config, context, "dropped", QueueChange::Drop)
        }
        QueueCommand::Stats(args) => stats::run(&args, &config, context),
        QueueCommand::Resume => {
            let resumed = queues::change(&config.store.path, QueueChange::Resume);
            let changed = runtime()?.block_on(resumed)?;
            let done = if changed > 0 {
                "posting resumed"
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

fn open(config: &Config) -> Result<Reader, Failure> {
    Ok(open_for_reading(&config.store.path)?)
}

/// A row named by an id.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    /// A row that can be changed.
    Queue(QueueTarget),
    /// A forged message.
    Forged(i64),
}

fn parse(id: &str) -> Result<Row, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "{id:?} is not an id of a queue; `agentry queue list` prints them, such as inbox/12, \
             outbox/7 or event/3"
        ))
    };
    let (queue, row) = id.split_once('/').ok_or_else(wrong)?;
    let row: i64 = row.parse().map_err(|_| wrong())?;
    Ok(match queue {
        "inbox" => Row::Queue(QueueTarget::Inbox(InboxId(row))),
        "outbox" => Row::Queue(QueueTarget::Outbox(OutboxId(row))),
        "event" => Row::Queue(QueueTarget::Event(EventId(row))),
        "forged" => Row::Forged(row),
        _ => return Err(wrong()),
    })
}

/// How long ago a time was, in its two largest units.
fn ago(at_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, name) in units {
        if left >= length && parts.len() < 2 {
            parts.push(format!("{} {name}", left / length));
            left %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_rows() {
        assert_eq!(
            parse("event/3").unwrap(),
            Row::Queue(QueueTarget::Event(EventId(3)))
        );
        assert_eq!(parse("forged/1").unwrap(), Row::Forged(1));
        for bad in ["", "inbox", "inbox/", "inbox/x", "letters/1", "inbox/1/2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_said_in_two_ways() {
        assert_eq!(since("2h").unwrap().at_ms(7_200_500), 500);
        assert_eq!(since("10d").unwrap().at_ms(5), 0);
        assert_eq!(
            since("2026-11-22T08:00:00Z").unwrap(),
            Since::At(1_795_334_400_000)
        );
        assert!(since("lately").is_err());
    }

    #[test]
    fn ages_are_short() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_601, "1 h"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(ago(0, seconds * 1000), wanted);
        }
    }
}
