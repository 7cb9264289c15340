//! A message, as it is printed.

use agentry_protocol::{Address, Authenticity};
use agentry_store::list::talk::{Place, Told};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::super::names::shown;
use super::super::super::output::{Tone, moment, printable};
use super::super::super::{Context, Failure};
use super::super::said::Said;
use crate::demo::evidence::Found;
use crate::ops::names::Names;

/// A message, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    /// `received` or `sent`.
    direction: &'static str,
    /// Its row, as `queue show` takes it; `None` if only the chain was read.
    id: Option<String>,
    height: Option<u64>,
    /// When it was seen in a block; for a sent message without a block, when it was requested; for
    /// a message read from the chain alone, the time of its block.
    seen_at: Option<u64>,
    transaction: Option<String>,
    from: String,
    /// Display name of the sender.
    from_name: Option<String>,
    to: String,
    /// Display name of the recipient.
    to_name: Option<String>,
    /// The amount that it transfers, in AIT.
    amount: Option<Box<RawValue>>,
    /// Its content without the header; `null` if it is sealed and was not opened.
    text: Option<String>,
    /// The name of the command, if it is one.
    cmd: Option<String>,
    /// The id in its header.
    message_id: Option<String>,
    thread: Option<String>,
    /// The transaction that it answers.
    re: Option<String>,
    /// The acknowledgment that it asks for.
    ack: Option<&'static str>,
    /// When it expires, in milliseconds since the epoch.
    expires_at: Option<u64>,
    /// Why its header cannot be read.
    damage: Option<String>,
    sealed: bool,
    /// Why the sealed content was not opened.
    closed: Option<String>,
    /// Whether the sender is verified.
    authenticity: Option<String>,
    /// Its state in the queue; `None` if only the chain was read.
    state: Option<String>,
    /// Why it waits, failed or was refused.
    reason: Option<String>,
    /// The row whose message it resends.
    resend_of: Option<String>,
    /// Delivery state of a sent message, if an acknowledgment was asked for.
    receipt: Option<Receipt>,
}

/// An amount with all its digits; `None` if it is not a number.
fn number(text: String) -> Option<Box<RawValue>> {
    RawValue::from_string(text).ok()
}

/// Delivery state of a message.
#[derive(Clone, Debug, Serialize)]
struct Receipt {
    wanted: Option<String>,
    state: &'static str,
    detail: Option<String>,
    resends_left: u64,
}

impl Line {
    /// A message of the store, with its parsed content.
    pub(super) fn of_store(told: Told, said: Option<Said>) -> Self {
        let (direction, id) = match told.place {
            Place::Inbox(row) => ("received", Some(format!("inbox/{row}"))),
            Place::Forged(_) => ("received", None),
            Place::Outbox(row) => ("sent", Some(format!("outbox/{row}"))),
        };
        let line = Self {
            direction,
            id,
            height: told.height,
            seen_at: Some(told.seen_at),
            transaction: told.hash,
            from: told.from,
            from_name: None,
            to: told.to,
            to_name: None,
            amount: number(told.amount),
            text: None,
            cmd: None,
            message_id: None,
            thread: None,
            re: None,
            ack: None,
            expires_at: None,
            damage: None,
            sealed: false,
            closed: None,
            authenticity: told.authenticity,
            state: Some(told.state),
            reason: told.reason,
            resend_of: told.resend_of.map(|row| format!("outbox/{row}")),
            receipt: told.receipt.map(|delivery| Receipt {
                wanted: delivery.wanted,
                state: delivery.state.as_str(),
                detail: delivery.detail,
                resends_left: delivery.resends_left,
            }),
        };
        match said {
            Some(said) => line.saying(said),
            None => Self {
                damage: Some("it cannot be read".to_owned()),
                ..line
            },
        }
    }

    /// A message of the chain to or from `agent`, with the verification of its sender.
    pub(super) fn of_chain(found: &Found, agent: &Address, authenticity: Authenticity) -> Self {
        let stored = &found.stored;
        let is_sent = stored.from == *agent;
        Self {
            direction: if is_sent { "sent" } else { "received" },
            id: None,
            height: Some(found.height.0),
            seen_at: found.made_at,
            transaction: Some(found.hash.to_string()),
            from: stored.from.to_string(),
            from_name: None,
            to: stored.to.to_string(),
            to_name: None,
            amount: number(stored.amount.to_string()),
            text: None,
            cmd: None,
            message_id: None,
            thread: None,
            re: None,
            ack: None,
            expires_at: None,
            damage: None,
            sealed: false,
            closed: None,
            authenticity: Some(authenticity.as_str().to_owned()),
            state: None,
            reason: None,
            resend_of: None,
            receipt: None,
        }
        .saying(Said::read(&stored.payload))
    }

    fn saying(self, said: Said) -> Self {
        let header = said.header.unwrap_or_default();
        Self {
            text: said.text,
            cmd: said.cmd,
            message_id: header.id.map(|id| id.to_string()),
            thread: header.thread.map(|thread| thread.to_string()),
            re: header.re.map(|hash| hash.to_string()),
            ack: header.ack.map(agentry_protocol::AckRequest::as_str),
            expires_at: header.exp,
            damage: said.damage,
            sealed: said.sealed,
            closed: said.closed,
            ..self
        }
    }

    /// Adds the display names of both sides.
    pub(super) fn named(mut self, names: &Names<'_>) -> Self {
        self.from_name = names.text(&self.from);
        self.to_name = names.text(&self.to);
        self
    }

    /// Prints the message: as JSON on one line, or as two lines, the second with the details.
    pub(super) fn print(&self, names: &Names<'_>, context: &Context) -> Result<(), Failure> {
        let out = context.output;
        if out.is_json() {
            return out.json(self);
        }
        let is_sent = self.direction == "sent";
        let height = match self.height {
            Some(height) => height.to_string(),
            None if is_sent => "-".to_owned(),
            None => "withdrawn".to_owned(),
        };
        let (way, other) = if is_sent {
            ("to  ", &self.to)
        } else {
            ("from", &self.from)
        };
        let text = match &self.text {
            Some(text) => out.tone(Tone::Strong, &printable(text, 500)),
            None if self.sealed => out.tone(Tone::Faint, "(sealed)"),
            None => out.tone(Tone::Faint, "(unreadable)"),
        };
        let time = self.seen_at.map_or_else(|| "-".to_owned(), moment);
        out.line(format!(
            "{time:<20}  {height:>9}  {way} {}  {text}",
            shown(other, names)
        ))?;
        let notes = out.tone(Tone::Faint, &self.notes().join(", "));
        out.line(format!("{:>31}  {notes}", ""))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(self.transaction.clone());
        let amount = self.amount.as_ref().map(|amount| amount.get());
        notes.extend(
            amount
                .filter(|amount| *amount != "0")
                .map(|amount| format!("{} AIT", printable(amount, 40))),
        );
        let named = |what: &str, value: Option<&str>| {
            value.map(|value| format!("{what} {}", printable(value, 128)))
        };
        notes.extend(named("id", self.message_id.as_deref()));
        notes.extend(named("thread", self.thread.as_deref()));
        notes.extend(named("re", self.re.as_deref()));
        notes.extend(self.ack.map(|asked| format!("asks for {asked}")));
        notes.extend(self.expires_at.map(|at| format!("expires {}", moment(at))));
        notes.extend(named("header unreadable:", self.damage.as_deref()));
        if self.sealed {
            notes.push("sealed".to_owned());
            notes.extend(named("not opened:", self.closed.as_deref()));
        }
        notes.extend(self.authenticity.clone());
        notes.extend(named("resend of", self.resend_of.as_deref()));
        let state = self.state.clone();
        // The state of a forged message is always `forged`.
        notes.extend(state.filter(|state| Some(state) != self.authenticity.as_ref()));
        notes.extend(self.reason.as_deref().map(|reason| printable(reason, 200)));
        if let Some(receipt) = &self.receipt {
            let detail = receipt.detail.as_deref();
            let detail =
                detail.map_or_else(String::new, |text| format!(": {}", printable(text, 200)));
            let state = match receipt.state {
                "open" if receipt.wanted.is_some() => "not acknowledged yet",
                "open" => "open",
                state => state,
            };
            notes.push(format!("receipt {state}{detail}"));
        }
        notes
    }
}
