//! The operations of the doors, for the operator and for callers with fewer rights.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use agentry::config::{Config, Overlay, Source};
use agentry::doors::door::directory::{FindAgents, GetAgent};
use agentry::doors::door::messages::{Direction, GetMessage, ReadInbox};
use agentry::doors::door::queues::{ChangeQueue, ListQueue, QueueName, QueuePart, ResumePosting};
use agentry::doors::door::send::{AckKind, AckWanted, SendMessage, Until, WaitForReply};
use agentry::doors::door::status::GetStatus;
use agentry::doors::door::tasks::{
    AnswerTask, CancelTask, FetchTaskResult, GetTask, ListTasks, SubmitTask,
};
use agentry::doors::{Caller, Door, DoorError, ErrorCode, Rights, Scope};
use agentry::ops::tasks::job::JobState;
use agentry_protocol::Address;

use crate::host::{Host, agent, pong};
use crate::world::World;

/// The address of nobody who is hosted.
const THIRD: &str = "ait1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// An agent that asks, and one that works.
fn tables() -> [String; 2] {
    let types = [
        ("echo", "cat"),
        ("long", "yes 0123456789 | head -c 6000"),
        ("slow", "exec sleep 600"),
        (
            "asks",
            "input=$(cat); case $input in *answers*) printf %s \"$input\";; \
             *) echo 'ask {\"question\":\"how many?\",\"schema\":{\"type\":\"integer\"}}' >&2; \
             exec sleep 600;; esac",
        ),
    ]
    .map(|(name, script)| {
        format!(
            "{name} = {{ executor = \"command\", program = \"sh\", args = [\"-c\", '''{script}'''] }}"
        )
    })
    .join(", ");
    let worker = format!(
        "{{ kind = \"tasks\", allow = [\"asker\"], inline_limit = \"1KiB\", types = {{ {types} }} }}, \
         {}, {{ kind = \"ack\" }}",
        pong("ping", "pong")
    );
    [
        agent("asker", "asker", &pong("hello", "hi")),
        agent("worker", "worker", &worker),
    ]
}

fn door(world: &World, caller: Caller) -> Door {
    let source = Source::File(world.path("agents.toml"));
    let overlay = Overlay {
        environment: Some(HashMap::new()),
        flags: Vec::new(),
    };
    let config = Config::load(&source, &overlay, &agentry::builtins()).unwrap();
    Door::new(Arc::new(config), caller)
}

/// The address of a hosted agent.
async fn address(world: &World, name: &str) -> Address {
    let who = name.to_owned();
    let found = done(door(world, Caller::operator()).get_agent(GetAgent { who })).await;
    found.address
}

/// A caller with all rights over one agent.
fn only(name: &str, agent: Address) -> Caller {
    Caller {
        name: name.to_owned(),
        agents: Scope::Only([agent].into()),
        ..Caller::operator()
    }
}

/// What an operation returns can be awaited on any thread.
async fn done<T>(operation: impl Future<Output = Result<T, DoorError>> + Send) -> T {
    operation.await.unwrap()
}

async fn refused<T>(operation: impl Future<Output = Result<T, DoorError>> + Send) -> ErrorCode {
    match operation.await {
        Ok(_) => panic!("it was carried out"),
        Err(error) => error.code(),
    }
}

fn ping(key: Option<&str>) -> SendMessage {
    SendMessage {
        from: Some("asker".to_owned()),
        to: "worker".to_owned(),
        text: Some("ping".to_owned()),
        key: key.map(ToOwned::to_owned),
        ..SendMessage::default()
    }
}

fn task(kind: &str, key: Option<&str>) -> SubmitTask {
    SubmitTask {
        thread: None,
        from: Some("asker".to_owned()),
        to: "worker".to_owned(),
        kind: kind.to_owned(),
        prompt: Some("the prompt".to_owned()),
        model: None,
        params: None,
        useful_for_ms: Some(600_000),
        ack: None,
        seal: false,
        anyway: false,
        key: key.map(ToOwned::to_owned),
    }
}

fn get(id: &str) -> GetTask {
    GetTask {
        id: id.to_owned(),
        agent: None,
        timeout_ms: Some(60_000),
    }
}

fn message(id: &str) -> GetMessage {
    GetMessage {
        id: id.to_owned(),
        agent: None,
    }
}

fn cancel(id: &str) -> CancelTask {
    CancelTask {
        id: id.to_owned(),
        agent: None,
    }
}

fn wait(id: &str, until: Until) -> WaitForReply {
    WaitForReply {
        id: id.to_owned(),
        agent: None,
        until,
        timeout_ms: Some(60_000),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_once_answered_and_read() {
    let world = World::new();
    let _host = Host::start(&world, &tables());
    let (asker, worker) = (
        address(&world, "asker").await,
        address(&world, "worker").await,
    );
    let operator = door(&world, Caller::operator());
    let sent = done(operator.send_message(ping(Some("first")))).await;
    assert_eq!((&sent.from, &sent.to), (&asker, &worker));
    let again = done(operator.send_message(ping(Some("first")))).await;
    assert_eq!(again.id, sent.id);
    let other = SendMessage {
        text: Some("other".to_owned()),
        ..ping(Some("first"))
    };
    assert_eq!(
        refused(operator.send_message(other)).await,
        ErrorCode::KeyReused
    );
    let of_another = door(&world, only("another", asker.clone()));
    let theirs = done(of_another.send_message(ping(Some("first")))).await;
    assert_ne!(theirs.id, sent.id, "keys are each caller's own");

    let reply = done(operator.wait_for_reply(wait(&sent.id, Until::Answered))).await;
    assert!(reply.complete, "{reply:?}");
    assert_eq!(reply.came, ["sent", "accepted", "mined", "answered"]);
    let answer = reply.answer.unwrap();
    assert_eq!(answer.text.as_deref(), Some("pong"));
    assert_eq!(answer.authenticity.as_deref(), Some("verified"));
    assert_eq!(answer.from_name.as_deref(), Some("worker"));
    let read = done(operator.get_message(message(&answer.id.clone().unwrap()))).await;
    assert_eq!(read.transaction, answer.transaction);

    let acked = SendMessage {
        ack: Some(AckWanted {
            what: AckKind::Done,
            within_ms: None,
            resends: Some(0),
        }),
        ..ping(None)
    };
    let acked = done(operator.send_message(acked)).await;
    let reply = done(operator.wait_for_reply(wait(&acked.id, Until::Acknowledged))).await;
    assert!(reply.complete, "{reply:?}");
    assert_eq!(reply.receipt.unwrap().state, "done");
    assert_eq!(
        refused(operator.wait_for_reply(wait(&sent.id, Until::Acknowledged))).await,
        ErrorCode::Conflict
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_messages_join_without_gap_or_repetition() {
    let world = World::new();
    let _host = Host::start(&world, &tables());
    let operator = door(&world, Caller::operator());
    let mut sent = Vec::new();
    for number in 0..5 {
        let message = SendMessage {
            text: Some(format!("ping {number}")),
            ..ping(None)
        };
        sent.push(done(operator.send_message(message)).await.id);
    }
    for id in &sent {
        done(operator.wait_for_reply(wait(id, Until::Mined))).await;
    }
    let inbox = |direction, after: Option<String>, before: Option<String>| ReadInbox {
        agent: Some("asker".to_owned()),
        direction,
        limit: Some(2),
        after,
        before,
        ..ReadInbox::default()
    };
    // Backwards.
    let mut found = Vec::new();
    let mut before = None;
    let mut newest = None;
    loop {
        let page = done(operator.read_inbox(inbox(Direction::Sent, None, before))).await;
        newest = newest.or(Some(page.newer));
        let ids = page.messages.into_iter().rev();
        found.extend(ids.map(|message| message.id.unwrap()));
        before = page.older;
        if before.is_none() {
            break;
        }
    }
    found.reverse();
    assert_eq!(found, sent);
    // What comes later is after the newest page.
    let later = done(operator.send_message(ping(None))).await.id;
    let page = done(operator.read_inbox(inbox(Direction::Sent, newest, None))).await;
    let ids: Vec<_> = page
        .messages
        .iter()
        .filter_map(|one| one.id.clone())
        .collect();
    assert_eq!(ids, [later]);
    // Forwards, from the beginning.
    let (mut found, mut after) = (Vec::new(), "0-0".to_owned());
    loop {
        let page = done(operator.read_inbox(inbox(Direction::Both, Some(after), None))).await;
        if page.messages.is_empty() {
            break;
        }
        found.extend(page.messages.into_iter().map(|one| one.id.unwrap()));
        after = page.newer;
    }
    let distinct: std::collections::BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), found.len());
    assert!(sent.iter().all(|id| found.contains(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_requested_once_and_its_result_fetched() {
    let world = World::new();
    let _host = Host::start(&world, &tables());
    let operator = door(&world, Caller::operator());
    let asked = done(operator.submit_task(task("echo", Some("job")))).await;
    let again = done(operator.submit_task(task("echo", Some("job")))).await;
    assert_eq!(asked.id, again.id);
    let ended = done(operator.get_task(get(asked.result_id.as_deref().unwrap()))).await;
    assert_eq!(ended.state, JobState::Completed, "{ended:?}");
    assert!(ended.result.unwrap().text.contains("the prompt"));

    let long = done(operator.submit_task(task("long", None))).await;
    let ended = done(operator.get_task(get(&long.id))).await;
    assert!(!ended.result.unwrap().whole);
    let whole = FetchTaskResult {
        id: long.id.clone(),
        agent: None,
        timeout_ms: None,
    };
    let reader = door(
        &world,
        Caller {
            rights: Rights {
                read: true,
                ..Rights::default()
            },
            ..Caller::operator()
        },
    );
    let spends = reader.fetch_result(whole.clone());
    assert_eq!(refused(spends).await, ErrorCode::NotAllowed);
    let result = done(operator.fetch_result(whole.clone())).await;
    assert_eq!((result.bytes, result.text.len()), (6000, 6000));

    let asks = done(operator.submit_task(task("asks", None))).await;
    let asking = done(operator.get_task(get(&asks.id))).await;
    assert_eq!(asking.state, JobState::InputRequired);
    let answer = AnswerTask {
        id: asks.id.clone(),
        agent: None,
        answer: serde_json::json!(7),
    };
    assert_eq!(done(operator.answer_task(answer)).await.input, Some(1));
    let ended = done(operator.get_task(get(&asks.id))).await;
    assert_eq!(ended.state, JobState::Completed, "{ended:?}");

    let slow = done(operator.submit_task(task("slow", None))).await;
    done(operator.wait_for_reply(wait(&slow.id, Until::Mined))).await;
    let canceled = done(operator.cancel_task(cancel(&slow.id))).await;
    // Two requests at the same time are one message.
    if let Ok(twice) = operator.cancel_task(cancel(&slow.id)).await {
        assert_eq!(twice.request, canceled.request);
    }
    let ended = done(operator.get_task(get(&slow.id))).await;
    assert_eq!(ended.state, JobState::Canceled);

    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let request = ListTasks {
            limit: Some(3),
            cursor,
            ..ListTasks::default()
        };
        let page = done(operator.list_tasks(request)).await;
        listed.extend(page.tasks.into_iter().map(|job| job.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(
        listed,
        [&slow.id, &asks.id, &long.id, &asked.id].map(Clone::clone)
    );
    let none = SubmitTask {
        kind: "unheard-of".to_owned(),
        ..task("echo", None)
    };
    assert_eq!(
        refused(operator.submit_task(none)).await,
        ErrorCode::NotOffered
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_see_and_do_only_what_they_may() {
    let world = World::new();
    let _host = Host::start(&world, &tables());
    let (asker, worker) = (
        address(&world, "asker").await,
        address(&world, "worker").await,
    );
    let operator = door(&world, Caller::operator());
    let (mine, theirs) = (
        door(&world, only("mine", asker.clone())),
        door(&world, only("theirs", worker.clone())),
    );
    let sent = done(mine.send_message(ping(None))).await;
    let job = done(mine.submit_task(task("echo", None))).await;
    let ended = done(mine.get_task(get(&job.id))).await;
    assert_eq!(ended.state, JobState::Completed, "{ended:?}");
    let reply = done(mine.wait_for_reply(wait(&sent.id, Until::Answered))).await;
    let answer = reply.answer.unwrap().id.unwrap();

    // What is another's looks like what does not exist.
    let read = |id: &str| theirs.get_message(message(id));
    let not_there = read("outbox/999999").await.unwrap_err();
    let is_hidden = |error: DoorError, id: &str| {
        assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
        let shown = error.to_string().replace(id, "outbox/999999");
        assert_eq!(shown, not_there.to_string());
    };
    is_hidden(read(&sent.id).await.unwrap_err(), &sent.id);
    is_hidden(read(&answer).await.unwrap_err(), &answer);
    let hidden = [
        refused(theirs.get_task(get(&job.id))).await,
        refused(theirs.get_task(get(job.transaction.as_deref().unwrap_or(&job.id)))).await,
        refused(theirs.get_task(get(job.result_id.as_deref().unwrap()))).await,
        refused(theirs.cancel_task(cancel(&job.id))).await,
        refused(theirs.fetch_result(FetchTaskResult {
            id: job.id.clone(),
            agent: None,
            timeout_ms: None,
        }))
        .await,
        refused(theirs.answer_task(AnswerTask {
            id: job.id.clone(),
            agent: None,
            answer: serde_json::json!(1),
        }))
        .await,
        refused(theirs.wait_for_reply(wait(&sent.id, Until::Mined))).await,
        refused(theirs.send_message(ping(None))).await,
        refused(theirs.submit_task(task("echo", None))).await,
        refused(theirs.read_inbox(ReadInbox {
            agent: Some("asker".to_owned()),
            ..ReadInbox::default()
        }))
        .await,
        refused(theirs.agent_status(GetStatus {
            agent: Some(asker.to_string()),
            ..GetStatus::default()
        }))
        .await,
        refused(theirs.retry_queue(ChangeQueue {
            ids: vec![sent.id.clone()],
            ..ChangeQueue::default()
        }))
        .await,
    ];
    assert!(
        hidden.iter().all(|code| *code == ErrorCode::NotFound),
        "{hidden:?}"
    );
    assert!(
        done(theirs.list_tasks(ListTasks::default()))
            .await
            .tasks
            .is_empty()
    );
    assert_eq!(
        done(mine.list_tasks(ListTasks::default()))
            .await
            .tasks
            .len(),
        1
    );
    let inbox = done(theirs.read_inbox(ReadInbox::default())).await.messages;
    assert!(!inbox.is_empty() && inbox.iter().all(|one| one.to == worker.as_str()));
    let status = done(mine.agent_status(GetStatus::default())).await;
    assert!(status.running && status.runtime.is_some());
    let names: Vec<_> = status.agents.iter().map(|agent| &*agent.agent).collect();
    assert_eq!(names, ["asker"]);
    let all = done(operator.agent_status(GetStatus::default())).await;
    assert_eq!(all.agents.len(), 2);

    // Rights and recipients.
    let poor = door(
        &world,
        Caller {
            rights: Rights {
                read: true,
                ..Rights::default()
            },
            ..only("poor", asker.clone())
        },
    );
    let narrow = door(
        &world,
        Caller {
            rights: Rights {
                send: true,
                ..Rights::default()
            },
            recipients: Scope::Only([THIRD.parse().unwrap()].into()),
            ..only("narrow", asker.clone())
        },
    );
    let announce = SendMessage {
        text: Some(r#"{"cmd":"WITHDRAW"}"#.to_owned()),
        to: THIRD.to_owned(),
        ..ping(None)
    };
    let forbidden = [
        refused(poor.send_message(ping(None))).await,
        refused(poor.submit_task(task("echo", None))).await,
        refused(poor.cancel_task(cancel(&job.id))).await,
        refused(poor.list_queue(ListQueue {
            queue: QueueName::Inbox,
            part: QueuePart::All,
            agent: None,
            limit: None,
            from: None,
            to: None,
            behaviour: None,
            since: None,
            reason: None,
            cursor: None,
        }))
        .await,
        refused(narrow.send_message(ping(None))).await,
        refused(narrow.send_message(announce)).await,
        refused(narrow.submit_task(task("echo", None))).await,
        refused(narrow.get_task(get(&job.id))).await,
        refused(narrow.find_agents(FindAgents::default())).await,
        refused(mine.resume_posting(ResumePosting {})).await,
    ];
    assert!(
        forbidden.iter().all(|code| *code == ErrorCode::NotAllowed),
        "{forbidden:?}"
    );
    let to_three = SendMessage {
        to: THIRD.to_owned(),
        ..ping(None)
    };
    done(narrow.send_message(to_three)).await;

    // What is not valid.
    let neither = SendMessage {
        text: None,
        ..ping(None)
    };
    let invalid = [
        refused(mine.send_message(neither)).await,
        refused(mine.read_inbox(ReadInbox {
            limit: Some(0),
            ..ReadInbox::default()
        }))
        .await,
        refused(mine.read_inbox(ReadInbox {
            after: Some("nonsense".to_owned()),
            ..ReadInbox::default()
        }))
        .await,
        refused(operator.read_inbox(ReadInbox::default())).await,
        refused(mine.get_agent(GetAgent {
            who: "ait1".to_owned(),
        }))
        .await,
    ];
    assert!(
        invalid.iter().all(|code| *code == ErrorCode::Invalid),
        "{invalid:?}"
    );
}
