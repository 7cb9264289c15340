//! `agentry queue list|show|retry|drop|stats|resume`.

mod change;
pub(super) mod list;
mod show;
mod stats;

use agentry_core::commit::{QueueKind, Selection};
use agentry_protocol::Timestamp;
use agentry_store::{Reader, open_for_reading};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::args::{Since, since};
use super::global::About;
use super::{Context, Failure, runtime};
use crate::config::Config;
use crate::ops::change::{StoreChange, make};
use crate::ops::who::{self, resolve};
use crate::runtime::clock::Clock;

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
            since: self.since(),
            reason: None,
        })
    }

    /// The address of the selected agent.
    fn agent(&self, config: &Config) -> Result<Option<String>, Failure> {
        match &self.agent {
            Some(who) => Ok(Some(who::resolve_own(who, config)?.to_string())),
            None => Ok(None),
        }
    }

    fn since(&self) -> Option<Timestamp> {
        self.since.map(|since| since.at(Clock::default().now()))
    }
}

pub(super) fn run(command: QueueCommand, context: &Context) -> Result<(), Failure> {
    let about = match &command {
        QueueCommand::List(args) => About::named(args.agent()),
        QueueCommand::Retry(args) | QueueCommand::Drop(args) => {
            About::named(args.rows.agent.as_deref())
        }
        QueueCommand::Stats(args) => About::named(args.agent()),
        QueueCommand::Show { .. } => About::OneStore,
        QueueCommand::Resume => About::Everything,
    };
    let configs = context.configs_of(about)?;
    runtime()?.block_on(async {
        // Only resuming is about more than one.
        let [config, ..] = configs.as_slice() else {
            return Ok(());
        };
        match command {
            QueueCommand::List(args) => list::run(args, config, context).await,
            QueueCommand::Show { id } => show::run(&id, config, context).await,
            QueueCommand::Retry(args) => {
                let done = "will be retried";
                change::each(&args, config, context, done, StoreChange::Retry).await
            }
            QueueCommand::Drop(args) => {
                change::each(&args, config, context, "dropped", StoreChange::Drop).await
            }
            QueueCommand::Stats(args) => stats::run(&args, config, context),
            QueueCommand::Resume => resume(&configs, context).await,
        }
    })
}

async fn resume(configs: &[Config], context: &Context) -> Result<(), Failure> {
    let mut resumed = false;
    for config in configs {
        resumed |= make(&config.store.path, StoreChange::Resume).await? > 0;
    }
    if context.output.is_json() {
        return context.output.json(&json!({ "resumed": resumed }));
    }
    context.output.line(if resumed {
        "posting resumed"
    } else {
        "posting was not stopped"
    })
}

fn open(config: &Config) -> Result<Reader, Failure> {
    Ok(open_for_reading(&config.store.path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_two_ways() {
        let [early, now] = [500, 7_200_500].map(Timestamp::new);
        assert_eq!(since("2h").unwrap().at(now), early);
        assert_eq!(since("10d").unwrap().at(now), Timestamp::EPOCH);
        assert_eq!(
            since("2026-11-22T08:00:00Z").unwrap(),
            Since::At(Timestamp::new(1_795_334_400_000))
        );
        assert!(since("lately").is_err());
    }
}
