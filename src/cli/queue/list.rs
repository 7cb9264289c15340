//! `agentry queue list`.

use std::collections::BTreeMap;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::super::output::printable;
use super::super::{Context, Failure};
use super::{Queue, RowArgs, open, or_dash, stats, stored};
use crate::config::Config;
use crate::store::commit::Selection;
use crate::store::list::{self, EventItem, Filter, ForgedItem, InboxItem, OutboxItem};
use crate::store::read;
use crate::store::rows::{InboxState, OutboxState};

/// Arguments of `queue list`.
#[derive(Clone, Debug, Args)]
pub struct QueueListArgs {
    /// Which queue [default: all but the forged ones]
    #[arg(value_enum)]
    queue: Option<Queue>,
    #[command(flatten)]
    rows: RowArgs,
    /// Only in these states, separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', conflicts_with = "settled",
          value_parser = PossibleValuesParser::new(states()))]
    state: Vec<String>,
    /// Settled rows, too
    #[arg(long)]
    settled: bool,
    /// The newest so many of each queue
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
}

/// Every state of a message, a transaction or an event, once.
fn states() -> Vec<&'static str> {
    let inbox = InboxState::ALL.iter().map(|state| state.as_str());
    let outbox = OutboxState::ALL.iter().map(|state| state.as_str());
    // An event's states are also a message's.
    inbox.chain(outbox).collect()
}

/// What is listed.
#[derive(Debug, Default)]
struct Found {
    messages: Vec<InboxItem>,
    events: Vec<EventItem>,
    transactions: Vec<OutboxItem>,
    forged: Vec<ForgedItem>,
}

pub(super) fn run(args: &QueueListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let selection = args.rows.selection(None, config)?;
    let db = open(config)?;
    let found = find(&db, args, &selection)?;
    let counts = stored(read::counts(&db))?;
    let halted = stored(read::identity(&db))?.halted;
    let spending = match &selection.agent {
        Some(agent) => stored(stats::spending(&db, agent, config))?,
        None => None,
    };
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "messages": found.messages,
            "events": found.events,
            "transactions": found.transactions,
            "forged": found.forged,
            "counts": {
                "inbox": counts.inbox,
                "events": counts.events,
                "outbox": counts.outbox,
                "forged": counts.forged,
                "gaps": counts.gaps,
            },
            "waiting_for_budget": counts.held,
            "spending": spending.map(|(value, _)| value),
            "halted": halted,
        }));
    }
    if let Some(reason) = halted {
        out.line(format!(
            "posting is stopped: {reason}; `agentry queue resume` lets it go on"
        ))?;
    }
    let rows = lines(&found);
    if rows.is_empty() {
        out.line(nothing(args, &selection))?;
    } else {
        out.table(
            &[
                "ID", "STATE", "AGENT", "WHAT", "HEIGHT", "TRIES", "ACK", "REASON",
            ],
            &rows,
        )?;
    }
    if let Some((_, words)) = spending {
        out.line(words)?;
    }
    if counts.held > 0 {
        out.line(format!(
            "{} transactions wait for a budget; `agentry queue stats` shows what was spent",
            counts.held
        ))?;
    }
    out.line(format!(
        "inbox: {}; events: {}; outbox: {}; forged: {}; gaps: {}",
        all(&counts.inbox),
        all(&counts.events),
        all(&counts.outbox),
        counts.forged,
        counts.gaps
    ))
}

fn nothing(args: &QueueListArgs, selection: &Selection) -> &'static str {
    if args.queue == Some(Queue::Forged) {
        "no message is forged"
    } else if args.settled || !args.state.is_empty() || *selection != Selection::default() {
        "there is no such row"
    } else if args.queue == Some(Queue::Dead) {
        "nothing has failed"
    } else {
        "nothing waits, and nothing has failed"
    }
}

fn all(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if parts.is_empty() {
        "empty".to_owned()
    } else {
        parts.join(", ")
    }
}

fn find(
    db: &rusqlite::Connection,
    args: &QueueListArgs,
    selection: &Selection,
) -> Result<Found, Failure> {
    let filter = |words: &[&str], other: &Option<String>| Filter {
        agent: selection.agent.clone(),
        other: other.clone(),
        behaviour: selection.behaviour.clone(),
        since: selection.since,
        states: if args.settled {
            Vec::new()
        } else if args.state.is_empty() {
            words.iter().map(|word| (*word).to_owned()).collect()
        } else {
            args.state.clone()
        },
        limit: args.limit,
        ..Filter::default()
    };
    let (sender, recipient) = (&selection.sender, &selection.recipient);
    // Who names a sender means messages; who names a recipient, transactions.
    let either = sender.is_some() || recipient.is_some();
    let (incoming, outgoing) = (sender.is_some() || !either, recipient.is_some() || !either);
    let wanted = |queue: Queue| args.queue.is_none_or(|only| only == queue);
    let mut found = Found::default();
    if wanted(Queue::Inbox) && incoming {
        let filter = filter(&["waiting", "withdrawn"], sender);
        found.messages = stored(list::inbox(db, &filter))?;
    }
    if wanted(Queue::Events) && !either {
        found.events = stored(list::events(db, &filter(&["waiting"], &None)))?;
    }
    if wanted(Queue::Outbox) && outgoing {
        let filter = filter(&["queued", "prepared", "accepted", "mined"], recipient);
        found.transactions = stored(list::outbox(db, &filter))?;
    }
    if args.queue == Some(Queue::Forged) && incoming {
        let filter = Filter {
            states: Vec::new(),
            ..filter(&[], sender)
        };
        found.forged = stored(list::forged(db, &filter))?;
    }
    // Where states are named, or all are meant, what was given up is listed already.
    let unnamed = args.queue.is_none() && !args.settled && args.state.is_empty();
    if args.queue == Some(Queue::Dead) || unnamed {
        let of_state = |state: &str, other: &Option<String>| Filter {
            states: vec![state.to_owned()],
            ..filter(&[], other)
        };
        if incoming {
            let dead = stored(list::inbox(db, &of_state("dead", sender)))?;
            found.messages.extend(dead);
        }
        if !either {
            let dead = stored(list::events(db, &of_state("dead", &None)))?;
            found.events.extend(dead);
        }
        if outgoing {
            let failed = stored(list::outbox(db, &of_state("failed", recipient)))?;
            found.transactions.extend(failed);
        }
    }
    Ok(found)
}

fn lines(found: &Found) -> Vec<Vec<String>> {
    let messages = found.messages.iter().map(|item| {
        vec![
            item.id.clone(),
            item.state.clone(),
            item.agent.clone(),
            format!("from {}", short(&item.from)),
            or_dash(item.height),
            item.attempts.to_string(),
            String::new(),
            reason(item.reason.as_deref()),
        ]
    });
    let events = found.events.iter().map(|item| {
        vec![
            item.id.clone(),
            item.state.clone(),
            item.agent.clone(),
            event(item),
            String::new(),
            item.attempts.to_string(),
            String::new(),
            reason(item.reason.as_deref()),
        ]
    });
    let transactions = found.transactions.iter().map(|item| {
        vec![
            item.id.clone(),
            item.state.clone(),
            item.agent.clone(),
            format!("to {}", short(&item.to)),
            or_dash(item.height),
            item.posts.to_string(),
            acknowledgment(item),
            reason(item.reason.as_deref()),
        ]
    });
    let forged = found.forged.iter().map(|item| {
        vec![
            item.id.clone(),
            "forged".to_owned(),
            item.agent.clone(),
            format!("from {}", short(&item.from)),
            item.height.to_string(),
            String::new(),
            String::new(),
            String::new(),
        ]
    });
    messages
        .chain(events)
        .chain(transactions)
        .chain(forged)
        .collect()
}

/// What an event is, and whose.
pub(super) fn event(item: &EventItem) -> String {
    let name = printable(&item.name, 24);
    match (item.behaviour.is_empty(), name.is_empty()) {
        (true, _) => item.kind.clone(),
        (false, true) => format!("{} of {}", item.kind, item.behaviour),
        (false, false) => format!("{} {name} of {}", item.kind, item.behaviour),
    }
}

/// What is known of a transaction's fate, as `done: received`: what was asked for, and what came.
fn acknowledgment(item: &OutboxItem) -> String {
    let Some(receipt) = &item.receipt else {
        return String::new();
    };
    match &receipt.wanted {
        Some(wanted) => format!("{wanted}: {}", receipt.state),
        None => receipt.state.clone(),
    }
}

fn reason(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| printable(reason, 80))
}

fn short(address: &str) -> String {
    printable(address, 24)
}
