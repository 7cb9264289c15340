//! Announcing agents in AITBC's agent coordinator, and reading their inboxes there, over HTTP.

use std::time::{Duration, Instant};

use agentry::ops::OperationError;
use agentry::ops::coordinator::{AnnouncedAgent, CoordinatorInbox, InboxWanted};
use agentry::runtime::control::{Client, ControlError};
use agentry_testbed::coordinator::{Coordinator, OddAnswer};

use super::{Stage, address};

/// Waits until a condition holds that has to be asked for.
macro_rules! until {
    ($what:literal, $so:expr) => {{
        let deadline = Instant::now() + super::PATIENCE;
        while !$so {
            assert!(Instant::now() < deadline, "timed out: {}", $what);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }};
}

/// Keys with which a test need not wait for long.
const OFTEN: &str = "heartbeat_every = \"1s\"\nread_every = \"1s\"";

/// A stage whose agent is announced.
fn stage(coordinator: &Coordinator, keys: &str) -> Stage {
    Stage::with_tables(r#"{ kind = "pong" }"#, "", "", &coordinator.table(keys))
}

/// The agent's id in the coordinator.
fn id() -> String {
    address(1).to_string()
}

async fn agent(stage: &Stage) -> AnnouncedAgent {
    let client = Client::new(&stage.store);
    let deadline = Instant::now() + super::PATIENCE;
    let mut status = loop {
        let status = client.coordinator_status().await.unwrap();
        // The agents are seen a moment after the start.
        if status.announced > 0 {
            break status;
        }
        assert!(Instant::now() < deadline, "no agent is announced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((status.announced, status.agents.len()), (1, 1));
    let agent = status.agents.remove(0);
    assert_eq!(status.registered, usize::from(agent.registered));
    agent
}

async fn inbox(stage: &Stage) -> CoordinatorInbox {
    let wanted = InboxWanted {
        agent: None,
        limit: 100,
    };
    let client = Client::new(&stage.store);
    client.coordinator_inbox(wanted).await.unwrap()
}

/// The contents in the inbox, the last first.
async fn contents(stage: &Stage) -> Vec<String> {
    let messages = inbox(stage).await.messages.into_iter();
    messages.map(|one| one.content.unwrap()).collect()
}

/// The sample of a metric.
fn metric(stage: &Stage, sample: &str) -> Option<u64> {
    let text = stage
        .host
        .as_ref()
        .unwrap()
        .started()
        .metrics
        .encode()
        .unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    line.map(|value| value.trim().parse().unwrap())
}

/// The path of messages on the chain works.
async fn pongs(stage: &Stage, times: usize) {
    stage.say(2, "ping").await;
    stage
        .until("the answer is in a block", |stage| {
            stage.said().len() >= times
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_registered_kept_alive_and_registered_again_when_it_is_forgotten() {
    let coordinator = Coordinator::start();
    let keys =
        format!("{OFTEN}\nagent_type = \"specialist\"\ncapabilities = [\"apples\", \"gpu:h100\"]");
    let stage = stage(&coordinator, &keys);
    stage
        .until("it is kept alive", |_| {
            coordinator.count(&format!("POST /v1/agents/{}/heartbeat", id())) >= 2
        })
        .await;
    let posted = coordinator.known().agents[&id()].clone();
    assert_eq!(posted["agent_type"], "specialist");
    assert_eq!(
        posted["capabilities"],
        serde_json::json!(["apples", "gpu:h100"])
    );
    assert_eq!(posted["chain_id"], "ait-devnet");
    let metadata = &posted["metadata"];
    assert_eq!(metadata["chain_id"], "ait-devnet");
    assert_eq!(metadata["address"], id());
    let key = super::key(1).public_key().to_string();
    assert_eq!(metadata["public_key"], key);
    // Names of agents.toml are not announced.
    assert!(!posted.to_string().contains("\"one\""), "{posted}");
    assert_eq!(coordinator.count("register"), 1);
    assert_eq!(metric(&stage, "agentry_coordinator_agents "), Some(1));

    coordinator.known().agents.clear();
    stage
        .until("it is registered again", |_| {
            coordinator.known().agents.contains_key(&id())
        })
        .await;
    until!("that is known", agent(&stage).await.registered);
    assert_eq!(coordinator.count("register"), 2);
    let sample = "agentry_coordinator_requests_total{call=\"heartbeat\",outcome=\"unknown\"} ";
    assert_eq!(metric(&stage, sample), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_read_shown_once_and_marked_and_neither_answered_nor_seen_by_a_behaviour() {
    let coordinator = Coordinator::start();
    let mut stage = stage(&coordinator, OFTEN);
    // The trigger of its behaviour on the chain.
    coordinator.send(&id(), "me, certainly", "ping", "msg_1/../x y?");
    coordinator.send(&id(), "hub", "{\"text\": \"PING\"}", "msg 2?ü");
    coordinator.send("another", "hub", "for another", "msg_3");
    until!("both are shown", contents(&stage).await.len() == 2);
    assert_eq!(contents(&stage).await, ["{\"text\": \"PING\"}", "ping"]);
    let marked = |coordinator: &Coordinator| {
        let known = coordinator.known();
        let inbox = known.inboxes[&id()].iter();
        inbox.map(|one| one["status"] == "read").collect::<Vec<_>>()
    };
    // No path can name the first.
    until!("the other is marked", marked(&coordinator) == [false, true]);
    let looks = coordinator.count("/inbox");
    stage
        .until("the inbox is read again", |_| {
            coordinator.count("/inbox") >= looks + 2
        })
        .await;
    let found = inbox(&stage).await;
    assert_eq!(found.messages.len(), 2, "{found:?}");
    let last = &found.messages[1];
    assert_eq!(
        (last.from.as_str(), last.verified),
        ("me, certainly", false)
    );
    assert_eq!(last.id, None);
    assert_eq!(
        metric(&stage, "agentry_coordinator_messages_total "),
        Some(2)
    );

    // Each is shown once after a restart, too. What was marked as read is not counted again.
    stage.stop();
    coordinator.send(&id(), "hub", "third", "msg_4");
    stage.start();
    until!("all are shown", contents(&stage).await.len() == 3);
    let looks = coordinator.count("/inbox");
    stage
        .until("the inbox is read again", |_| {
            coordinator.count("/inbox") >= looks + 2
        })
        .await;
    let shown = contents(&stage).await;
    assert_eq!(shown, ["third", "{\"text\": \"PING\"}", "ping"]);
    assert_eq!(
        metric(&stage, "agentry_coordinator_messages_total "),
        Some(2)
    );
    assert_eq!(metric(&stage, "agentry_messages_arrived_total "), Some(0));
    assert!(stage.inbox().is_empty() && stage.outbox().is_empty());
    // Only this is asked of a coordinator.
    for asked in &coordinator.known().asked {
        let own = format!("/v1/agents/{}/heartbeat", id());
        let is_known = asked.what == "POST /v1/agents/register"
            || asked.what == format!("POST {own}")
            || asked.what == "GET /api/v1/agent/messages/inbox"
            || asked.what.starts_with("POST /api/v1/agent/messages/id/");
        assert!(is_known, "{asked:?}");
    }
    assert_eq!(coordinator.count("/id/msg 2?ü/read"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_asks_for_a_pause_gets_it_and_holds_up_nothing() {
    let coordinator = Coordinator::start();
    coordinator.known().next.push_back(OddAnswer::busy(6));
    let stage = stage(&coordinator, OFTEN);
    until!("it is told", agent(&stage).await.reason.is_some());
    let reason = agent(&stage).await.reason.unwrap();
    assert!(reason.contains("429"), "{reason}");
    pongs(&stage, 1).await;
    until!("it is registered", agent(&stage).await.registered);
    assert_eq!(agent(&stage).await.reason, None);
    let asked = coordinator.known().asked.clone();
    assert_eq!((asked[0].status, asked[1].status), (429, 200));
    // Longer than the first pause of any other failure.
    let pause = asked[1].at - asked[0].at;
    assert!(pause >= Duration::from_secs(6), "{pause:?}");
    let sample = "agentry_coordinator_requests_total{call=\"register\",outcome=\"rate_limited\"} ";
    assert_eq!(metric(&stage, sample), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hostile_in_an_inbox_hides_no_message_and_stops_no_heartbeat() {
    let coordinator = Coordinator::start();
    let long = "x".repeat(100 << 10);
    let body = format!(
        r#"{{"agent_id": 7, "messages": [
            {{"sender": "a", "content": "{long}", "message_id": "1"}},
            {{"sender": "a", "content": "\ud800", "message_id": "2"}},
            {{"sender": {{}}, "content": 7}}, null, [],
            {{"sender": "evil\u001b[2J", "content": "\u202egood\n", "message_id": 3}}
        ]}}"#
    );
    coordinator
        .known()
        .odd_inboxes
        .insert(id(), OddAnswer::new(200, body));
    let stage = stage(&coordinator, OFTEN);
    until!("one is shown", contents(&stage).await == ["\u{202e}good\n"]);
    assert_eq!(agent(&stage).await.unreadable, 5);
    // The inbox of an agent can be made unreadable by whoever writes to it.
    for odd in [
        OddAnswer::new(500, r#"{"status":"error"}"#),
        OddAnswer::new(200, "<html>"),
        OddAnswer::new(302, ""),
    ] {
        let what = format!("{:?}", odd.status);
        coordinator.known().odd_inboxes.insert(id(), odd);
        until!("it is told", agent(&stage).await.reason.is_some());
        let beats = coordinator.count("heartbeat");
        stage
            .until("it is kept alive", |_| {
                coordinator.count("heartbeat") >= beats + 2
            })
            .await;
        let state = agent(&stage).await;
        assert!(state.registered && state.messages == 1, "{what}: {state:?}");
        coordinator
            .known()
            .odd_inboxes
            .insert(id(), OddAnswer::new(200, r#"{"messages":[]}"#));
        until!("it is read again", agent(&stage).await.reason.is_none());
    }
    // Longer than what is read: the newest come first.
    let flood = format!(r#"{{"sender":"a","content":"{}"}},"#, "y".repeat(60 << 10)).repeat(200);
    let newest = r#"{"sender":"a","content":"newest"},"#;
    let body = format!(r#"{{"messages":[{newest}{flood}null]}}"#);
    coordinator
        .known()
        .odd_inboxes
        .insert(id(), OddAnswer::new(200, body));
    until!(
        "the newest is shown",
        contents(&stage).await.contains(&"newest".to_owned())
    );
    pongs(&stage, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_away_is_waited_for_and_holds_up_nothing() {
    let mut coordinator = Coordinator::absent();
    let stage = stage(&coordinator, OFTEN);
    until!("it is told", agent(&stage).await.reason.is_some());
    let state = agent(&stage).await;
    assert!(!state.registered, "{state:?}");
    let reason = state.reason.unwrap();
    assert!(reason.starts_with("it does not answer"), "{reason}");
    pongs(&stage, 1).await;
    coordinator.begin();
    until!("it is registered", agent(&stage).await.registered);
    assert_eq!(agent(&stage).await.reason, None);
    coordinator.end();
    until!("it is told", agent(&stage).await.reason.is_some());
    pongs(&stage, 2).await;
    coordinator.send(&id(), "hub", "later", "msg_1");
    coordinator.begin();
    until!("its inbox is read", contents(&stage).await == ["later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_coordinator_is_asked_unless_one_is_configured_and_only_for_named_agents() {
    let coordinator = Coordinator::start();
    let mut stage = Stage::set(r#"{ kind = "pong" }"#, "", "");
    pongs(&stage, 1).await;
    let error = Client::new(&stage.store).coordinator_status().await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, ControlError::Refused(OperationError::Invalid(_))),
        "{error}"
    );
    assert_eq!(metric(&stage, "agentry_coordinator_agents "), Some(0));
    stage.stop();
    // A user and a password, for a proxy in front of it.
    let table = coordinator.table("agents = [\"agent\"]");
    let table = table.replace("http://", "http://me:hunter2@");
    stage.edit("[[agent]]", &format!("{table}[[agent]]"));
    stage.start();
    until!("it is registered", agent(&stage).await.registered);
    let status = Client::new(&stage.store)
        .coordinator_status()
        .await
        .unwrap();
    assert_eq!(
        status.url,
        format!("http://me:***@127.0.0.1:{}", coordinator.port)
    );
    let known = coordinator.known();
    let sent = known.asked[0].authorization.as_deref();
    // The base64 of `me:hunter2`.
    assert_eq!(sent, Some("Basic bWU6aHVudGVyMg=="));
    assert_eq!(known.agents.len(), 1);
}
