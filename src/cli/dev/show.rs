//! What `agentry dev` prints: lines for people, or JSON lines.

use agentry_protocol::{Dialect, Timestamp};
use serde_json::json;

use super::super::output::{Tone, moment, printable, printable_lines};
use super::super::{Failure, Output};
use crate::config::Config;
use crate::ops::conversations::MessageEntry;
use crate::runtime::host::Started;
use crate::runtime::reload::Applied;

/// The longest text of a message that is printed, in characters.
const LONGEST: usize = 2_000;

/// Prints to standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Show {
    out: Output,
}

impl Show {
    pub(super) const fn new(out: Output) -> Self {
        Self { out }
    }

    /// The agents are running; `from` sends to `to` what is typed.
    pub(super) fn started(
        self,
        config: &Config,
        started: &Started,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), Failure> {
        let names: Vec<&str> = config.agents.iter().map(|one| one.name.as_str()).collect();
        let status = format!("http://{}", started.status);
        if self.out.is_json() {
            return self.out.json(&json!({
                "event": "started",
                "agents": names,
                "node": started.node,
                "status": status,
                "from": from,
                "to": to,
            }));
        }
        self.out.line(format!(
            "running {} on a node of your own, {}; status on {status}/ready",
            names.join(", "),
            started.node
        ))?;
        match (from, to) {
            (Some(from), Some(to)) => self.out.line(format!(
                "what you type is sent from {from} to {to}; `@NAME …` sends to another agent\n\
                 from another terminal: agentry agent message --wallet {from} --to {to} hello --wait"
            ))?,
            _ => self.out.line(
                "an agent without behaviours in agents.toml would send what you type here",
            )?,
        }
        self.out.line("Ctrl-C stops\n")
    }

    /// A message that is in a block, or failed.
    pub(super) fn message(self, entry: &MessageEntry, dialect: Dialect) -> Result<(), Failure> {
        if self.out.is_json() {
            return self
                .out
                .json(&json!({ "event": "message", "message": entry }));
        }
        let who = |name: &Option<String>, address: &String| {
            printable(name.as_ref().unwrap_or(address), 64)
        };
        let text = match &entry.text {
            Some(text) => self.out.tone(Tone::Strong, &printable(text, LONGEST)),
            None => self.out.tone(Tone::Faint, "(sealed)"),
        };
        let amount = entry.amount.as_ref().map(|amount| amount.get());
        let amount = amount.filter(|amount| *amount != "0");
        let amount = amount.map_or_else(String::new, |amount| {
            format!("  {}", dialect.amount(amount))
        });
        let failed = match (entry.state.as_deref(), &entry.reason) {
            (Some("failed"), Some(reason)) => format!("  not sent: {}", printable(reason, 300)),
            _ => String::new(),
        };
        self.out.line(format!(
            "{}  {} → {}  {text}{amount}{failed}",
            entry.seen_at.map_or_else(|| "-".to_owned(), clock),
            who(&entry.from_name, &entry.from),
            who(&entry.to_name, &entry.to),
        ))
    }

    /// Changes were applied.
    pub(super) fn reloaded(self, applied: &Applied) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.out.json(&json!({
                "event": "reloaded",
                "agents": applied.agents,
                "restarted": applied.restarted,
                "contacts": applied.contacts,
            }));
        }
        self.out
            .line(self.out.tone(Tone::Good, &format!("reloaded: {applied}")))
    }

    /// Something does not work, and everything else goes on.
    pub(super) fn failed(self, reason: &str) -> Result<(), Failure> {
        if self.out.is_json() {
            return self
                .out
                .json(&json!({ "event": "failed", "reason": reason }));
        }
        let reason = printable_lines(reason, 8_000);
        self.out
            .line(self.out.tone(Tone::Bad, &format!("! {reason}")))
    }
}

/// The time of day.
fn clock(time: Timestamp) -> String {
    let moment = moment(time);
    let clock = moment.split(['T', ' ']).nth(1).unwrap_or(&moment);
    clock.get(..8).unwrap_or(clock).to_owned()
}
