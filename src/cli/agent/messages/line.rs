//! Printing of one message.

use super::super::super::names::shown;
use super::super::super::output::{Tone, moment, printable};
use super::super::super::{Context, Failure};
use crate::ops::conversations::MessageEntry;
use crate::ops::names::Names;

/// Prints the message: as JSON on one line, or as two lines, the second with the details.
pub(super) fn print(
    entry: &MessageEntry,
    names: &Names<'_>,
    context: &Context,
) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(entry);
    }
    let is_sent = entry.direction == "sent";
    let height = match entry.height {
        Some(height) => height.to_string(),
        None if is_sent => "-".to_owned(),
        None => "withdrawn".to_owned(),
    };
    let (way, other) = if is_sent {
        ("to  ", &entry.to)
    } else {
        ("from", &entry.from)
    };
    let text = match &entry.text {
        Some(text) => out.tone(Tone::Strong, &printable(text, 500)),
        None if entry.sealed => out.tone(Tone::Faint, "(sealed)"),
        None => out.tone(Tone::Faint, "(unreadable)"),
    };
    let time = entry.seen_at.map_or_else(|| "-".to_owned(), moment);
    out.line(format!(
        "{time:<20}  {height:>9}  {way} {}  {text}",
        shown(other, names)
    ))?;
    let notes = out.tone(Tone::Faint, &notes(entry, names).join(", "));
    out.line(format!("{:>31}  {notes}", ""))
}

fn notes(entry: &MessageEntry, names: &Names<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(entry.transaction.clone());
    let amount = entry.amount.as_ref().map(|amount| amount.get());
    notes.extend(
        amount
            .filter(|amount| *amount != "0")
            .map(|amount| names.amount(printable(amount, 40))),
    );
    let named = |what: &str, value: Option<&str>| {
        value.map(|value| format!("{what} {}", printable(value, 128)))
    };
    notes.extend(named("id", entry.message_id.as_deref()));
    notes.extend(named("thread", entry.thread.as_deref()));
    notes.extend(named("re", entry.re.as_deref()));
    notes.extend(entry.ack.map(|asked| format!("asks for {asked}")));
    notes.extend(entry.expires_at.map(|at| format!("expires {}", moment(at))));
    notes.extend(named("header unreadable:", entry.damage.as_deref()));
    if entry.sealed {
        notes.push("sealed".to_owned());
        notes.extend(named("not opened:", entry.closed.as_deref()));
    }
    notes.extend(entry.authenticity.clone());
    notes.extend(named("resend of", entry.resend_of.as_deref()));
    let state = entry.state.clone();
    // The state of a forged message is always `forged`.
    notes.extend(state.filter(|state| Some(state) != entry.authenticity.as_ref()));
    notes.extend(entry.reason.as_deref().map(|reason| printable(reason, 200)));
    if let Some(receipt) = &entry.receipt {
        let detail = receipt.detail.as_deref();
        let detail = detail.map_or_else(String::new, |text| format!(": {}", printable(text, 200)));
        let state = match receipt.state {
            "open" if receipt.wanted.is_some() => "not acknowledged yet",
            "open" => "open",
            state => state,
        };
        notes.push(format!("receipt {state}{detail}"));
    }
    notes
}
