//! The bounds of effects, and what state looks like to a behaviour.

use agentry_sdk::effects::{MAX_EFFECTS, MAX_PAYLOAD_BYTES, MAX_STATE_KEY_BYTES};
use agentry_sdk::protocol::{Address, Json};
use agentry_sdk::{Effect, Effects, EffectsError, State};

#[test]
fn effects_keep_their_order() {
    let to = Address::from_chain("ait1other").unwrap();
    let effects = Effects::none()
        .reply("one")
        .send(to.clone(), "two")
        .set_state("three", 3)
        .clear_state("four");
    assert_eq!(
        effects.as_slice(),
        [
            Effect::Reply {
                payload: Json::string("one")
            },
            Effect::Send {
                to,
                payload: Json::string("two"),
                amount: 0
            },
            Effect::SetState {
                key: "three".to_owned(),
                value: 3.into()
            },
            Effect::ClearState {
                key: "four".to_owned()
            },
        ]
    );
    effects.check().unwrap();
}

#[test]
fn too_much_is_refused_by_name() {
    let many = (0..=MAX_EFFECTS).fold(Effects::none(), |effects, _| effects.reply("x"));
    assert_eq!(many.check(), Err(EffectsError::TooMany(MAX_EFFECTS + 1)));

    let fits = Effects::none().reply("x".repeat(MAX_PAYLOAD_BYTES - 2));
    fits.check().unwrap();
    let large = Effects::none()
        .reply("ok")
        .reply("x".repeat(MAX_PAYLOAD_BYTES - 1));
    assert_eq!(
        large.check(),
        Err(EffectsError::PayloadTooLarge {
            index: 1,
            bytes: MAX_PAYLOAD_BYTES + 1
        })
    );
    // What counts is the text that is posted: é is six characters there.
    let escaped = Effects::none().reply("é".repeat(MAX_PAYLOAD_BYTES / 6));
    assert!(matches!(
        escaped.check(),
        Err(EffectsError::PayloadTooLarge { .. })
    ));

    let key = "k".repeat(MAX_STATE_KEY_BYTES + 1);
    assert!(matches!(
        Effects::none().set_state(key, 1).check(),
        Err(EffectsError::BadKey { .. })
    ));
    assert!(matches!(
        Effects::none().clear_state("").check(),
        Err(EffectsError::BadKey { .. })
    ));
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
