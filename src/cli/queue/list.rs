//! `agentry queue list`.

use std::collections::BTreeMap;

use agentry_core::commit::Selection;
use agentry_core::rows::{InboxState, OutboxState};
use agentry_store::list::{EventItem, OutboxItem};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::super::names::shown;
use super::super::output::{GivesWay, Row, Tone, first_line, or_dash, printable};
use super::super::{Context, Failure};
use super::{RowArgs, open, stats};
use crate::config::Config;
use crate::ops::names::Names;
use crate::ops::queues::list::{self, ListRows, Queue, QueueList};
use crate::ops::queues::rows::{ForgedRow, MessageRow, TransactionRow, Words};

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

impl QueueListArgs {
    /// Whose rows.
    pub(super) fn agent(&self) -> Option<&str> {
        self.rows.agent.as_deref()
    }
}

/// Every state of a message, a transaction or an event, without duplicates.
fn states() -> Vec<&'static str> {
    let inbox = InboxState::ALL.iter().map(|state| state.as_str());
    let outbox = OutboxState::ALL.iter().map(|state| state.as_str());
    // Messages have all states of events.
    inbox.chain(outbox).collect()
}

pub(super) async fn run(
    args: QueueListArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let wanted = ListRows {
        queue: args.queue,
        selection: args.rows.selection(None, config)?,
        states: args.state,
        settled: args.settled,
        limit: args.limit,
    };
    let db = open(config)?;
    let names = Names::new(config, Some(&db))?;
    let listed = list::list(&db, &wanted, &names, config).await?;
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
        out.line(nothing(&wanted))?;
    } else {
        out.listing(&HEADINGS, rows, GivesWay::Cut(TEXT))?;
    }
    if listed.more {
        let text = format!("a queue has more than {} rows; see --limit", wanted.limit);
        out.line(out.tone(Tone::Faint, &text))?;
    }
    if let Some(spending) = &listed.spending {
        out.line(stats::sentence(spending, config.chain.dialect))?;
    }
    let counts = &listed.counts;
    if counts.waiting_for_budget > 0 {
        out.line(format!(
            "{} transactions wait for a budget; `agentry queue stats` shows what was spent",
            counts.waiting_for_budget
        ))?;
    }
    if counts.waiting_for_approval > 0 {
        out.line(format!(
            "{} wait for approval; `agentry approvals list` prints them",
            counts.waiting_for_approval
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

fn nothing(wanted: &ListRows) -> &'static str {
    let narrowed = wanted.selection != Selection::default();
    if wanted.queue == Some(Queue::Forged) {
        "there are no forged messages"
    } else if wanted.settled || !wanted.states.is_empty() || narrowed {
        "no row matches"
    } else if wanted.queue == Some(Queue::Dead) {
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

fn lines(listed: &QueueList, names: &Names<'_>) -> Vec<Row> {
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
                line(words, SHOWN),
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
                line(words, SHOWN),
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
            line(words, SHOWN),
        ])
    });
    messages
        .chain(events)
        .chain(transactions)
        .chain(forged)
        .collect()
}

/// The first line of a content, for a column of a table.
pub(in crate::cli) fn line(words: &Words, limit: usize) -> String {
    match &words.text {
        Some(text) => first_line(text, limit),
        None if words.sealed => "(sealed)".to_owned(),
        None => "(unreadable)".to_owned(),
    }
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
