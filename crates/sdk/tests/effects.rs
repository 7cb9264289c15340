//! The limits of effects, and reading of state.

use std::time::Duration;

use agentry_sdk::effects::MAX_STATE_VALUE_BYTES;
use agentry_sdk::effects::{MAX_AHEAD, MAX_EFFECTS, MAX_PAYLOAD_BYTES, MAX_STATE_KEY_BYTES};
use agentry_sdk::protocol::{AckRequest, Address, Json, KnownCommand, Payload};
use agentry_sdk::{Addressed, Effect, Effects, EffectsError, Outgoing, State, TaskStart};

fn task(key: &str) -> TaskStart {
    TaskStart {
        key: key.to_owned(),
        kind: "text".to_owned(),
        input: 1.into(),
        deadline: None,
    }
}

#[test]
fn effects_keep_their_order() {
    let to = Address::from_chain("ait1other").unwrap();
    let effects = Effects::none()
        .reply("one")
        .reply_command(&KnownCommand::Pong)
        .send(to.clone(), "two")
        .set_state("three", 3)
        .clear_state("four")
        .schedule("five", Duration::from_secs(5), "data")
        .unschedule("six")
        .start_task(task("seven"))
        .cancel_task("eight")
        .reject("nine");
    assert_eq!(
        effects.as_slice(),
        [
            Effect::Reply(Outgoing::text("one")),
            Effect::Reply(Outgoing::command(&KnownCommand::Pong)),
            Effect::Send(Addressed {
                to,
                outgoing: Outgoing::text("two"),
            }),
            Effect::SetState {
                key: "three".to_owned(),
                value: 3.into()
            },
            Effect::ClearState {
                key: "four".to_owned()
            },
            Effect::Schedule {
                name: "five".to_owned(),
                after: Duration::from_secs(5),
                data: "data".into(),
            },
            Effect::Unschedule {
                name: "six".to_owned()
            },
            Effect::StartTask(task("seven")),
            Effect::CancelTask {
                key: "eight".to_owned()
            },
            Effect::Reject {
                reason: "nine".to_owned()
            },
        ]
    );
    effects.check().unwrap();
}

#[test]
fn too_many_effects_are_refused() {
    let many = (0..=MAX_EFFECTS).fold(Effects::none(), |effects, _| effects.reply("x"));
    assert_eq!(many.check(), Err(EffectsError::TooMany(MAX_EFFECTS + 1)));
}

#[test]
fn the_total_size_of_effects_is_limited() {
    let value = "x".repeat(900_000);
    let some = |count: usize| {
        (0..count).fold(Effects::none(), |effects, index| {
            effects.set_state(format!("key-{index}"), value.as_str())
        })
    };
    assert_eq!(some(18).check(), Ok(()));
    assert!(matches!(some(19).check(), Err(EffectsError::TooLarge(_))));
}

#[test]
fn a_message_that_cannot_be_sent_is_refused_with_its_index() {
    let fits = Effects::none().reply("x".repeat(MAX_PAYLOAD_BYTES - 2));
    fits.check().unwrap();
    for payload in [
        Payload::Text("x".repeat(MAX_PAYLOAD_BYTES - 1)),
        // The limit applies to the text that is posted, where é has six characters.
        Payload::Text("é".repeat(MAX_PAYLOAD_BYTES / 6)),
        Payload::Opaque(Json::null()),
    ] {
        let effects = Effects::none()
            .reply("ok")
            .reply_with(Outgoing::new(payload));
        let refused = effects.check();
        assert!(
            matches!(refused, Err(EffectsError::Payload { index: 1, .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn the_length_of_names_is_limited() {
    let long = "k".repeat(MAX_STATE_KEY_BYTES + 1);
    for name in ["", &long] {
        for effects in [
            Effects::none().set_state(name, 1),
            Effects::none().clear_state(name),
            Effects::none().schedule(name, Duration::ZERO, ()),
            Effects::none().unschedule(name),
            Effects::none().start_task(task(name)),
            Effects::none().cancel_task(name),
            Effects::none().reply_with(Outgoing::text("x").label(name)),
        ] {
            let bytes = name.len();
            assert_eq!(effects.check(), Err(EffectsError::BadKey { bytes }));
        }
    }
}

#[test]
fn the_size_of_values_is_limited() {
    let large = "x".repeat(MAX_STATE_VALUE_BYTES);
    let mut start = task("task");
    start.input = large.clone().into();
    for effects in [
        Effects::none().set_state("state", large.clone()),
        Effects::none().schedule("timer", Duration::ZERO, large),
        Effects::none().start_task(start),
    ] {
        assert!(matches!(
            effects.check(),
            Err(EffectsError::ValueTooLarge { bytes, .. }) if bytes == MAX_STATE_VALUE_BYTES + 2
        ));
    }
}

#[test]
fn times_are_at_most_ten_years_ahead() {
    let far = MAX_AHEAD + Duration::from_millis(1);
    for effects in [
        Effects::none().schedule("timer", far, ()),
        Effects::none().reply_with(Outgoing::text("x").expiring(far)),
        Effects::none().reply_with(Outgoing::text("x").acknowledged(AckRequest::Done, far, 0)),
    ] {
        assert_eq!(effects.check(), Err(EffectsError::TooFarAhead { index: 0 }));
    }
    Effects::none()
        .schedule("timer", MAX_AHEAD, ())
        .check()
        .unwrap();
}

#[test]
fn state_is_read_by_key() {
    let state = State::new([("a".to_owned(), 1.into()), ("b".to_owned(), "two".into())]);
    assert_eq!(state.get("a"), Some(&1.into()));
    assert_eq!(state.get("c"), None);
    assert_eq!(
        state.entries().map(|(key, _)| key).collect::<Vec<_>>(),
        ["a", "b"]
    );
}
