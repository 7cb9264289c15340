//! `agentry agent history`.

use agentry_protocol::Timestamp;
use agentry_store::{list, open_for_reading};
use clap::Args;

use super::super::args::{Since, since};
use super::super::names::shown;
use super::super::output::{Tone, first_line, moment, printable};
use super::super::{Context, Failure};
use crate::config::Config;
use crate::ops::history::{History, HistoryEntry, HistoryFilter, Place};
use crate::ops::names::Names;
use crate::ops::who;
use crate::runtime::clock::Clock;

/// Arguments of `agent history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// A hosted agent: its name in agents.toml, or its address
    #[arg(value_name = "ADDR|NAME")]
    agent: String,
    /// Only what happened since: a time (2026-11-22T08:00:00Z), or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Only what happened before this place, which a page before has printed
    #[arg(long, value_name = "PLACE", conflicts_with = "follow")]
    before: Option<Place>,
    /// The number of entries, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Keeps printing what happens
    #[arg(long)]
    follow: bool,
}

impl HistoryArgs {
    /// Whose history.
    pub(super) fn agent(&self) -> &str {
        &self.agent
    }
}

pub(super) async fn run(
    args: HistoryArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let now = Clock::default().now();
    let filter = HistoryFilter {
        agent: who::resolve_own(&args.agent, config)?,
        since: args.since.map(|since| since.at(now)),
        before: args.before,
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
    };
    let store = &config.store.path;
    let db = open_for_reading(store)?;
    if !list::is_hosted(&db, filter.agent.as_str())? {
        return Err(Failure::no_input(format!(
            "{} was never hosted with this store; `agentry agent messages` reads the messages of others from the chain",
            args.agent
        )));
    }
    let names = Names::new(config, Some(&db))?;
    let out = context.output;
    let mut history = History::new(&db, store, filter);
    let mut page = history.newest().await?;
    let named = |entry: HistoryEntry| entry.named(&names);
    page.history = page.history.into_iter().map(named).collect();
    if out.is_json() && !args.follow {
        return out.json(&page);
    }
    if page.history.is_empty() && !args.follow {
        return out.line("nothing has happened, or what has was pruned");
    }
    if let Some(older) = page.older.filter(|_| !args.follow) {
        let text = format!("there is more before: see --limit, or go on with --before {older}");
        out.line(out.tone(Tone::Faint, &text))?;
    }
    for entry in page.history {
        print(&entry, &names, context)?;
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        for entry in history.next().await? {
            print(&entry.named(&names), &names, context)?;
        }
    }
}

/// Prints an entry: as JSON on one line, or as a line for people.
fn print(entry: &HistoryEntry, names: &Names<'_>, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(entry);
    }
    let (time, event) = (precisely(entry.at), &entry.event);
    let tone = match event.as_str() {
        "dead" | "failed" | "expired" | "unacknowledged" | "rejected" | "unsent"
        | "task-failed" => Tone::Bad,
        _ => Tone::Strong,
    };
    let event = out.tone(tone, &format!("{event:<14}"));
    out.line(format!(
        "{time}  {event}  {:<12}  {}",
        entry.id,
        words(entry, names).join(", ")
    ))
}

/// A time with its milliseconds.
fn precisely(at: Timestamp) -> String {
    let text = moment(at);
    match text.strip_suffix('Z') {
        Some(seconds) => format!("{seconds}.{:03}Z", at.get() % 1000),
        None => text,
    }
}

/// What an entry tells beside its time, its kind and its row.
fn words(entry: &HistoryEntry, names: &Names<'_>) -> Vec<String> {
    let mut words = Vec::new();
    let is_about_arrival = entry.id.starts_with("inbox/");
    if let Some(kind) = &entry.kind {
        words.push(format!("a task of type {}", printable(kind, 64)));
    }
    if let Some(other) = &entry.other {
        let way = if is_about_arrival || entry.kind.is_some() {
            "from"
        } else {
            "to"
        };
        words.push(format!("{way} {}", shown(other, names)));
    }
    let says = matches!(entry.event.as_str(), "arrived" | "requested");
    if says {
        words.push(match &entry.text {
            Some(text) => first_line(text, 60),
            None if entry.sealed => "(sealed)".to_owned(),
            None => "(its content was pruned)".to_owned(),
        });
        words.extend(entry.follows.as_ref().map(|row| format!("after {row}")));
        let amount = entry.amount.as_ref().map(|amount| amount.get());
        let amount = amount.filter(|amount| *amount != "0");
        words.extend(amount.map(|amount| names.amount(printable(amount, 40))));
    }
    if entry.event == "arrived" {
        words.extend(entry.authenticity.clone());
    }
    if matches!(entry.event.as_str(), "arrived" | "mined") {
        words.extend(entry.height.map(|height| format!("block {height}")));
    }
    if entry.event == "posted" {
        words.extend(entry.transaction.clone());
    }
    // What is the case now is said where it began, unless a later line says it.
    let waits = matches!(
        entry.state.as_str(),
        "waiting" | "withdrawn" | "queued" | "submitted" | "working" | "input-required"
    );
    if (says || entry.event == "task-accepted") && waits {
        words.push(entry.state.clone());
    }
    match (entry.attempts, is_about_arrival) {
        (Some(failed), true) if failed > 0 => words.push(match failed {
            1 => "1 failed attempt".to_owned(),
            failed => format!("{failed} failed attempts"),
        }),
        (Some(begun), false) if begun > 1 => words.push(format!("{begun} attempts")),
        _ => {}
    }
    let is_over = !says && entry.event != "task-accepted" && entry.event != "posted";
    if let Some(reason) = entry.reason.as_deref().filter(|_| is_over || waits) {
        words.push(printable(reason, 200));
    }
    words
}
