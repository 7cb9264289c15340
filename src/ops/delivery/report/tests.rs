//! Tests of stages, verdicts and summaries.

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

fn delivery(state: ReceiptState) -> Option<Delivery> {
    Some(Delivery {
        wanted: Some("done".to_owned()),
        state,
        detail: None,
        resends_left: 0,
    })
}

fn ack(status: AckStatus) -> Heard {
    Heard {
        inbox: None,
        hash: hash(status.as_str()),
        height: Some(9),
        authenticity: "verified".to_owned(),
        what: What::Ack(status, None),
    }
}

fn told(report: &DeliveryReport) -> Vec<&'static str> {
    report.stages.iter().map(|stage| stage.stage).collect()
}

#[test]
fn each_stage_is_told_once_and_in_its_turn() {
    let mut report = DeliveryReport::new(Instant::now(), DONE);
    let mut facts = Facts {
        carriers: vec![Carrier::default()],
        delivery: delivery(ReceiptState::Open),
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
        "reached: sent, accepted, mined; not reached: received, done"
    );
    facts.heard = vec![ack(AckStatus::Received), ack(AckStatus::Done)];
    facts.delivery = delivery(ReceiptState::Done);
    report.learn(facts);
    assert_eq!(
        told(&report),
        [
            "sent", "accepted", "mined", "resent", "accepted", "received", "done"
        ]
    );
    assert_eq!(report.verdict(), Some(Verdict::Complete));
    assert_eq!(report.to_json(true)["resends"], 1);
}

#[test]
fn a_reorganisation_is_told_as_it_happens() {
    let mut report = DeliveryReport::new(Instant::now(), DONE);
    for height in [Some(7), None, Some(8)] {
        report.learn(Facts {
            carriers: vec![carrier("a", height)],
            ..Facts::default()
        });
    }
    assert_eq!(told(&report), ["sent", "accepted", "mined", "mined"]);
    assert_eq!(report.to_json(false)["height"], 8);
}

#[test]
fn what_the_runtime_knows_without_a_message_is_told_too() {
    let mut report = DeliveryReport::new(Instant::now(), DONE);
    let facts = |state| Facts {
        carriers: vec![carrier("a", Some(7))],
        delivery: delivery(state),
        ..Facts::default()
    };
    report.learn(facts(ReceiptState::Received));
    assert_eq!(report.verdict(), None);
    report.learn(facts(ReceiptState::Unacknowledged));
    assert_eq!(
        told(&report),
        ["sent", "accepted", "mined", "received", "unacknowledged"]
    );
    let Some(Verdict::Over(why)) = report.verdict() else {
        panic!("it is over");
    };
    assert!(why.is_transient());
    assert!(why.to_string().contains("not reached: done"), "{why}");
    // A late stage is still reported, and counts.
    report.learn(facts(ReceiptState::Done));
    assert_eq!(report.verdict(), Some(Verdict::Complete));
    report.learn(facts(ReceiptState::Rejected));
    let refused = Verdict::Over(Undelivered::Rejected(None));
    assert_eq!(report.verdict(), Some(refused));
}

#[test]
fn what_could_not_be_sent_is_no_matter_of_time() {
    let mut report = DeliveryReport::new(Instant::now(), DONE);
    let failed = Carrier {
        failed: true,
        reason: Some("no account".to_owned()),
        ..Carrier::default()
    };
    report.learn(Facts {
        carriers: vec![failed],
        delivery: delivery(ReceiptState::Unsent),
        ..Facts::default()
    });
    assert_eq!(told(&report), ["unsent"]);
    let Some(Verdict::Over(why)) = report.verdict() else {
        panic!("it is over");
    };
    assert_eq!(why.to_string(), "not sent: no account");
    assert!(!why.is_transient());
}

#[test]
fn an_answer_is_printable_and_progress_is_none() {
    let answering = Wanted {
        ack: None,
        outcome: true,
        answer: true,
    };
    let mut report = DeliveryReport::new(Instant::now(), answering);
    let content = |text: &str| MessageContent::read(&agentry_protocol::Json::string(text));
    let heard = |of: &str, what| Heard {
        inbox: None,
        hash: hash(of),
        height: Some(8),
        authenticity: "unverified".to_owned(),
        what,
    };
    let mut facts = Facts {
        carriers: vec![carrier("a", Some(7))],
        heard: vec![heard("p", What::Progress(content("half")))],
        ..Facts::default()
    };
    report.learn(facts.clone());
    assert_eq!(report.verdict(), None);
    let mut sealed = content(r#"{"cmd":"SEALED"}"#);
    sealed.open(Ok(&Payload::Text("po\u{1b}ng".to_owned())));
    facts.heard.push(heard("q", What::Answer(sealed)));
    let stage = report.learn(facts).first().unwrap();
    assert_eq!((stage.stage, stage.height), ("answered", Some(8)));
    assert_eq!(stage.detail.as_deref(), Some("po\u{1b}ng (sealed)"));
    assert_eq!(report.verdict(), Some(Verdict::Complete));
    assert_eq!(report.to_json(true)["answer"]["sealed"], true);
}

#[test]
fn what_is_accepted_and_not_mined_says_why() {
    let mut report = DeliveryReport::new(Instant::now(), DONE);
    let stuck = Carrier {
        reason: Some("its mempool cannot be read".to_owned()),
        ..carrier("a", None)
    };
    report.learn(Facts {
        carriers: vec![stuck],
        ..Facts::default()
    });
    assert_eq!(report.next(), "to be mined");
    assert!(report.summary().contains("its mempool cannot be read"));
    report.learn(Facts {
        carriers: vec![carrier("a", Some(7))],
        ..Facts::default()
    });
    assert_eq!(report.waits(), None);
}
