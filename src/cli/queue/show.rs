//! `agentry queue show`.

use super::super::output::printable;
use super::super::{Context, Failure};
use super::list::event;
use super::{Row, moment, open, or_dash, parse, stored};
use crate::config::Config;
use crate::runtime::submitter::budget;
use crate::store::commit::QueueTarget;
use crate::store::list::{self, EventItem, Filter, ForgedItem, InboxItem, OutboxItem};
use crate::store::{InboxId, OutboxId};

pub(super) fn run(id: &str, config: &Config, context: &Context) -> Result<(), Failure> {
    let row = parse(id)?;
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
    match row {
        Row::Queue(QueueTarget::Inbox(InboxId(row))) => {
            let item = stored(list::inbox(&db, &one(row)))?.pop();
            message(&item.ok_or_else(missing)?, context)
        }
        Row::Queue(QueueTarget::Outbox(OutboxId(row))) => {
            let item = stored(list::outbox(&db, &one(row)))?.pop();
            transaction(&item.ok_or_else(missing)?, context)
        }
        Row::Queue(QueueTarget::Event(row)) => {
            let item = stored(list::events(&db, &one(row.0)))?.pop();
            show_event(&item.ok_or_else(missing)?, context)
        }
        Row::Forged(row) => {
            let item = stored(list::forged(&db, &one(row)))?.pop();
            forged(&item.ok_or_else(missing)?, context)
        }
        Row::Queue(QueueTarget::All | QueueTarget::Matching(_)) => Err(missing()),
    }
}

fn reason(reason: Option<&str>) -> String {
    or_dash(reason.map(|text| printable(text, 500)))
}

/// When something is due; 0 is at once.
fn due(at_ms: u64) -> String {
    if at_ms == 0 {
        "at once".to_owned()
    } else {
        moment(at_ms)
    }
}

fn message(item: &InboxItem, context: &Context) -> Result<(), Failure> {
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
        ("transaction", item.hash.clone()),
        ("height", or_dash(item.height)),
        ("seen", moment(item.seen_at)),
        ("due", due(item.due_at)),
        ("settled", or_dash(item.settled_at.map(moment))),
        ("failed attempts", item.attempts.to_string()),
        ("reason", reason(item.reason.as_deref())),
        ("rejected", reason(item.rejected.as_deref())),
        ("stored form", printable(&item.transaction, 2000)),
    ])
}

fn transaction(item: &OutboxItem, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(item);
    }
    let paid = item
        .budget_day
        .map(|day| format!("the budget of {}", budget::name_of(day)));
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
        ("to", printable(&item.to, 200)),
        ("amount", item.amount.to_string()),
        ("fee", item.fee.to_string()),
        ("payload", printable(&item.payload, 2000)),
        ("message id", or_dash(item.message_id.as_deref())),
        ("sent again", or_dash(item.resend_of.as_deref())),
        ("asked for by", item.origin.clone()),
        ("brought about by", cause),
        ("asked for", moment(item.created_at)),
        ("expires", or_dash(item.expires_at.map(moment))),
        ("transaction", or_dash(item.hash.as_deref())),
        ("nonce", or_dash(item.nonce)),
        ("signed", or_dash(item.prepared_at.map(moment))),
        ("paid by", or_dash(paid)),
        ("posted", format!("{} times", item.posts)),
        ("mined", or_dash(item.mined_at.map(moment))),
        ("height", or_dash(item.height)),
        ("reason", reason(item.reason.as_deref())),
    ];
    if let Some(receipt) = &item.receipt {
        let detail = receipt
            .detail
            .as_deref()
            .map_or_else(String::new, |text| format!(" ({})", printable(text, 200)));
        fields.extend([
            ("acknowledgment wanted", or_dash(receipt.wanted.as_deref())),
            ("fate", format!("{}{detail}", receipt.state)),
            ("fate known", moment(receipt.changed_at)),
            ("overdue", or_dash(receipt.due_at.map(moment))),
            (
                "resends",
                format!("{} done, {} left", receipt.resends, receipt.resends_left),
            ),
            ("told", or_dash(receipt.behaviour.as_deref())),
            (
                "label",
                or_dash(receipt.label.as_deref().map(|text| printable(text, 80))),
            ),
        ]);
    }
    context.output.fields(&fields)
}

fn show_event(item: &EventItem, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(item);
    }
    context.output.fields(&[
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        ("state", item.state.clone()),
        ("what", event(item)),
        ("message", or_dash(item.message.as_deref())),
        ("made", moment(item.made_at)),
        ("due", due(item.due_at)),
        ("failed attempts", item.attempts.to_string()),
        ("reason", reason(item.reason.as_deref())),
        ("data", printable(&item.data, 2000)),
    ])
}

fn forged(item: &ForgedItem, context: &Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(item);
    }
    context.output.fields(&[
        ("id", item.id.clone()),
        ("agent", item.agent.clone()),
        ("says it is from", printable(&item.from, 200)),
        ("to", item.to.clone()),
        ("transaction", item.hash.clone()),
        ("height", item.height.to_string()),
        ("seen", moment(item.seen_at)),
        ("stored form", printable(&item.transaction, 2000)),
    ])
}
