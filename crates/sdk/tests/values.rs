//! The values that behaviours receive and return.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use agentry_sdk::protocol::command::{Ack, AckStatus, Announce, Endpoints, Status, Tags};
use agentry_sdk::protocol::{AckRequest, BlockHeight, Json, KnownCommand, Limits, TransactionHash};
use agentry_sdk::testing::{MessageBuilder, Party, START, TestEnvironment, block_on};
use agentry_sdk::{
    BehaviourError, Card, Context, DeliveryUpdate, Message, NameError, Query, State, TaskError,
};

fn card(owner: &str, name: &str, capabilities: &[&str], height: u64) -> Card {
    let owner = Party::named(owner);
    let tags = capabilities.iter().map(|tag| tag.parse().unwrap());
    Card {
        address: owner.address,
        public_key: owner.public_key,
        card: Announce {
            name: name.parse().unwrap(),
            description: None,
            capabilities: Tags::new(tags.collect()).unwrap(),
            commands: Tags::new(vec!["PING".parse().unwrap()]).unwrap(),
            enc_key: None,
            schemas: None,
            endpoints: Endpoints::default(),
            expires: START.plus_ms(1_000),
        },
        transaction: TransactionHash::of(b"card"),
        height: BlockHeight(height),
    }
}

#[test]
fn a_query_matches_only_if_all_its_conditions_hold() {
    let digger = card("a", "digger", &["dig", "carry"], 5);
    let fits = |query: &Query| query.fits(&digger, START);
    let mut query = Query::capability("dig");
    assert!(fits(&Query::all()) && fits(&query) && fits(&Query::command("PING")));
    query.capabilities.push("carry".to_owned());
    assert!(fits(&query));
    query.capabilities.push("fly".to_owned());
    assert!(!fits(&query));
    assert!(!fits(&Query::command("ping")));
    let since = |height| Query {
        announced_since: Some(BlockHeight(height)),
        ..Query::all()
    };
    assert!(fits(&since(5)) && !fits(&since(6)));
    let named = |name: &str| Query {
        name: Some(name.to_owned()),
        ..Query::all()
    };
    assert!(fits(&named("digger")) && !fits(&named("Digger")));
    assert!(!Query::all().fits(&digger, START.plus_ms(1_001)));
}

#[test]
fn a_context_looks_things_up() {
    let environment = TestEnvironment::new();
    for (owner, name) in [("a", "zoe"), ("b", "adam"), ("c", "twin"), ("d", "twin")] {
        environment.announce(card(owner, name, &["dig"], 1));
    }
    let boss = Party::named("boss");
    environment.alias("twin-a", &boss);
    environment.set_status("agent", Status::default());
    let context = Context {
        agent: "agent".to_owned(),
        address: boss.address.clone(),
        behaviour: "b".to_owned(),
        attempt: 1,
        now: START,
        state: State::default(),
        environment: Arc::new(environment),
    };
    let found = context.find(&Query::capability("dig"));
    let names: Vec<_> = found.iter().map(|card| card.card.name.as_str()).collect();
    assert_eq!(names, ["adam", "twin", "twin", "zoe"]);
    let two = Query {
        limit: 2,
        ..Query::all()
    };
    assert_eq!(context.find(&two).len(), 2);
    assert_eq!(context.resolve("twin-a"), Ok(boss.address));
    assert_eq!(context.resolve("zoe"), Ok(Party::named("a").address));
    let nobody = NameError::Unknown("nobody".to_owned());
    assert_eq!(context.resolve("nobody"), Err(nobody));
    let error = context.resolve("twin").unwrap_err().to_string();
    assert!(error.starts_with("2 agents in the directory are called \"twin\": ait1"));
    assert_eq!(block_on(context.status()), Status::default());
}

fn read(text: &str) -> Message {
    MessageBuilder::raw(Json::parse(text.as_bytes(), Limits::NONE).unwrap()).build()
}

#[test]
fn a_message_is_text_or_command_or_neither() {
    let text = MessageBuilder::text("hello").build();
    assert_eq!((text.text(), text.cmd()), (Some("hello"), None));
    assert_eq!(text.command(), Ok(None));
    assert!(!text.is_answer());

    let ping = MessageBuilder::command(&KnownCommand::Ping).build();
    assert_eq!((ping.text(), ping.cmd()), (None, Some("PING")));
    assert_eq!(ping.command(), Ok(Some(KnownCommand::Ping)));

    let foreign = read(r#"{"cmd":"DANCE"}"#);
    assert_eq!(
        (foreign.cmd(), foreign.command()),
        (Some("DANCE"), Ok(None))
    );
    assert!(read(r#"{"cmd":"ACK","status":"MAYBE"}"#).command().is_err());

    for neither in ["7", r#"{"text":"x","msg":{"v":1,"ack":"perhaps"}}"#] {
        let message = read(neither);
        assert_eq!((message.text(), message.cmd()), (None, None), "{neither}");
        assert_eq!(message.command(), Ok(None));
    }
    // The header of a later version is ignored.
    let later = read(r#"{"text":"x","msg":{"v":2,"ack":"perhaps"}}"#);
    assert_eq!((later.text(), &later.header), (Some("x"), &None));
}

#[test]
fn acknowledgments_are_due_for_all_but_acknowledgments() {
    let question = MessageBuilder::text("x").ack(AckRequest::Received).build();
    assert_eq!(question.ack_due(), Some(AckRequest::Received));
    let ack = KnownCommand::Ack(Ack {
        status: AckStatus::Done,
        detail: None,
    });
    let ack = MessageBuilder::command(&ack).ack(AckRequest::Done).build();
    assert_eq!(ack.ack_due(), None);
    let answer = MessageBuilder::text("x").answering(TransactionHash::of(b"q"));
    assert!(answer.build().is_answer());
}

#[test]
fn the_last_delivery_update_depends_on_the_acknowledgment_asked_for() {
    let mined = DeliveryUpdate::Mined {
        height: BlockHeight(1),
    };
    let accepted = DeliveryUpdate::Accepted { detail: None };
    let done = DeliveryUpdate::Done { detail: None };
    for (update, plain, received, asked_done) in [
        (&mined, true, false, false),
        (&DeliveryUpdate::Received, true, true, false),
        (&accepted, false, false, false),
        (&done, true, true, true),
        (&DeliveryUpdate::Unacknowledged, true, true, true),
        (&DeliveryUpdate::Expired, true, true, true),
    ] {
        assert_eq!(update.is_last(false, false), plain, "{update:?}");
        assert_eq!(update.is_last(true, false), received, "{update:?}");
        assert_eq!(update.is_last(false, true), asked_done, "{update:?}");
    }
}

#[test]
fn failures_say_whether_to_try_again() {
    assert!(BehaviourError::transient("later").is_transient());
    let never = BehaviourError::permanent("never");
    assert!(!never.is_transient());
    assert_eq!(never.to_string(), "never");
    // The public text is set explicitly.
    assert_eq!(never.public(), "acting on it failed");
    let told = never.with_public("the almanac is unavailable");
    assert_eq!(
        (told.to_string().as_str(), told.public()),
        ("never", "the almanac is unavailable")
    );
    let error = TaskError::transient("busy", "try again");
    assert!(error.is_transient());
    assert_eq!((error.code(), error.message()), ("busy", "try again"));
    assert_eq!(error.to_string(), "busy: try again");
}
