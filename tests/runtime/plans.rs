//! What behaviours do by themselves, and agents that answer each other.

use agentry_protocol::{Json, Password, Seed, Vault};
use agentry_sdk::protocol::Address;
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Missed, Schedule, Setup,
    Start, Starts, Tick,
};
use serde::Deserialize;

use super::{Stage, address};

/// Tells a wallet of its starts and ticks. It has a schedule of its own, and takes others.
#[derive(Debug)]
pub(crate) struct Ticker {
    to: Address,
    starts: Starts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TickerSettings {
    to: Address,
    #[serde(default)]
    starts: Starts,
}

impl Behaviour for Ticker {
    const KIND: &'static str = "ticker";
    type Settings = TickerSettings;

    fn configure(settings: TickerSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        let TickerSettings { to, starts } = settings;
        Ok(Self { to, starts })
    }

    fn starts(&self) -> Starts {
        self.starts
    }

    fn schedules(&self) -> Vec<Schedule> {
        vec![Schedule::cron("never so far", "0 0 1 1 *").missed(Missed::Skip)]
    }

    fn takes_schedules(&self) -> bool {
        true
    }

    fn accepts(&self, _: &Message) -> bool {
        false
    }

    async fn on_message(&self, _: &Message, _: &Context) -> Result<Effects, BehaviourError> {
        Ok(Effects::none())
    }

    async fn on_start(&self, start: Start, _: &Context) -> Result<Effects, BehaviourError> {
        let text = format!("start, first: {}", start.is_first);
        Ok(Effects::none().send(self.to.clone(), text))
    }

    async fn on_tick(&self, tick: &Tick, context: &Context) -> Result<Effects, BehaviourError> {
        if context.attempt == 1 && (tick.at.get() / 1_000).is_multiple_of(2) {
            return Err(BehaviourError::transient("not at the first attempt"));
        }
        let text = format!("{} {}", tick.name, tick.at);
        Ok(Effects::none().send(self.to.clone(), text))
    }
}

/// Sends on every text to the next wallet of a ring.
#[derive(Debug)]
pub(crate) struct Relay {
    ring: Vec<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RelaySettings {
    ring: Vec<Address>,
}

impl Behaviour for Relay {
    const KIND: &'static str = "relay";
    type Settings = RelaySettings;

    fn configure(settings: RelaySettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        let RelaySettings { ring } = settings;
        Ok(Self { ring })
    }

    fn accepts(&self, message: &Message) -> bool {
        message.text().is_some()
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let own = self.ring.iter().position(|one| *one == context.address);
        let next = own.map_or(0, |own| (own + 1) % self.ring.len());
        let text = message.text().unwrap_or_default();
        Ok(Effects::none().send(self.ring[next].clone(), text))
    }
}

fn ticker(keys: &str) -> String {
    format!(r#"{{ kind = "ticker", to = "{}", {keys} }}"#, address(2))
}

/// The texts that begin like this, of what was sent, in the order in which it was requested.
fn sent(stage: &Stage, beginning: &str) -> Vec<String> {
    let mut outbox = stage.outbox();
    outbox.sort_by_key(|item| (item.id.len(), item.id.clone()));
    let texts = outbox.iter().map(|item| super::words(&item.payload));
    let texts = texts.map(|text| text.trim_matches('"').to_owned());
    texts.filter(|text| text.starts_with(beginning)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_behaviour_is_told_of_the_first_start_or_of_each() {
    let both = format!(
        "{}, {}",
        ticker(r#"starts = "once""#),
        ticker(r#"name = "each", starts = "always""#)
    );
    let mut stage = Stage::set(&both, "", "");
    let first = "start, first: true";
    stage
        .until("both are told", |stage| sent(stage, "start") == [first; 2])
        .await;
    // A reload is no start, and neither is a behaviour that comes back.
    stage.host.as_ref().unwrap().reload();
    let mut told = vec![first; 2];
    for _ in 0..2 {
        stage.stop();
        stage.start();
        told.push("start, first: false");
        stage
            .until("one is told again", |stage| sent(stage, "start") == told)
            .await;
    }
    stage.blocks(3).await;
    assert_eq!(sent(&stage, "start"), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_runs_once_although_the_runtime_was_down() {
    let keys = r#"schedules = [{ name = "poll", every = "1s", missed = "all" }]"#;
    let mut stage = Stage::set(&ticker(keys), "", "");
    stage
        .until("two ticks", |stage| sent(stage, "poll").len() >= 2)
        .await;
    stage.stop();
    stage.blocks(70).await;
    stage.start();
    stage
        .until("eight ticks", |stage| sent(stage, "poll").len() >= 8)
        .await;
    stage.stop();
    let mut times: Vec<u64> = sent(&stage, "poll")
        .iter()
        .map(|text| text.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    // A retry may come after the next tick.
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.clone().all(|gap| gap == 1_000), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_removed_ends_and_one_that_changed_begins_again() {
    let keys = r#"schedules = [{ name = "poll", every = "1s" }, { name = "hour", every = "1h" }]"#;
    let mut stage = Stage::set(&ticker(keys), "", "");
    stage
        .until("a tick", |stage| !sent(stage, "poll").is_empty())
        .await;
    stage.stop();
    stage.edit(r#"{ name = "poll", every = "1s" }, "#, "");
    stage.edit(r#"every = "1h""#, r#"every = "2s""#);
    let polls = sent(&stage, "poll");
    stage.start();
    stage
        .until("ticks of the other", |stage| sent(stage, "hour").len() >= 2)
        .await;
    assert!(sent(&stage, "poll").len() <= polls.len() + 1);
    let planned: i64 = stage
        .sql()
        .query_row(
            "SELECT count(*) FROM event WHERE kind = 'tick'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    // That of the hour's schedule, and the one that comes in January.
    assert_eq!(planned, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_agents_that_answer_everything_ends() {
    let ring: Vec<u8> = (3..20).collect();
    assert_eq!(ring.len(), 17);
    let mut stage = Stage::set("", "", "");
    stage.stop();
    let wallets: Vec<_> = ring
        .iter()
        .map(|byte| {
            (
                format!("w{byte:02}"),
                address(*byte),
                Seed::from_bytes([*byte; 32]),
            )
        })
        .collect();
    let password = "of no importance";
    let vault = Vault::pack_with_rounds(wallets, &Password::new(password.to_owned()), 1_000);
    std::fs::write(stage.dir().join("ring.vault"), vault.unwrap().to_text()).unwrap();
    let file = stage.dir().join("ring.password");
    std::fs::write(&file, password).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let addresses: Vec<_> = ring
        .iter()
        .map(|byte| format!("\"{}\"", address(*byte)))
        .collect();
    let addresses = addresses.join(", ");
    stage.edit(
        "[http]",
        &format!(
            "[[fleet]]\nname = \"ring\"\nvault = \"ring.vault\"\npassword_file = \"ring.password\"\n\
             behaviours = [{{ kind = \"relay\", ring = [{addresses}] }}]\n[http]"
        ),
    );
    stage.start();
    let key = super::key(2);
    let header = agentry_protocol::Header {
        key: Some(key.public_key()),
        ..agentry_protocol::Header::default()
    };
    let text = agentry_protocol::Payload::Text("hello".to_owned());
    let payload: Json = agentry_protocol::compose(&text, Some(&header)).unwrap();
    stage.send_to(2, address(3), payload).await;
    let reason = |stage: &Stage| {
        let mut inbox = stage.inbox().into_iter();
        inbox.find_map(|item| item.reason)
    };
    stage
        .until("one does not act", |stage| reason(stage).is_some())
        .await;
    stage.blocks(5).await;
    let said = reason(&stage).unwrap();
    assert_eq!(
        said,
        "it follows from 16 messages, one after the other: max_hops is 16"
    );
    assert_eq!((stage.outbox().len(), stage.inbox().len()), (16, 17));
    assert!(stage.inbox().iter().all(|item| item.state == "handled"));
}
