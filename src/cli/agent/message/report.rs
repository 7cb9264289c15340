//! What has happened to a message, stage by stage, and which stages were not reached.

use std::time::Instant;

use agentry_core::rows::ReceiptState;
use agentry_protocol::command::AckStatus;
use agentry_protocol::{AckRequest, Address, TransactionHash};
use agentry_store::list::talk::Delivery;
use serde_json::{Value, json};

use super::super::super::ExitCode;
use super::super::super::output::printable;
use super::super::said::Said;
use super::stage::Stage;
use crate::runtime::clock::millis;

/// What is known of a message at some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The sender.
    pub(super) from: Option<Address>,
    /// The transactions that carried it, oldest first.
    pub(super) carriers: Vec<Carrier>,
    /// Replies, in the order in which they came.
    pub(super) heard: Vec<Heard>,
    /// The runtime's delivery state, if an acknowledgment was asked for.
    pub(super) delivery: Option<Delivery>,
}

/// A transaction that carried the message.
#[derive(Clone, Debug, Default)]
pub(super) struct Carrier {
    /// Its hash, once it is signed.
    pub(super) hash: Option<TransactionHash>,
    /// Whether the node has accepted it.
    pub(super) accepted: bool,
    /// The block that holds it.
    pub(super) height: Option<u64>,
    /// Whether it has failed and is no longer retried.
    pub(super) failed: bool,
    /// Why it waits or failed.
    pub(super) reason: Option<String>,
}

/// A reply.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// Hash of its transaction.
    pub(super) hash: TransactionHash,
    /// The block that holds it.
    pub(super) height: Option<u64>,
    /// Whether its sender is verified.
    pub(super) authenticity: String,
    /// Its content.
    pub(super) what: What,
}

/// The content of a reply.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// An acknowledgment.
    Ack(AckStatus, Option<String>),
    /// Progress of a job.
    Progress(Said),
    /// An answer.
    Answer(Said),
}

/// The stages to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The acknowledgment that the message asks for.
    pub(super) ack: Option<AckRequest>,
    /// Whether to wait for anything after the message is in a block.
    pub(super) outcome: bool,
    /// Whether to wait for an answer.
    pub(super) answer: bool,
}

/// How waiting ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every awaited stage was reached.
    Complete,
    /// An awaited stage cannot be reached any more: the command ends with this exit code and
    /// message.
    Over(ExitCode, String),
}

/// What has happened to a message.
#[derive(Debug)]
pub(super) struct Report {
    began: Instant,
    wanted: Wanted,
    stages: Vec<Stage>,
    facts: Facts,
}

impl Report {
    /// A report without any stage.
    pub(super) const fn new(began: Instant, wanted: Wanted) -> Self {
        let facts = Facts {
            from: None,
            carriers: Vec::new(),
            heard: Vec::new(),
            delivery: None,
        };
        Self {
            began,
            wanted,
            stages: Vec::new(),
            facts,
        }
    }

    /// Takes what is known now, and returns the new stages.
    pub(super) fn learn(&mut self, facts: Facts) -> &[Stage] {
        let known = self.stages.len();
        for (index, carrier) in facts.carriers.iter().enumerate() {
            self.carried(index, carrier);
        }
        for heard in &facts.heard {
            self.heard(heard);
        }
        if let Some(delivery) = &facts.delivery {
            self.delivery(delivery);
        }
        self.facts = facts;
        self.stages.get(known..).unwrap_or_default()
    }

    fn add(&mut self, stage: Stage) {
        if !self.stages.iter().any(|known| known.is(&stage)) {
            self.stages.push(stage);
        }
    }

    fn stage(&self, stage: &'static str, by: &'static str) -> Stage {
        Stage {
            stage,
            by,
            after_ms: millis(self.began.elapsed()),
            transaction: None,
            height: None,
            authenticity: None,
            detail: None,
        }
    }

    fn carried(&mut self, index: usize, carrier: &Carrier) {
        let transaction = carrier.hash.map(|hash| hash.to_string());
        let of = |stage: Stage| Stage {
            transaction: transaction.clone(),
            ..stage
        };
        if transaction.is_some() {
            let sent = if index == 0 { "sent" } else { "resent" };
            self.add(of(self.stage(sent, "runtime")));
        }
        if carrier.accepted {
            self.add(of(self.stage("accepted", "node")));
        }
        if carrier.height.is_some() {
            let mined = Stage {
                height: carrier.height,
                ..self.stage("mined", "chain")
            };
            self.add(of(mined));
        }
        if carrier.failed && index == 0 {
            let unsent = Stage {
                detail: carrier.reason.clone(),
                ..self.stage("unsent", "runtime")
            };
            self.add(of(unsent));
        }
    }

    fn heard(&mut self, heard: &Heard) {
        let (stage, detail) = match &heard.what {
            What::Ack(status, detail) => (word(*status), detail.clone()),
            What::Progress(said) => ("progress", Some(text_of(said))),
            What::Answer(said) => ("answered", Some(text_of(said))),
        };
        let stage = Stage {
            transaction: Some(heard.hash.to_string()),
            height: heard.height,
            authenticity: Some(heard.authenticity.clone()),
            detail,
            ..self.stage(stage, "recipient")
        };
        self.add(stage);
    }

    /// Stages that the runtime concluded by itself, or whose message is no longer in the store.
    fn delivery(&mut self, delivery: &Delivery) {
        let (stage, by) = match delivery.state {
            ReceiptState::Open | ReceiptState::Unsent => return,
            ReceiptState::Unacknowledged => ("unacknowledged", "runtime"),
            ReceiptState::Received => ("received", "recipient"),
            ReceiptState::Accepted => ("accepted", "recipient"),
            ReceiptState::Done => ("done", "recipient"),
            ReceiptState::Failed => ("failed", "recipient"),
            ReceiptState::Rejected => ("rejected", "recipient"),
            ReceiptState::Expired => ("expired", "recipient"),
        };
        let told = |known: &Stage| known.stage == stage && known.by == by;
        // A message that was never sent has expired here, not at the recipient.
        let expired_here = stage == "expired" && self.has("unsent");
        if self.stages.iter().any(told) || expired_here {
            return;
        }
        let stage = Stage {
            detail: delivery.detail.clone(),
            ..self.stage(stage, by)
        };
        self.add(stage);
    }

    fn has(&self, stage: &str) -> bool {
        self.stages.iter().any(|known| known.stage == stage)
    }

    fn acknowledged(&self, by: &str) -> bool {
        let said = |known: &Stage| known.stage == by && known.by == "recipient";
        self.stages.iter().any(said)
    }

    /// The awaited stages, in order.
    fn expected(&self) -> Vec<&'static str> {
        let mut all = vec!["sent", "accepted", "mined"];
        if self.wanted.outcome {
            all.extend(self.wanted.ack.map(|_| "received"));
            all.extend((self.wanted.ack == Some(AckRequest::Done)).then_some("done"));
            all.extend(self.wanted.answer.then_some("answered"));
        }
        all
    }

    /// The awaited stages that were reached, and those that were not.
    pub(super) fn parts(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        self.expected().into_iter().partition(|stage| match *stage {
            "received" | "done" => self.acknowledged(stage),
            stage => self.has(stage),
        })
    }

    /// Whether waiting is over.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let over = |code, text: String| Some(Verdict::Over(code, text));
        let mined = self.facts.carriers.iter().any(|one| one.height.is_some());
        let first = self.facts.carriers.first();
        let delivery = self.facts.delivery.as_ref();
        let state = delivery.map_or(ReceiptState::Open, |delivery| delivery.state);
        let detail = delivery
            .and_then(|delivery| delivery.detail.as_deref())
            .map_or_else(String::new, |text| format!(": {}", printable(text, 500)));
        if let Some(first) = first.filter(|first| first.failed && !mined) {
            let reason = first.reason.as_deref().unwrap_or("it is no longer retried");
            let code = match state {
                ReceiptState::Expired => ExitCode::Temporary,
                _ => ExitCode::Data,
            };
            return over(code, format!("not sent: {}", printable(reason, 500)));
        }
        if self.wanted.outcome {
            match state {
                ReceiptState::Failed => {
                    return over(
                        ExitCode::Data,
                        format!("the recipient failed to act on it{detail}"),
                    );
                }
                ReceiptState::Rejected => {
                    return over(ExitCode::Data, format!("the recipient refused it{detail}"));
                }
                ReceiptState::Expired => {
                    let text = "it expired before the recipient acted on it";
                    return over(ExitCode::Temporary, text.to_owned());
                }
                ReceiptState::Unacknowledged => {
                    let resent = self.facts.carriers.len().saturating_sub(1);
                    return over(
                        ExitCode::Temporary,
                        format!(
                            "no acknowledgment came in time, though it was sent {} times; {}",
                            resent + 1,
                            self.summary()
                        ),
                    );
                }
                _ => {}
            }
        }
        let acknowledged = match self.wanted.ack.filter(|_| self.wanted.outcome) {
            None => true,
            Some(AckRequest::Received) => state.rank() >= ReceiptState::Received.rank(),
            Some(AckRequest::Done) => state == ReceiptState::Done,
        };
        let answered = !(self.wanted.outcome && self.wanted.answer) || self.has("answered");
        (mined && acknowledged && answered).then_some(Verdict::Complete)
    }

    /// The hash of the message's first transaction, once it is signed.
    pub(super) fn hash(&self) -> Option<TransactionHash> {
        self.facts.carriers.first().and_then(|one| one.hash)
    }

    /// Why the message is not in a block yet, if that is known.
    pub(super) fn waits(&self) -> Option<&str> {
        let first = self.facts.carriers.first();
        let first = first.filter(|one| one.height.is_none())?;
        first.reason.as_deref()
    }

    /// A sentence about the stages that were reached and those that were not.
    pub(super) fn summary(&self) -> String {
        let (came, missing) = self.parts();
        let list = |stages: Vec<&str>| match stages.is_empty() {
            true => "nothing".to_owned(),
            false => stages.join(", "),
        };
        let mut text = format!("reached: {}; not reached: {}", list(came), list(missing));
        if let Some(reason) = self.waits() {
            text.push_str(&format!(" (it waits: {})", printable(reason, 300)));
        }
        text
    }

    /// The next awaited stage.
    pub(super) fn next(&self) -> &'static str {
        match self.parts().1.first() {
            Some(&"sent") => "to be signed",
            Some(&"accepted") => "for the node to accept it",
            Some(&"mined") => "to be mined",
            Some(&"answered") => "for an answer",
            _ => "for an acknowledgment",
        }
    }

    /// The report as JSON.
    pub(super) fn json(&self, complete: bool) -> Value {
        let (came, missing) = self.parts();
        let answer = self.facts.heard.iter().find_map(|heard| match &heard.what {
            What::Answer(said) => Some((heard, said)),
            What::Ack(..) | What::Progress(_) => None,
        });
        let carriers = &self.facts.carriers;
        json!({
            "transaction": carriers.first().and_then(|one| one.hash).map(|hash| hash.to_string()),
            "from": self.facts.from,
            "height": carriers.iter().find_map(|one| one.height),
            "complete": complete,
            "came": came,
            "missing": missing,
            "resends": carriers.len().saturating_sub(1),
            "stages": self.stages,
            "receipt": self.facts.delivery.as_ref().map(|delivery| json!({
                "wanted": delivery.wanted,
                "state": delivery.state,
                "detail": delivery.detail,
            })),
            "answer": answer.map(|(heard, said)| json!({
                "transaction": heard.hash.to_string(),
                "height": heard.height,
                "authenticity": heard.authenticity,
                "text": said.text,
                "cmd": said.cmd,
                "sealed": said.sealed,
            })),
            "round_trip_ms": millis(self.began.elapsed()),
        })
    }
}

/// The stage that corresponds to an acknowledgment.
const fn word(status: AckStatus) -> &'static str {
    match status {
        AckStatus::Received => "received",
        AckStatus::Accepted => "accepted",
        AckStatus::Done => "done",
        AckStatus::Failed => "failed",
        AckStatus::Rejected => "rejected",
        AckStatus::Expired => "expired",
    }
}

fn text_of(said: &Said) -> String {
    match (&said.text, &said.closed) {
        (Some(text), _) if said.sealed => format!("{text} (sealed)"),
        (Some(text), _) => text.clone(),
        (None, Some(reason)) => format!("sealed, and not opened: {reason}"),
        (None, None) => "sealed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
