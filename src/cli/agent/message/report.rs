//! What has come of a message, stage by stage, and which of them never came.

use std::time::Instant;

use agentry_protocol::command::AckStatus;
use agentry_protocol::{AckRequest, Address, TransactionHash};
use serde_json::{Value, json};

use super::super::super::ExitCode;
use super::super::super::output::printable;
use super::super::said::Said;
use super::stage::Stage;
use crate::store::list::talk::Fate;
use crate::store::rows::ReceiptState;

/// What is known of a message at some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Who sent it.
    pub(super) from: Option<Address>,
    /// The transactions that carried it, the first one first.
    pub(super) carriers: Vec<Carrier>,
    /// What came back, in the order in which it came.
    pub(super) heard: Vec<Heard>,
    /// What the runtime holds of its fate, where an acknowledgment was asked for.
    pub(super) fate: Option<Fate>,
}

/// A transaction that carried the message.
#[derive(Clone, Debug, Default)]
pub(super) struct Carrier {
    /// Its hash, once it is signed.
    pub(super) hash: Option<TransactionHash>,
    /// Whether the node has taken it.
    pub(super) accepted: bool,
    /// The block that holds it.
    pub(super) height: Option<u64>,
    /// Whether it was given up.
    pub(super) failed: bool,
    /// Why it waits or failed.
    pub(super) reason: Option<String>,
}

/// Something that came back.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// Hash of its transaction.
    pub(super) hash: TransactionHash,
    /// The block that holds it.
    pub(super) height: Option<u64>,
    /// What is known of its sender.
    pub(super) authenticity: String,
    /// What it is.
    pub(super) what: What,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// An acknowledgment.
    Ack(AckStatus, Option<String>),
    /// How far a job is.
    Progress(Said),
    /// An answer.
    Answer(Said),
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The acknowledgment that the message asks for.
    pub(super) ack: Option<AckRequest>,
    /// Whether what comes behind its block is waited for at all.
    pub(super) outcome: bool,
    /// Whether an answer is waited for.
    pub(super) answer: bool,
}

/// How waiting ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was waited for has come.
    Complete,
    /// It will not come: the process ends so, saying this.
    Over(ExitCode, String),
}

/// What has come of a message.
#[derive(Debug)]
pub(super) struct Report {
    began: Instant,
    wanted: Wanted,
    stages: Vec<Stage>,
    facts: Facts,
}

impl Report {
    /// Of a message of which nothing has come yet.
    pub(super) const fn new(began: Instant, wanted: Wanted) -> Self {
        let facts = Facts {
            from: None,
            carriers: Vec::new(),
            heard: Vec::new(),
            fate: None,
        };
        Self {
            began,
            wanted,
            stages: Vec::new(),
            facts,
        }
    }

    /// Takes what is known now; gives what is new.
    pub(super) fn learn(&mut self, facts: Facts) -> &[Stage] {
        let known = self.stages.len();
        for (index, carrier) in facts.carriers.iter().enumerate() {
            self.carried(index, carrier);
        }
        for heard in &facts.heard {
            self.heard(heard);
        }
        if let Some(fate) = &facts.fate {
            self.fated(fate);
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
            after_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
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
            What::Progress(said) => ("progress", Some(spoken(said))),
            What::Answer(said) => ("answered", Some(spoken(said))),
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

    /// What the runtime concluded by itself, or holds without that the message that says so is
    /// still there.
    fn fated(&mut self, fate: &Fate) {
        let (stage, by) = match fate.state {
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
        // One that was never sent has expired here.
        let lapsed = stage == "expired" && self.has("unsent");
        if self.stages.iter().any(told) || lapsed {
            return;
        }
        let stage = Stage {
            detail: fate.detail.clone(),
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

    /// The stages that are waited for, in their order.
    fn expected(&self) -> Vec<&'static str> {
        let mut all = vec!["sent", "accepted", "mined"];
        if self.wanted.outcome {
            all.extend(self.wanted.ack.map(|_| "received"));
            all.extend((self.wanted.ack == Some(AckRequest::Done)).then_some("done"));
            all.extend(self.wanted.answer.then_some("answered"));
        }
        all
    }

    /// Of the stages that are waited for, those that came, and those that did not.
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
        let fate = self.facts.fate.as_ref();
        let state = fate.map_or(ReceiptState::Open, |fate| fate.state);
        let detail = fate
            .and_then(|fate| fate.detail.as_deref())
            .map_or_else(String::new, |text| format!(": {}", printable(text, 500)));
        if let Some(first) = first.filter(|first| first.failed && !mined) {
            let reason = first.reason.as_deref().unwrap_or("it was given up");
            let code = match state {
                ReceiptState::Expired => ExitCode::Temporary,
                _ => ExitCode::Data,
            };
            return over(code, format!("not sent: {}", printable(reason, 500)));
        }
        if self.wanted.outcome {
            match state {
                ReceiptState::Failed => {
                    return over(ExitCode::Data, format!("acting on it failed{detail}"));
                }
                ReceiptState::Rejected => {
                    return over(ExitCode::Data, format!("its recipient refused it{detail}"));
                }
                ReceiptState::Expired => {
                    let text = "its time was over before its recipient acted on it";
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

    /// The message's first transaction, once it is signed.
    pub(super) fn hash(&self) -> Option<TransactionHash> {
        self.facts.carriers.first().and_then(|one| one.hash)
    }

    /// Why the message is not with the node yet, if that is known.
    pub(super) fn waits(&self) -> Option<&str> {
        let first = self.facts.carriers.first().filter(|one| !one.accepted)?;
        first.reason.as_deref()
    }

    /// What came and what did not, as a sentence.
    pub(super) fn summary(&self) -> String {
        let (came, missing) = self.parts();
        let list = |stages: Vec<&str>| match stages.is_empty() {
            true => "nothing".to_owned(),
            false => stages.join(", "),
        };
        let mut text = format!("came: {}; never came: {}", list(came), list(missing));
        if let Some(reason) = self.waits() {
            text.push_str(&format!(" (it waits: {})", printable(reason, 300)));
        }
        text
    }

    /// What is waited for now.
    pub(super) fn next(&self) -> &'static str {
        match self.parts().1.first() {
            Some(&"sent") => "to be signed",
            Some(&"accepted") => "for the node to accept it",
            Some(&"mined") => "to be mined",
            Some(&"answered") => "for an answer",
            _ => "for an acknowledgment",
        }
    }

    /// For programs.
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
            "receipt": self.facts.fate.as_ref().map(|fate| json!({
                "wanted": fate.wanted,
                "state": fate.state,
                "detail": fate.detail,
            })),
            "answer": answer.map(|(heard, said)| json!({
                "transaction": heard.hash.to_string(),
                "height": heard.height,
                "authenticity": heard.authenticity,
                "text": said.text,
                "cmd": said.cmd,
                "sealed": said.sealed,
            })),
            "round_trip_ms": u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// The stage that an acknowledgment is.
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

fn spoken(said: &Said) -> String {
    match (&said.text, &said.closed) {
        (Some(text), _) if said.sealed => format!("{text} (sealed)"),
        (Some(text), _) => text.clone(),
        (None, Some(reason)) => format!("sealed, and not opened: {reason}"),
        (None, None) => "sealed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::Payload;

    use super::*;

    const DONE: Wanted = Wanted {
        ack: Some(AckRequest::Done),
        outcome: true,
        answer: false,
    };

    fn hash(of: &str) -> TransactionHash {
        TransactionHash::of(of.as_bytes())
    }

    fn carrier(of: &str, height: Option<u64>) -> Carrier {
        Carrier {
            hash: Some(hash(of)),
            accepted: true,
            height,
            ..Carrier::default()
        }
    }

    fn fate(state: ReceiptState) -> Option<Fate> {
        Some(Fate {
            wanted: Some("done".to_owned()),
            state,
            detail: None,
            resends_left: 0,
        })
    }

    fn ack(status: AckStatus) -> Heard {
        Heard {
            hash: hash(status.as_str()),
            height: Some(9),
            authenticity: "verified".to_owned(),
            what: What::Ack(status, None),
        }
    }

    fn told(report: &Report) -> Vec<&'static str> {
        report.stages.iter().map(|stage| stage.stage).collect()
    }

    #[test]
    fn each_stage_is_told_once_and_in_its_turn() {
        let mut report = Report::new(Instant::now(), DONE);
        let mut facts = Facts {
            carriers: vec![Carrier::default()],
            fate: fate(ReceiptState::Open),
            ..Facts::default()
        };
        assert!(report.learn(facts.clone()).is_empty());
        assert_eq!(report.next(), "to be signed");
        facts.carriers = vec![carrier("a", None)];
        report.learn(facts.clone());
        assert_eq!(report.next(), "to be mined");
        facts.carriers = vec![carrier("a", Some(7)), carrier("b", None)];
        assert_eq!(report.learn(facts.clone()).len(), 3);
        assert!(report.learn(facts.clone()).is_empty());
        assert_eq!(report.verdict(), None);
        assert_eq!(
            report.summary(),
            "came: sent, accepted, mined; never came: received, done"
        );
        facts.heard = vec![ack(AckStatus::Received), ack(AckStatus::Done)];
        facts.fate = fate(ReceiptState::Done);
        report.learn(facts);
        assert_eq!(
            told(&report),
            [
                "sent", "accepted", "mined", "resent", "accepted", "received", "done"
            ]
        );
        assert_eq!(report.verdict(), Some(Verdict::Complete));
        assert_eq!(report.json(true)["resends"], 1);
    }

    #[test]
    fn a_reorganisation_is_told_as_it_happens() {
        let mut report = Report::new(Instant::now(), DONE);
        for height in [Some(7), None, Some(8)] {
            report.learn(Facts {
                carriers: vec![carrier("a", height)],
                ..Facts::default()
            });
        }
        assert_eq!(told(&report), ["sent", "accepted", "mined", "mined"]);
        assert_eq!(report.json(false)["height"], 8);
    }

    #[test]
    fn what_the_runtime_knows_without_a_message_is_told_too() {
        let mut report = Report::new(Instant::now(), DONE);
        let facts = |state| Facts {
            carriers: vec![carrier("a", Some(7))],
            fate: fate(state),
            ..Facts::default()
        };
        report.learn(facts(ReceiptState::Received));
        assert_eq!(report.verdict(), None);
        report.learn(facts(ReceiptState::Unacknowledged));
        assert_eq!(
            told(&report),
            ["sent", "accepted", "mined", "received", "unacknowledged"]
        );
        let Some(Verdict::Over(code, text)) = report.verdict() else {
            panic!("it is over");
        };
        assert_eq!(code, ExitCode::Temporary);
        assert!(text.contains("never came: done"), "{text}");
        // What comes after all is told, and counts.
        report.learn(facts(ReceiptState::Done));
        assert_eq!(report.verdict(), Some(Verdict::Complete));
        report.learn(facts(ReceiptState::Rejected));
        assert!(matches!(
            report.verdict(),
            Some(Verdict::Over(ExitCode::Data, _))
        ));
    }

    #[test]
    fn what_could_not_be_sent_is_no_matter_of_time() {
        let mut report = Report::new(Instant::now(), DONE);
        let failed = Carrier {
            failed: true,
            reason: Some("no account".to_owned()),
            ..Carrier::default()
        };
        report.learn(Facts {
            carriers: vec![failed],
            fate: fate(ReceiptState::Unsent),
            ..Facts::default()
        });
        assert_eq!(told(&report), ["unsent"]);
        let over = Verdict::Over(ExitCode::Data, "not sent: no account".to_owned());
        assert_eq!(report.verdict(), Some(over));
    }

    #[test]
    fn an_answer_is_printable_and_progress_is_none() {
        let answering = Wanted {
            ack: None,
            outcome: true,
            answer: true,
        };
        let mut report = Report::new(Instant::now(), answering);
        let said = |text: &str| Said::read(&agentry_protocol::Json::string(text));
        let heard = |of: &str, what| Heard {
            hash: hash(of),
            height: Some(8),
            authenticity: "unverified".to_owned(),
            what,
        };
        let mut facts = Facts {
            carriers: vec![carrier("a", Some(7))],
            heard: vec![heard("p", What::Progress(said("half")))],
            ..Facts::default()
        };
        report.learn(facts.clone());
        assert_eq!(report.verdict(), None);
        let mut sealed = said(r#"{"cmd":"SEALED"}"#);
        sealed.open(Ok(&Payload::Text("po\u{1b}ng".to_owned())));
        facts.heard.push(heard("q", What::Answer(sealed)));
        let line = report.learn(facts).first().unwrap().line("ait1");
        assert!(line.starts_with("answered  in block 8 after"), "{line}");
        assert!(line.contains("po\\u{1b}ng (sealed)"), "{line}");
        assert_eq!(report.verdict(), Some(Verdict::Complete));
        assert_eq!(report.json(true)["answer"]["sealed"], true);
    }
}
