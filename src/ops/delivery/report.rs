//! What has happened to a message, stage by stage, and which stages were not reached.

use std::time::{Duration, Instant};

use agentry_core::rows::ReceiptState;
use agentry_protocol::command::AckStatus;
use agentry_protocol::timestamp::millis;
use agentry_protocol::untrusted::printable;
use agentry_protocol::{AckRequest, TransactionHash};
use agentry_store::list::talk::Delivery;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::content::MessageContent;
use super::watch::Watch;
use super::{Carrier, DeliveryError, Facts, Heard, What};

/// Something that has happened to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryStage {
    /// One of `sent`, `resent`, `accepted`, `mined`, `received`, `done`, `failed`, `rejected`,
    /// `expired`, `unacknowledged`, `unsent`, `progress`, `answered`.
    pub stage: &'static str,
    /// Who reports it: `runtime`, `node`, `chain`, `recipient`.
    pub by: &'static str,
    /// Time since the start of the command.
    pub after_ms: u64,
    /// The transaction that was sent, or that carries the reply.
    pub transaction: Option<String>,
    /// The block that holds it.
    pub height: Option<u64>,
    /// For a reply, whether its sender is verified.
    pub authenticity: Option<String>,
    /// Further details.
    pub detail: Option<String>,
}

impl DeliveryStage {
    /// Whether both report the same.
    fn is(&self, other: &Self) -> bool {
        self.stage == other.stage
            && self.by == other.by
            && self.transaction == other.transaction
            && (self.by != "chain" || self.height == other.height)
    }
}

/// The stages to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The acknowledgment that the message asks for.
    pub ack: Option<AckRequest>,
    /// Whether to wait for anything after the message is in a block.
    pub outcome: bool,
    /// Whether to wait for an answer.
    pub answer: bool,
}

/// How waiting ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every awaited stage was reached.
    Complete,
    /// An awaited stage cannot be reached any more.
    Over(Undelivered),
}

/// Why an awaited stage cannot be reached any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It failed before it was in a block.
    #[error("not sent: {}", printable(.reason, 500))]
    Unsent {
        /// Why.
        reason: String,
        /// Whether it expired.
        expired: bool,
    },
    /// The recipient failed to act on it.
    #[error("the recipient failed to act on it{}", explained(.0.as_deref()))]
    Failed(Option<String>),
    /// The recipient refused it.
    #[error("the recipient refused it{}", explained(.0.as_deref()))]
    Rejected(Option<String>),
    /// The recipient saw it too late.
    #[error("it expired before the recipient acted on it")]
    Expired,
    /// No acknowledgment came.
    #[error("no acknowledgment came in time, though it was sent {sent} times; {summary}")]
    Unacknowledged {
        /// How often it was sent.
        sent: usize,
        /// The stages that were reached, and those that were not.
        summary: String,
    },
}

impl Undelivered {
    /// Whether the same message may be delivered if it is sent again.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unsent { expired, .. } => *expired,
            Self::Failed(_) | Self::Rejected(_) => false,
            Self::Expired | Self::Unacknowledged { .. } => true,
        }
    }
}

fn explained(detail: Option<&str>) -> String {
    detail.map_or_else(String::new, |text| format!(": {}", printable(text, 500)))
}

/// What has happened to a message.
#[derive(Debug)]
pub struct DeliveryReport {
    began: Instant,
    wanted: Wanted,
    stages: Vec<DeliveryStage>,
    facts: Facts,
}

impl DeliveryReport {
    /// A report without any stage.
    pub const fn new(began: Instant, wanted: Wanted) -> Self {
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
    fn learn(&mut self, facts: Facts) -> &[DeliveryStage] {
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

    fn add(&mut self, stage: DeliveryStage) {
        if !self.stages.iter().any(|known| known.is(&stage)) {
            self.stages.push(stage);
        }
    }

    fn stage(&self, stage: &'static str, by: &'static str) -> DeliveryStage {
        DeliveryStage {
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
        let of = |stage: DeliveryStage| DeliveryStage {
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
            let mined = DeliveryStage {
                height: carrier.height,
                ..self.stage("mined", "chain")
            };
            self.add(of(mined));
        }
        if carrier.failed && index == 0 {
            let unsent = DeliveryStage {
                detail: carrier.reason.clone(),
                ..self.stage("unsent", "runtime")
            };
            self.add(of(unsent));
        }
    }

    fn heard(&mut self, heard: &Heard) {
        let (stage, detail) = match &heard.what {
            What::Ack(status, detail) => (word(*status), detail.clone()),
            What::Progress(content) => ("progress", Some(text_of(content))),
            What::Answer(content) => ("answered", Some(text_of(content))),
        };
        let stage = DeliveryStage {
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
        let told = |known: &DeliveryStage| known.stage == stage && known.by == by;
        // A message that was never sent has expired here, not at the recipient.
        let expired_here = stage == "expired" && self.has("unsent");
        if self.stages.iter().any(told) || expired_here {
            return;
        }
        let stage = DeliveryStage {
            detail: delivery.detail.clone(),
            ..self.stage(stage, by)
        };
        self.add(stage);
    }

    fn has(&self, stage: &str) -> bool {
        self.stages.iter().any(|known| known.stage == stage)
    }

    fn acknowledged(&self, by: &str) -> bool {
        let said = |known: &DeliveryStage| known.stage == by && known.by == "recipient";
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

    /// Takes what is known now.
    ///
    /// # Errors
    /// The message cannot be watched.
    pub async fn look(&mut self, watch: &mut Watch) -> Result<(), DeliveryError> {
        if let Some(facts) = watch.look().await? {
            self.learn(facts);
        }
        Ok(())
    }

    /// Watches a message until there is a verdict, or `tell` returns that it is enough, or this long
    /// after the report began. `tell` gets the new stages after each look; there may be none.
    ///
    /// # Errors
    /// The message cannot be watched; or the error of `tell`.
    pub async fn follow<E: From<DeliveryError>>(
        &mut self,
        watch: &mut Watch,
        limit: Duration,
        mut tell: impl FnMut(&Self, &[DeliveryStage]) -> Result<bool, E>,
    ) -> Result<Option<Verdict>, E> {
        loop {
            let known = self.stages.len();
            self.look(watch).await?;
            let enough = tell(self, self.stages.get(known..).unwrap_or_default())?;
            let verdict = self.verdict();
            let waited = self.began.elapsed();
            if enough || verdict.is_some() || waited >= limit {
                return Ok(verdict);
            }
            watch.wait(limit.saturating_sub(waited)).await;
        }
    }

    /// The time since the report began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The awaited stages that were reached, and those that were not.
    pub fn parts(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        self.expected().into_iter().partition(|stage| match *stage {
            "received" | "done" => self.acknowledged(stage),
            stage => self.has(stage),
        })
    }

    /// Whether waiting is over.
    pub fn verdict(&self) -> Option<Verdict> {
        let over = |why| Some(Verdict::Over(why));
        let mined = self.facts.carriers.iter().any(|one| one.height.is_some());
        let first = self.facts.carriers.first();
        let delivery = self.facts.delivery.as_ref();
        let state = delivery.map_or(ReceiptState::Open, |delivery| delivery.state);
        let detail = || delivery.and_then(|delivery| delivery.detail.clone());
        if let Some(first) = first.filter(|first| first.failed && !mined) {
            let reason = first.reason.as_deref().unwrap_or("it is no longer retried");
            return over(Undelivered::Unsent {
                reason: reason.to_owned(),
                expired: state == ReceiptState::Expired,
            });
        }
        if self.wanted.outcome {
            match state {
                ReceiptState::Failed => return over(Undelivered::Failed(detail())),
                ReceiptState::Rejected => return over(Undelivered::Rejected(detail())),
                ReceiptState::Expired => return over(Undelivered::Expired),
                ReceiptState::Unacknowledged => {
                    return over(Undelivered::Unacknowledged {
                        sent: self.facts.carriers.len().max(1),
                        summary: self.summary(),
                    });
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

    /// What is known of the message.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The hash of the message's first transaction, once it is signed.
    pub fn hash(&self) -> Option<TransactionHash> {
        self.facts.carriers.first().and_then(|one| one.hash)
    }

    /// Why the message is not in a block yet, if that is known.
    pub fn waits(&self) -> Option<&str> {
        let first = self.facts.carriers.first();
        let first = first.filter(|one| one.height.is_none())?;
        first.reason.as_deref()
    }

    /// A sentence about the stages that were reached and those that were not.
    pub fn summary(&self) -> String {
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
    pub fn next(&self) -> &'static str {
        match self.parts().1.first() {
            Some(&"sent") => "to be signed",
            Some(&"accepted") => "for the node to accept it",
            Some(&"mined") => "to be mined",
            Some(&"answered") => "for an answer",
            _ => "for an acknowledgment",
        }
    }

    /// The report as JSON.
    pub fn to_json(&self, complete: bool) -> Value {
        let (came, missing) = self.parts();
        let answer = self.facts.heard.iter().find_map(|heard| match &heard.what {
            What::Answer(content) => Some((heard, content)),
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
            "answer": answer.map(|(heard, content)| json!({
                "transaction": heard.hash.to_string(),
                "height": heard.height,
                "authenticity": heard.authenticity,
                "text": content.text,
                "cmd": content.cmd,
                "sealed": content.sealed,
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

fn text_of(content: &MessageContent) -> String {
    match (&content.text, &content.closed) {
        (Some(text), _) if content.sealed => format!("{text} (sealed)"),
        (Some(text), _) => text.clone(),
        (None, Some(reason)) => format!("sealed, and not opened: {reason}"),
        (None, None) => "sealed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
