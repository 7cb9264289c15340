//! The engine, on blocks written by the tests.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentry_chain::ChainTransaction;
use agentry_core::AgentId;
use agentry_protocol::command::{Ack, AckStatus};
use agentry_protocol::{
    AckRequest, Address, BlockHash, BlockHeight, Dialect, Header, Json, KnownCommand, MessageId,
    Number, Payload, Seed, SigningKey, Timestamp, Transaction, TransactionHash, compose,
};
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, DeliveryUpdate, Effects, Message, Outgoing,
    SentMessage, Setup, Timer,
};
use serde::Deserialize;

use super::ReplayEvent;
use super::cast::Cast;
use super::engine::Engine;
use super::environment::ReplayEnvironment;
use super::past::Past;
use super::report::{Cause, Mark, Report};
use crate::config::{Config, Overlay, Source};
use crate::runtime::clock::Clock;
use crate::runtime::directory::Directory;
use crate::runtime::metrics::Metrics;
use crate::runtime::registry::{AgentRegistry, Hosted};
use crate::runtime::runner::Stage;

/// Does what a text says.
#[derive(Debug)]
struct Puppet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

impl Behaviour for Puppet {
    const KIND: &'static str = "puppet";
    type Settings = NoSettings;

    fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self)
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let text = message.text().unwrap_or_default();
        Ok(match text {
            "count" => {
                let count = context
                    .state
                    .get("count")
                    .and_then(serde_json::Value::as_u64);
                let count = count.unwrap_or(0) + 1;
                Effects::none()
                    .set_state("count", count)
                    .reply(count.to_string())
            }
            "remind" => {
                Effects::none().schedule("reminder", Duration::from_secs(10), message.from.as_str())
            }
            "forever" => Effects::none().schedule("forever", Duration::ZERO, ()),
            "ask" => {
                let question = Outgoing::text("really?")
                    .acknowledged(AckRequest::Done, Duration::from_secs(5), 1)
                    .label("question");
                Effects::none().send_with(message.from.clone(), question)
            }
            "fail" => return Err(BehaviourError::transient("it is away")),
            "panic" => panic!("on purpose"),
            _ => match &message.answers {
                Some(answered) => Effects::none().reply(format!("answers {:?}", answered.label)),
                None => Effects::none(),
            },
        })
    }

    async fn on_timer(&self, timer: &Timer, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(match timer.name.as_str() {
            "forever" => Effects::none().schedule("forever", Duration::ZERO, ()),
            _ => {
                let to = timer.data.as_str().unwrap_or_default();
                let to = Address::from_chain(to)
                    .map_err(|error| BehaviourError::permanent(error.to_string()))?;
                Effects::none().send(to, "you wanted to be reminded")
            }
        })
    }

    async fn on_delivery_update(
        &self,
        sent: &SentMessage,
        update: &DeliveryUpdate,
        _: &Context,
    ) -> Result<Effects, BehaviourError> {
        let said = match update {
            DeliveryUpdate::Done { .. } => "done",
            DeliveryUpdate::Unacknowledged => "unacknowledged",
            _ => return Ok(Effects::none()),
        };
        Ok(Effects::none().send(sent.to.clone(), format!("{}: {said}", sent.label)))
    }
}

const AGENT: u8 = 1;
const PEER: u8 = 2;
const NOW: Timestamp = Timestamp::new(1_795_000_000_000);

/// One agent, and a peer that sends it messages.
struct Play {
    engine: Engine,
    height: u64,
    nonce: u64,
}

impl Play {
    fn new(behaviours: &str) -> Self {
        let source = Source::Text {
            path: PathBuf::from("agents.toml"),
            text: format!(
                "[chain]\nid = \"ait-devnet\"\n[wallets]\nkeystore_dir = \"k\"\n[[agent]]\n\
                 name = \"puppet\"\nattempts = 2\nbehaviours = [{behaviours}]\n"
            ),
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        let registry = agentry_behaviours::builtins().with::<Puppet>();
        let config = Config::load(&source, &overlay, &registry).unwrap();
        let agent = key(AGENT);
        let hosted = Arc::new(Hosted {
            id: AgentId(1),
            address: address(&agent),
            public_key: Some(agent.public_key()),
            config: Arc::new(config.agents[0].clone()),
        });
        let registry = AgentRegistry::default();
        registry.replace([Arc::clone(&hosted)]);
        let directory = Directory::default();
        let stage = Stage {
            workers: tokio::runtime::Handle::current(),
            clock: Clock::held(NOW),
            environment: Arc::new(ReplayEnvironment {
                directory: directory.clone(),
                registry: registry.clone(),
            }),
            metrics: Arc::new(Metrics::new()),
        };
        let cast = Cast {
            registry,
            replayed: [(hosted.address.clone(), hosted)].into(),
            keyring: None,
        };
        let chain = config.chain.chain();
        Self {
            engine: Engine::new(stage, directory, chain, cast, Past::default()).unwrap(),
            height: 0,
            nonce: 0,
        }
    }

    /// The next block, `after` seconds after the last one.
    async fn block(&mut self, after: u64) {
        self.height += 1;
        let now = self.engine.stage.clock.now().plus_ms(after * 1000);
        let height = BlockHeight(self.height);
        self.engine.advance(now, height).await.unwrap();
    }

    fn transaction(
        &mut self,
        from: &SigningKey,
        to: &SigningKey,
        payload: Json,
    ) -> ChainTransaction {
        self.nonce += 1;
        let signed = Transaction {
            dialect: Dialect::April2026,
            from: address(from),
            to: address(to),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(self.nonce),
            payload,
            chain_id: "ait-devnet".parse().unwrap(),
        }
        .sign(from);
        ChainTransaction {
            hash: signed.hash(),
            stored: signed.stored(),
            height: BlockHeight(self.height),
            block_hash: BlockHash::from_bytes([7; 32]),
            late: false,
        }
    }

    async fn seen(&mut self, transaction: &ChainTransaction) -> TransactionHash {
        self.engine.transaction(transaction, false).await.unwrap();
        transaction.hash
    }

    /// The agent receives a message from the peer.
    async fn hears(&mut self, payload: Json) -> TransactionHash {
        let (peer, agent) = (key(PEER), key(AGENT));
        let transaction = self.transaction(&peer, &agent, payload);
        self.seen(&transaction).await
    }

    /// The agent sent a message to the peer.
    async fn said(&mut self, payload: Json) -> TransactionHash {
        let (peer, agent) = (key(PEER), key(AGENT));
        let transaction = self.transaction(&agent, &peer, payload);
        self.seen(&transaction).await
    }

    fn reports(&mut self) -> Vec<Report> {
        let told = self.engine.finish().into_iter();
        told.filter_map(|told| match told {
            ReplayEvent::Report(report) => Some(*report),
            _ => None,
        })
        .collect()
    }
}

fn key(who: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([who; 32]))
}

fn address(key: &SigningKey) -> Address {
    Address::from_public_key(&key.public_key())
}

fn text(text: &str) -> Json {
    Json::string(text)
}

/// A message with a header that has an id and these fields.
fn with(key: &SigningKey, payload: &Payload, header: Header) -> Json {
    let header = Header {
        id: Some(MessageId::generate(NOW).unwrap()),
        key: Some(key.public_key()),
        ..header
    };
    compose(payload, Some(&header)).unwrap()
}

/// A text with a header that has an id, and no other field.
fn with_id(key: &SigningKey, text: &str) -> Json {
    with(key, &Payload::Text(text.to_owned()), Header::default())
}

fn marks(report: &Report) -> Vec<Mark> {
    report.sends.iter().map(|one| one.mark).collect()
}

/// What would be sent, in order.
fn would(reports: &[Report]) -> Vec<(Mark, &str)> {
    let sends = reports.iter().flat_map(|report| &report.sends);
    sends
        .filter_map(|one| Some((one.mark, one.would.as_ref()?.said.text.as_deref()?)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_is_kept_from_message_to_message() {
    let mut play = Play::new("{ kind = \"puppet\" }");
    for count in 1..=3 {
        play.block(2).await;
        let question = with_id(&key(PEER), "count");
        let question = play.hears(question).await;
        play.block(2).await;
        let answer = Header {
            re: Some(question),
            ..Header::default()
        };
        let answer = with(&key(AGENT), &Payload::Text(count.to_string()), answer);
        play.said(answer).await;
    }
    let reports = play.reports();
    assert_eq!(reports.len(), 3);
    assert!(
        reports.iter().all(|report| marks(report) == [Mark::Same]),
        "{reports:#?}"
    );
    assert!(!play.engine.summary.differs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_fire_by_the_clock_of_the_blocks() {
    let mut play = Play::new("{ kind = \"puppet\" }");
    play.block(2).await;
    let remind = with_id(&key(PEER), "remind");
    play.hears(remind).await;
    play.block(9).await;
    play.said(text("too early")).await;
    play.block(2).await;
    let reminder = with_id(&key(AGENT), "you wanted to be reminded");
    play.said(reminder).await;
    let reports = play.reports();
    assert!(
        matches!(&reports[0].cause, Cause::Message { .. }),
        "{reports:#?}"
    );
    assert!(
        matches!(&reports[1].cause, Cause::Unasked { .. }),
        "{reports:#?}"
    );
    assert!(matches!(&reports[2].cause, Cause::Timer { height, .. } if height.0 == 3));
    assert_eq!(marks(&reports[2]), [Mark::Same]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_reschedules_itself_does_not_block_the_replay() {
    let mut play = Play::new("{ kind = \"puppet\" }");
    play.block(2).await;
    let forever = with_id(&key(PEER), "forever");
    play.hears(forever).await;
    play.block(3600).await;
    let count = with_id(&key(PEER), "count");
    play.hears(count).await;
    assert_eq!(marks(play.reports().last().unwrap()), [Mark::Missing]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_updates_come_from_what_was_sent() {
    let mut play = Play::new("{ kind = \"puppet\" }");
    let question = || {
        let asking = Header {
            ack: Some(AckRequest::Done),
            ..Header::default()
        };
        with(&key(AGENT), &Payload::Text("really?".to_owned()), asking)
    };
    for _ in 0..3 {
        play.block(2).await;
        let ask = with_id(&key(PEER), "ask");
        play.hears(ask).await;
    }
    // The first is answered, the second is not, the third was never sent.
    play.block(2).await;
    let first = question();
    let first = play.said(first).await;
    let second = question();
    play.said(second).await;
    play.block(1).await;
    let answering = Header {
        re: Some(first),
        ..Header::default()
    };
    let done = KnownCommand::Ack(Ack {
        status: AckStatus::Done,
        detail: None,
    });
    let done = with(&key(PEER), &done.to_payload(), answering.clone());
    play.hears(done).await;
    let answer = with(&key(PEER), &Payload::Text("yes".to_owned()), answering);
    play.hears(answer).await;
    play.block(20).await;
    assert_eq!(
        would(&play.reports()),
        [
            (Mark::Same, "really?"),
            (Mark::Same, "really?"),
            (Mark::Missing, "really?"),
            (Mark::Missing, "question: done"),
            (Mark::Missing, "answers Some(\"question\")"),
            (Mark::Missing, "question: unacknowledged"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_reported_and_hide_nothing() {
    let mut play = Play::new("{ kind = \"puppet\" }");
    play.block(2).await;
    for said in ["fail", "panic", "count"] {
        let message = with_id(&key(PEER), said);
        play.hears(message).await;
    }
    let reports = play.reports();
    assert!(reports[0].notes[0].contains("it is away"), "{reports:#?}");
    assert!(
        reports[1].notes[0].contains("panicked: on purpose"),
        "{reports:#?}"
    );
    assert_eq!(marks(&reports[2]), [Mark::Missing]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_the_runtime_withholds_are_withheld() {
    let mut play = Play::new("{ kind = \"ack\" }, { kind = \"puppet\" }");
    play.block(2).await;
    let expired = Header {
        exp: Some(NOW.minus_ms(1)),
        ack: Some(AckRequest::Received),
        ..Header::default()
    };
    let expired = with(&key(PEER), &Payload::Text("count".to_owned()), expired);
    play.hears(expired).await;

    let (peer, agent) = (key(PEER), key(AGENT));
    let count = with_id(&peer, "count");
    // One id in two transactions, and one of them twice.
    let once = play.transaction(&peer, &agent, count.clone());
    let again = play.transaction(&peer, &agent, count.clone());
    for transaction in [&once, &once, &again] {
        play.seen(transaction).await;
    }
    let mut forged = play.transaction(&peer, &agent, count);
    forged.stored.nonce = Number::from(0_u64);
    play.seen(&forged).await;

    let reports = play.reports();
    assert_eq!(reports.len(), 2, "{reports:#?}");
    // The sender would be told that its message expired.
    assert_eq!(reports[0].notes, ["it had expired"]);
    let told = reports[0].sends[0].would.as_ref().unwrap();
    assert!(
        told.said.text.as_ref().unwrap().contains("EXPIRED"),
        "{told:?}"
    );
    assert_eq!(marks(&reports[1]), [Mark::Missing]);
    let summary = &play.engine.summary;
    assert_eq!(
        (
            summary.messages,
            summary.repeated,
            summary.expired,
            summary.forged
        ),
        (2, 2, 1, 1)
    );
}

/// The agent asks, and asks again in another transaction, which its peer acknowledges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_may_name_any_transaction_of_what_was_sent() {
    let mut play = Play::new("{ kind = \"puppet\" }");
    play.block(2).await;
    let ask = with_id(&key(PEER), "ask");
    play.hears(ask).await;
    let asking = Header {
        ack: Some(AckRequest::Done),
        ..Header::default()
    };
    let question = with(&key(AGENT), &Payload::Text("really?".to_owned()), asking);
    play.said(question.clone()).await;
    play.block(6).await;
    let again = play.said(question).await;
    let answering = Header {
        re: Some(again),
        ..Header::default()
    };
    // The runtime's rules: a final acknowledgment counts also after its time, and only one does.
    play.block(20).await;
    for status in [AckStatus::Done, AckStatus::Received, AckStatus::Done] {
        let ack = KnownCommand::Ack(Ack {
            status,
            detail: None,
        });
        let ack = with(&key(PEER), &ack.to_payload(), answering.clone());
        play.hears(ack).await;
    }
    let yes = with(&key(PEER), &Payload::Text("yes".to_owned()), answering);
    play.hears(yes).await;
    assert_eq!(
        would(&play.reports()),
        [
            (Mark::Same, "really?"),
            (Mark::Missing, "question: unacknowledged"),
            (Mark::Missing, "question: done"),
            (Mark::Missing, "answers Some(\"question\")"),
        ]
    );
}
