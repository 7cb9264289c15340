//! Which senders are verified.

use agentry_protocol::header::Header;
use agentry_protocol::message::compose;
use agentry_protocol::{Json, Payload, PublicKey};
use agentry_store::{open_for_reading, read};

use super::{Stage, key};

/// A text whose header states this key.
fn stating(text: &str, key: PublicKey) -> Json {
    let header = Header {
        key: Some(key),
        ..Header::default()
    };
    compose(&Payload::Text(text.to_owned()), Some(&header)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_states_the_key_of_its_address_is_verified() {
    let stage = Stage::set(r#"{ kind = "strict" }"#, "", "");
    // This sender's key is not known.
    stage.say(2, "without a key").await;
    // Another sender's key does not belong to this address.
    stage
        .send(3, stating("with a stolen key", key(2).public_key()))
        .await;
    stage
        .send(4, stating("with a key", key(4).public_key()))
        .await;
    stage
        .until("the verified sender is answered", |stage| {
            stage.said() == [r#""I believe you: with a key""#]
        })
        .await;
    stage.blocks(2).await;
    assert_eq!(stage.outbox().len(), 1);
    let judged: Vec<String> = stage
        .inbox()
        .into_iter()
        .map(|item| item.authenticity)
        .collect();
    assert_eq!(judged.len(), 2, "the forged one is kept apart");
    assert!(judged.contains(&"verified".to_owned()) && judged.contains(&"unverified".to_owned()));
    let store = open_for_reading(&stage.store).unwrap();
    assert_eq!(read::counts(&store).unwrap().forged, 1);
}
