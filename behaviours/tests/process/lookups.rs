//! A program's lookups of names and cards.

use agentry_sdk::protocol::command::{Announce, Endpoint, Endpoints, Schemas, Tags};
use agentry_sdk::protocol::{BlockHeight, SigningKey, TransactionHash};
use agentry_sdk::testing::TestEnvironment;
use agentry_sdk::{Card, Effect};
use serde_json::{Value, json};

use crate::support::{address, build, context_in, python_program, text};

/// A program that looks up what its message says: a JSON object with the arguments of `find`, or a
/// name to resolve.
fn finder() -> Value {
    let program = r#"
import agentry.behaviour as agentry, json
def shown(card):
    # What is no schema is left out.
    assert card.schemas == {"PAINT": {"type": "object"}}, card
    return card.name + "".join("@" + place["url"] for place in card.endpoints)
class Finder(agentry.Behaviour):
    def on_message(self, message, context):
        if message.text.startswith("{"):
            cards = context.find(**json.loads(message.text))
            return agentry.Effects().reply(" ".join(shown(card) for card in cards))
        try:
            return agentry.Effects().reply(context.resolve(message.text))
        except agentry.UnknownName as error:
            return agentry.Effects().reply(f"unknown: {error}")
agentry.run(Finder())
"#;
    python_program(program)
}

fn card(name: &str, capability: &str) -> Card {
    let endpoint = (name == "idler").then(|| Endpoint {
        protocol: "a2a".parse().unwrap(),
        url: "https://idler.example/a2a".parse().unwrap(),
    });
    let key = SigningKey::from_seed(&agentry_sdk::protocol::Seed::from_bytes([7; 32]));
    Card {
        address: address(&format!("ait1{name}")),
        public_key: key.public_key(),
        card: Announce {
            name: name.parse().unwrap(),
            description: None,
            capabilities: Tags::new(vec![capability.parse().unwrap()]).unwrap(),
            commands: Tags::default(),
            enc_key: None,
            schemas: Some(
                Schemas::new(r#"{"PAINT":{"type":"object"},"X":1}"#.parse().unwrap()).unwrap(),
            ),
            endpoints: Endpoints::new(Vec::from_iter(endpoint)).unwrap(),
            expires: context_in(TestEnvironment::new()).now.plus_ms(60_000_000),
        },
        transaction: TransactionHash::of(name.as_bytes()),
        height: BlockHeight(3),
    }
}

#[tokio::test]
async fn a_program_finds_agents() {
    let environment = TestEnvironment::new();
    for index in 0..250 {
        environment.announce(card(&format!("worker{index:03}"), "work"));
    }
    environment.announce(card("idler", "rest"));
    environment.alias("boss", address("ait1boss"));
    let context = context_in(environment);
    let behaviour = build(&finder());
    let look_up = async |said: &str| {
        let effects = behaviour.on_event(&text(said), &context).await.unwrap();
        crate::support::reply(&effects).to_owned()
    };
    assert_eq!(
        look_up(r#"{"capabilities":["rest"]}"#).await,
        "idler@https://idler.example/a2a"
    );
    assert_eq!(look_up(r#"{"name":"worker007"}"#).await, "worker007");
    assert_eq!(
        look_up(r#"{"capabilities":["work"],"limit":2}"#).await,
        "worker000 worker001"
    );
    assert_eq!(look_up(r#"{"commands":["NONE"]}"#).await, "");
    assert_eq!(look_up(r#"{"announced_since":4}"#).await, "");
    assert_eq!(look_up("{}").await.split(' ').count(), 200);
    assert_eq!(look_up("boss").await, "ait1boss");
    assert_eq!(look_up("worker007").await, "ait1worker007");
    assert!(look_up("nobody").await.starts_with("unknown: unknown name"));
}

#[tokio::test]
async fn a_message_can_be_sent_to_a_name() {
    let environment = TestEnvironment::new();
    environment.alias("boss", address("ait1boss"));
    let context = context_in(environment);
    let behaviour = build(&python_program(
        "import agentry.behaviour as agentry
class Sender(agentry.Behaviour):
    def on_message(self, message, context):
        return agentry.Effects().send(message.text, {'cmd': 'REPORT', 'n': 1}, amount=5, label='l')
agentry.run(Sender())",
    ));
    let effects = behaviour.on_event(&text("boss"), &context).await.unwrap();
    let [Effect::Send(sent)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(sent.to, address("ait1boss"));
    assert_eq!(
        (sent.outgoing.amount.0, sent.outgoing.label.as_deref()),
        (5, Some("l"))
    );
    let agentry_sdk::protocol::Payload::Command(command) = &sent.outgoing.payload else {
        panic!("{effects:?}");
    };
    assert_eq!(
        command.body.to_compact(),
        json!({ "cmd": "REPORT", "n": 1 }).to_string()
    );
    // The directory may learn the name.
    let error = behaviour
        .on_event(&text("nobody"), &context)
        .await
        .unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("unknown name"),
        "{error}"
    );
}
