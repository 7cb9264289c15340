//! `agentry queue show`.

use agentry_protocol::Timestamp;

use super::super::output::{moment, or_dash, printable, printable_lines};
use super::super::{Context, Failure};
use super::list::{event, line};
use super::open;
use crate::config::Config;
use crate::ops::names::Names;
use crate::ops::queues::list::{self, QueueRow};
use crate::ops::queues::rows::{EventRow, ForgedRow, MessageRow, TransactionRow, Words};

pub(super) async fn run(id: &str, config: &Config, context: &Context) -> Result<(), Failure> {
    let id = id.parse()?;
    let db = open(config)?;
    let names = Names::new(config, Some(&db))?;
    match list::show(&db, id, &names, config).await? {
        QueueRow::Message(row) => message(&row, context),
        QueueRow::Transaction(row) => transaction(&row, context),
        QueueRow::Event(row) => show_event(&row, context),
        QueueRow::Forged(row) => forged(&row, context),
    }
}

fn reason(reason: Option<&str>) -> String {
    or_dash(reason.map(|text| printable(text, 500)))
}

/// When something is due.
fn due(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "at once".to_owned(), moment)
}

/// An address, with its display name.
fn named(address: &str, name: Option<&str>) -> String {
    let address = printable(address, 200);
    match name {
        Some(name) => format!("{address} ({})", printable(name, 80)),
        None => address,
    }
}

fn says(words: &Words) -> String {
    match &words.text {
        Some(text) => printable_lines(text, 2000),
        None => line(words, 80),
    }
}

fn message(row: &MessageRow, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(row);
    }
    let item = &row.item;
    context.output.fields(&[
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        ("state", item.state.clone()),
        ("from", named(&item.from, row.from_name.as_deref())),
        ("to", item.to.clone()),
        ("says", says(&row.words)),
        ("authenticity", item.authenticity.clone()),
        (
            "identity",
            or_dash(item.identity.as_deref().map(|text| printable(text, 80))),
        ),
        (
            "thread",
            or_dash(item.thread.as_deref().map(|text| printable(text, 80))),
        ),
        ("answers", or_dash(item.re.as_deref())),
        ("urgent", if item.urgent { "yes" } else { "no" }.to_owned()),
        ("expires", or_dash(item.expires_at.map(moment))),
        ("transaction", item.transaction.clone()),
        ("height", or_dash(item.height)),
        ("seen", moment(item.seen_at)),
        ("due", due(item.due_at)),
        ("waits", reason(row.waits.as_deref())),
        ("settled", or_dash(item.settled_at.map(moment))),
        ("failed attempts", item.attempts.to_string()),
        ("reason", reason(item.reason.as_deref())),
        ("rejected", reason(item.rejected.as_deref())),
        ("stored form", printable(&item.stored, 2000)),
    ])
}

fn transaction(row: &TransactionRow, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(row);
    }
    let item = &row.item;
    let paid = row
        .budget_day
        .as_ref()
        .map(|day| format!("the budget of {day}"));
    let cause = match (&item.brought_about_by, item.standing.as_str()) {
        (Some(sender), standing) => format!("{} ({standing})", printable(sender, 200)),
        (None, "own") => "-".to_owned(),
        (None, standing) => format!("{standing} senders"),
    };
    let mut fields = vec![
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        ("state", item.state.clone()),
        ("from", item.from.clone()),
        ("to", named(&item.to, row.to_name.as_deref())),
        ("says", says(&row.words)),
        ("amount", item.amount.to_string()),
        ("fee", item.fee.to_string()),
        ("payload", printable(&item.payload, 2000)),
        ("message id", or_dash(item.message_id.as_deref())),
        ("sent again", or_dash(item.resend_of.as_deref())),
        ("requested by", item.origin.clone()),
        ("caused by", cause),
        ("requested", moment(item.created_at)),
        ("expires", or_dash(item.expires_at.map(moment))),
        ("transaction", or_dash(item.transaction.as_deref())),
        ("nonce", or_dash(item.nonce)),
        ("signed", or_dash(item.prepared_at.map(moment))),
        ("paid by", or_dash(paid)),
        ("posted", format!("{} times", item.posts)),
        ("mined", or_dash(item.mined_at.map(moment))),
        ("height", or_dash(item.height)),
        ("reason", reason(item.reason.as_deref())),
        ("waits", reason(row.waits.as_deref())),
    ];
    if let Some(receipt) = &item.receipt {
        let detail = receipt
            .detail
            .as_deref()
            .map_or_else(String::new, |text| format!(" ({})", printable(text, 200)));
        fields.extend([
            ("acknowledgment wanted", or_dash(receipt.wanted.as_deref())),
            ("delivery", format!("{}{detail}", receipt.state)),
            ("delivery changed", moment(receipt.changed_at)),
            ("overdue", or_dash(receipt.due_at.map(moment))),
            (
                "resends",
                format!("{} done, {} left", receipt.resends, receipt.resends_left),
            ),
            ("notified", or_dash(receipt.behaviour.as_deref())),
            (
                "label",
                or_dash(receipt.label.as_deref().map(|text| printable(text, 80))),
            ),
        ]);
    }
    context.output.fields(&fields)
}

fn show_event(row: &EventRow, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(row);
    }
    let item = &row.item;
    context.output.fields(&[
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        ("state", item.state.clone()),
        ("what", event(item)),
        ("message", or_dash(item.message.as_deref())),
        ("created", moment(item.made_at)),
        ("due", due(item.due_at)),
        ("waits", reason(row.waits.as_deref())),
        ("failed attempts", item.attempts.to_string()),
        ("reason", reason(item.reason.as_deref())),
        ("data", printable(&item.data, 2000)),
    ])
}

fn forged(row: &ForgedRow, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(row);
    }
    let item = &row.item;
    context.output.fields(&[
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        (
            "says it is from",
            named(&item.from, row.from_name.as_deref()),
        ),
        ("to", item.to.clone()),
        ("says", says(&row.words)),
        ("transaction", item.transaction.clone()),
        ("height", item.height.to_string()),
        ("seen", moment(item.seen_at)),
        ("stored form", printable(&item.stored, 2000)),
    ])
}
