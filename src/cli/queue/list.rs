//! `agentry queue list`.

use std::collections::BTreeMap;

use agentry_core::commit::Selection;
use agentry_core::rows::{InboxState, OutboxState};
use agentry_store::list::{self, EventItem, Filter, ForgedItem, InboxItem, OutboxItem};
use agentry_store::{Reader, read};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use serde_json::Value;

use super::super::names::shown;
use super::super::output::{GivesWay, Row, Tone, printable};
use super::super::{Context, Failure};
use super::rows::{EventRow, ForgedRow, MessageRow, TransactionRow, Waits};
use super::{Queue, RowArgs, open, or_dash, stats};
use crate::config::Config;
use crate::ops::names::Names;
use crate::runtime::clock::Clock;

/// Arguments of `queue list`.
#[derive(Clone, Debug, Args)]
pub struct QueueListArgs {
    /// Which queue [default: all but the forged ones]
    #[arg(value_enum)]
    queue: Option<Queue>,
    #[command(flatten)]
    rows: RowArgs,
    /// Only rows in these states, separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', conflicts_with = "settled",
          value_parser = PossibleValuesParser::new(states()))]
    state: Vec<String>,
    /// Also settled rows
    #[arg(long)]
    settled: bool,
    /// Maximum number of rows of each queue, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
}

/// Every state of a message, a transaction or an event, without duplicates.
fn states() -> Vec<&'static str> {
    let inbox = InboxState::ALL.iter().map(|state| state.as_str());
    let outbox = OutboxState::ALL.iter().map(|state| state.as_str());
    // Messages have all states of events.
    inbox.chain(outbox).collect()
}

/// The rows to list, as read from the store.
#[derive(Debug, Default)]
struct Found {
    messages: Vec<InboxItem>,
    events: Vec<EventItem>,
    transactions: Vec<OutboxItem>,
    forged: Vec<ForgedItem>,
    /// Whether some queue has more rows than the limit.
    more: bool,
}

/// The listing, ready for output.
#[derive(Debug, Serialize)]
struct Listed {
    messages: Vec<MessageRow>,
    events: Vec<EventRow>,
    transactions: Vec<TransactionRow>,
    forged: Vec<ForgedRow>,
    more: bool,
    counts: Counts,
    /// Today's spending of the selected agent.
    spending: Option<Value>,
    /// Why posting is stopped.
    halted: Option<String>,
}

/// Total number of rows.
#[derive(Debug, Serialize)]
struct Counts {
    inbox: BTreeMap<String, u64>,
    events: BTreeMap<String, u64>,
    outbox: BTreeMap<String, u64>,
    forged: u64,
    gaps: u64,
    waiting_for_budget: u64,
}

pub(super) fn run(args: &QueueListArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let selection = args.rows.selection(None, config)?;
    let db = open(config)?;
    let found = find(&db, args, &selection)?;
    let counts = read::counts(&db)?;
    let halted = read::identity(&db)?.halted;
    let (spending, spent) = match &selection.agent {
        Some(agent) => stats::spending(&db, agent, config)?.unzip(),
        None => (None, None),
    };
    let names = Names::new(config, Some(&db))?;
    let waits = Waits::ask(&found.messages, &found.transactions, config)?;
    let now = Clock::default().now_ms();
    let messages = found.messages.into_iter();
    let transactions = found.transactions.into_iter();
    let listed = Listed {
        messages: messages
            .map(|item| MessageRow::new(item, &names, &waits))
            .collect(),
        events: found
            .events
            .into_iter()
            .map(|item| EventRow::new(item, now, &waits))
            .collect(),
        transactions: transactions
            .map(|item| TransactionRow::new(item, &names, &waits))
            .collect(),
        forged: found
            .forged
            .into_iter()
            .map(|item| ForgedRow::new(item, &names))
            .collect(),
        more: found.more,
        counts: Counts {
            inbox: counts.inbox,
            events: counts.events,
            outbox: counts.outbox,
            forged: counts.forged,
            gaps: counts.gaps,
            waiting_for_budget: counts.held,
        },
        spending,
        halted,
    };
    let out = context.output;
    if out.is_json() {
        return out.json(&listed);
    }
    if let Some(reason) = &listed.halted {
        out.line(format!(
            "posting is stopped: {reason}; resume it with `agentry queue resume`"
        ))?;
    }
    let rows = lines(&listed, &names);
    if rows.is_empty() {
        out.line(nothing(args, &selection))?;
    } else {
        out.listing(&HEADINGS, rows, GivesWay::Cut(TEXT))?;
    }
    if listed.more {
        let text = format!("a queue has more than {} rows; see --limit", args.limit);
        out.line(out.tone(Tone::Faint, &text))?;
    }
    if let Some(words) = spent {
        out.line(words)?;
    }
    let counts = &listed.counts;
    if counts.waiting_for_budget > 0 {
        out.line(format!(
            "{} transactions wait for a budget; `agentry queue stats` shows what was spent",
            counts.waiting_for_budget
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
        "there are no forged messages"
    } else if args.settled || !args.state.is_empty() || *selection != Selection::default() {
        "no row matches"
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

fn find(db: &Reader, args: &QueueListArgs, selection: &Selection) -> Result<Found, Failure> {
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
        // One row more than the limit shows whether there are others.
        limit: args.limit.saturating_add(1),
        ..Filter::default()
    };
    let (sender, recipient) = (&selection.sender, &selection.recipient);
    // A sender selects messages; a recipient selects transactions.
    let either = sender.is_some() || recipient.is_some();
    let (incoming, outgoing) = (sender.is_some() || !either, recipient.is_some() || !either);
    let wanted = |queue: Queue| args.queue.is_none_or(|only| only == queue);
    let mut found = Found::default();
    if wanted(Queue::Inbox) && incoming {
        let filter = filter(&["waiting", "withdrawn"], sender);
        found.messages = newest(list::inbox(db, &filter)?, args.limit, &mut found.more);
    }
    if wanted(Queue::Events) && !either {
        found.events = newest(
            list::events(db, &filter(&["waiting"], &None))?,
            args.limit,
            &mut found.more,
        );
    }
    if wanted(Queue::Outbox) && outgoing {
        let filter = filter(&["queued", "prepared", "accepted", "mined"], recipient);
        found.transactions = newest(list::outbox(db, &filter)?, args.limit, &mut found.more);
    }
    if args.queue == Some(Queue::Forged) && incoming {
        let filter = Filter {
            states: Vec::new(),
            ..filter(&[], sender)
        };
        found.forged = newest(list::forged(db, &filter)?, args.limit, &mut found.more);
    }
    // If states are named, or all are listed, dead letters are already included.
    let unnamed = args.queue.is_none() && !args.settled && args.state.is_empty();
    if args.queue == Some(Queue::Dead) || unnamed {
        let of_state = |state: &str, other: &Option<String>| Filter {
            states: vec![state.to_owned()],
            ..filter(&[], other)
        };
        if incoming {
            let dead = newest(
                list::inbox(db, &of_state("dead", sender))?,
                args.limit,
                &mut found.more,
            );
            found.messages.extend(dead);
        }
        if !either {
            let dead = newest(
                list::events(db, &of_state("dead", &None))?,
                args.limit,
                &mut found.more,
            );
            found.events.extend(dead);
        }
        if outgoing {
            let failed = newest(
                list::outbox(db, &of_state("failed", recipient))?,
                args.limit,
                &mut found.more,
            );
            found.transactions.extend(failed);
        }
    }
    Ok(found)
}

/// The newest rows of a query, up to the limit; records whether there are more.
fn newest<T>(mut rows: Vec<T>, limit: u64, more: &mut bool) -> Vec<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let over = rows.len().saturating_sub(limit);
    *more |= over > 0;
    rows.split_off(over)
}

/// Headings of the table.
const HEADINGS: [&str; 8] = [
    "ID", "STATE", "AGENT", "WHAT", "BLOCK", "TRIES", "ACK", "TEXT",
];

/// Index of the text column.
const TEXT: usize = 7;

/// How much of a text a row shows, in characters.
const SHOWN: usize = 60;

/// How much of a reason is shown, in characters.
const REASON: usize = 300;

fn lines(listed: &Listed, names: &Names<'_>) -> Vec<Row> {
    let messages = listed.messages.iter().map(|row| {
        let MessageRow { item, words, .. } = row;
        Row {
            cells: vec![
                item.id.clone(),
                item.state.clone(),
                item.agent.clone(),
                format!("from {}", shown(&item.from, names)),
                or_dash(item.height),
                item.attempts.to_string(),
                String::new(),
                words.line(SHOWN),
            ],
            below: below(item.reason.as_deref(), row.waits.as_deref()),
        }
    });
    let events = listed.events.iter().map(|row| Row {
        cells: vec![
            row.item.id.clone(),
            row.item.state.clone(),
            row.item.agent.clone(),
            event(&row.item),
            String::new(),
            row.item.attempts.to_string(),
            String::new(),
            String::new(),
        ],
        below: below(row.item.reason.as_deref(), row.waits.as_deref()),
    });
    let transactions = listed.transactions.iter().map(|row| {
        let TransactionRow { item, words, .. } = row;
        Row {
            cells: vec![
                item.id.clone(),
                item.state.clone(),
                item.agent.clone(),
                format!("to {}", shown(&item.to, names)),
                or_dash(item.height),
                item.posts.to_string(),
                acknowledgment(item),
                words.line(SHOWN),
            ],
            below: below(item.reason.as_deref(), row.waits.as_deref()),
        }
    });
    let forged = listed.forged.iter().map(|row| {
        let ForgedRow { item, words, .. } = row;
        Row::from(vec![
            item.id.clone(),
            "forged".to_owned(),
            item.agent.clone(),
            format!("from {}?", shown(&item.from, names)),
            item.height.to_string(),
            String::new(),
            String::new(),
            words.line(SHOWN),
        ])
    });
    messages
        .chain(events)
        .chain(transactions)
        .chain(forged)
        .collect()
}

/// What went wrong, and why the row waits.
fn below(reason: Option<&str>, waits: Option<&str>) -> Vec<String> {
    let mut parts: Vec<&str> = reason.into_iter().collect();
    parts.extend(waits.filter(|waits| reason != Some(waits)));
    if parts.is_empty() {
        return Vec::new();
    }
    vec![printable(&parts.join("; "), REASON)]
}

/// Description of an event, and its behaviour.
pub(super) fn event(item: &EventItem) -> String {
    let name = printable(&item.name, 24);
    match (item.behaviour.is_empty(), name.is_empty()) {
        (true, _) => item.kind.clone(),
        (false, true) => format!("{} of {}", item.kind, item.behaviour),
        (false, false) => format!("{} {name} of {}", item.kind, item.behaviour),
    }
}

/// Delivery state of a transaction, such as `done: received`: what was requested, and what has
/// arrived.
fn acknowledgment(item: &OutboxItem) -> String {
    let Some(receipt) = &item.receipt else {
        return String::new();
    };
    match &receipt.wanted {
        Some(wanted) => format!("{wanted}: {}", receipt.state),
        None => receipt.state.clone(),
    }
}
