//! What operators select, retry, drop and count.

use agentry_core::commit::{
    Arrival, PostResult, QueueKind, QueueTarget, Reverified, Selection, Step,
};
use agentry_core::rows::EventRef;
use agentry_core::{AgentId, Authenticity, Commit, InboxId, OutboxId, Standing};
use agentry_protocol::Timestamp;
use agentry_store::list::load::{dead_reasons, loads};
use agentry_store::list::pick::{Part, count_dead, pick};
use agentry_store::list::stats::stats;
use agentry_store::list::{self, Filter};
use agentry_store::{Store, read};

use super::{address, arrival, draft, observe, prepared, store};

const NOW: Timestamp = Timestamp::new(5_000);

/// Two agents, each with a dead letter from each of the senders 8 and 9, and two failed
/// transactions, one of them requested by `pong`.
async fn dead_letters() -> (tempfile::TempDir, Store, Vec<AgentId>) {
    let (dir, store, agents) = store(2).await;
    let mut steps = Vec::new();
    for (index, agent) in agents.iter().enumerate() {
        let to = u8::try_from(index + 1).unwrap();
        for sender in [8, 9] {
            let text = format!("to {to}");
            steps.push(Step::Arrival(arrival(*agent, to, sender, &text, 5)));
        }
    }
    store.commit(observe(steps)).await.unwrap();
    for row in 1..=4 {
        let failure = Commit::Failure {
            event: EventRef::Inbox(InboxId(row)),
            attempts: 0,
            reason: "no".to_owned(),
            public: "acting on it failed".to_owned(),
            retry_at: None,
            again_at: None,
            watchers: Vec::new(),
            at: NOW,
        };
        store.commit(failure).await.unwrap();
    }
    for (index, agent) in agents.iter().enumerate() {
        let from = u8::try_from(index + 1).unwrap();
        for (nonce, origin) in [(1, "control/x"), (2, "inbox/1/pong/0")] {
            let draft = draft(&format!("{origin}/{from}"), 8, "pong");
            let signed = prepared(from, &draft, nonce);
            let send = Commit::Send {
                token: None,
                agent: *agent,
                draft,
                prepared: Some(signed),
                at: NOW,
            };
            let id = store.commit(send).await.unwrap().sends[0].id();
            let result = PostResult::Failed {
                reason: "refused".to_owned(),
            };
            let at = NOW;
            store.commit(Commit::Post { id, result, at }).await.unwrap();
        }
    }
    (dir, store, agents)
}

async fn retried(selection: Selection) -> (usize, Vec<AgentId>, usize) {
    let (_dir, store, _) = dead_letters().await;
    let counted = selection.clone();
    let counted = store
        .read(move |db| count_dead(db, &counted))
        .await
        .unwrap();
    let retry = Commit::Retry {
        target: QueueTarget::Matching(selection),
        at: NOW,
    };
    let changes = store.commit(retry).await.unwrap();
    assert_eq!(
        counted, changes.rows as u64,
        "what is counted is what is changed"
    );
    (changes.rows, changes.due, changes.reopened.len())
}

#[tokio::test]
async fn rows_to_retry_can_be_selected() {
    let (one, two) = (AgentId(1), AgentId(2));
    let all = Selection::default();
    assert_eq!(retried(all.clone()).await, (8, vec![one, two], 4));
    let of_agent = |agent: &str| Selection {
        agent: Some(agent.to_owned()),
        ..Selection::default()
    };
    assert_eq!(retried(of_agent("agent-2")).await, (4, vec![two], 2));
    assert_eq!(
        retried(of_agent(address(1).as_str())).await,
        (4, vec![one], 2)
    );
    assert_eq!(retried(of_agent("agent-3")).await, (0, vec![], 0));
    let from = Selection {
        sender: Some(address(8).to_string()),
        ..Selection::default()
    };
    assert_eq!(retried(from).await, (2, vec![one, two], 0));
    let to = Selection {
        recipient: Some(address(8).to_string()),
        ..Selection::default()
    };
    assert_eq!(retried(to).await, (4, vec![], 4));
    let of_pong = Selection {
        behaviour: Some("pong".to_owned()),
        ..of_agent("agent-1")
    };
    assert_eq!(retried(of_pong).await, (1, vec![], 1));
    let messages = Selection {
        queue: Some(QueueKind::Inbox),
        ..of_agent("agent-1")
    };
    assert_eq!(retried(messages).await, (2, vec![one], 0));
    let of_late = |since| Selection {
        since: Some(since),
        ..Selection::default()
    };
    assert_eq!(
        retried(of_late(Timestamp::new(1_001))).await,
        (4, vec![], 4)
    );
    assert_eq!(retried(of_late(NOW.plus_ms(1))).await, (0, vec![], 0));
    let failed_for = |reason: &str| Selection {
        reason: Some(reason.to_owned()),
        ..Selection::default()
    };
    assert_eq!(retried(failed_for("no")).await, (4, vec![one, two], 0));
    assert_eq!(retried(failed_for("refused")).await, (4, vec![], 4));
    assert_eq!(retried(failed_for("ref")).await, (0, vec![], 0));
}

#[tokio::test]
async fn rows_are_found_by_their_indexes_and_agents_have_their_loads() {
    let (_dir, store, _) = dead_letters().await;
    let found = |queue, part, agent: Option<&str>, before, limit| {
        let selection = Selection {
            agent: agent.map(ToOwned::to_owned),
            ..Selection::default()
        };
        store.read(move |db| pick(db, queue, part, &selection, before, limit))
    };
    let (inbox, outbox) = (QueueKind::Inbox, QueueKind::Outbox);
    for part in [Part::Dead, Part::All] {
        for queue in [inbox, outbox] {
            assert_eq!(
                found(queue, part, None, None, 9).await.unwrap(),
                [4, 3, 2, 1]
            );
            assert_eq!(found(queue, part, None, Some(3), 1).await.unwrap(), [2]);
        }
        assert_eq!(
            found(inbox, part, Some("agent-2"), None, 9).await.unwrap(),
            [4, 3]
        );
        assert_eq!(
            found(outbox, part, Some("agent-1"), None, 9).await.unwrap(),
            [2, 1]
        );
    }
    assert!(
        found(inbox, Part::Open, None, None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    let retry = Commit::Retry {
        target: QueueTarget::Inbox(InboxId(2)),
        at: NOW,
    };
    store.commit(retry).await.unwrap();
    assert_eq!(found(inbox, Part::Open, None, None, 9).await.unwrap(), [2]);
    let loads = store.read(|db| loads(db, 0)).await.unwrap();
    let numbers: Vec<_> = loads
        .iter()
        .map(|load| {
            (
                load.name.as_str(),
                load.waiting,
                load.oldest,
                load.dead,
                load.failed,
            )
        })
        .collect();
    assert_eq!(
        numbers,
        [("agent-1", 1, Some(2), 1, 2), ("agent-2", 0, None, 2, 2)]
    );
    let reasons = store.read(|db| dead_reasons(db, 9)).await.unwrap();
    let reasons: Vec<_> = reasons
        .iter()
        .map(|one| (one.queue, one.reason.as_deref(), one.count))
        .collect();
    assert_eq!(
        reasons,
        [("outbox", Some("refused"), 4), ("inbox", Some("no"), 3)]
    );
}

#[tokio::test]
async fn rows_to_drop_can_be_selected() {
    let (_dir, store, _) = dead_letters().await;
    let target = QueueTarget::Matching(Selection {
        agent: Some("agent-1".to_owned()),
        ..Selection::default()
    });
    let at = NOW;
    let drop = Commit::Drop { target, at };
    assert_eq!(store.commit(drop).await.unwrap().rows, 4);
    let counts = store.read(read::counts).await.unwrap();
    assert_eq!((counts.inbox["dead"], counts.inbox["handled"]), (2, 2));
    assert_eq!(counts.outbox["failed"], 2);
    // The messages are still known: seen again, they are not new.
    let again = arrival(AgentId(1), 1, 8, "to 1", 7);
    let changes = store
        .commit(observe(vec![Step::Arrival(again)]))
        .await
        .unwrap();
    assert_eq!((changes.arrived, changes.repeated), (0, 1));
}

#[tokio::test]
async fn a_selection_drops_only_dead_letters_and_failed_transactions() {
    let (_dir, store, agents) = store(1).await;
    let waiting = arrival(agents[0], 1, 9, "ping", 5);
    store
        .commit(observe(vec![Step::Arrival(waiting)]))
        .await
        .unwrap();
    let at = NOW;
    let all = Commit::Drop {
        target: QueueTarget::All,
        at,
    };
    assert_eq!(store.commit(all).await.unwrap().rows, 0);
    let one = Commit::Drop {
        target: QueueTarget::Inbox(InboxId(1)),
        at,
    };
    assert_eq!(store.commit(one).await.unwrap().rows, 1);
}

#[tokio::test]
async fn a_dead_letter_is_verified_again() {
    let (_dir, store, agents) = store(1).await;
    let unverified = |sender, text: &str| Arrival {
        authenticity: Authenticity::Unverified,
        standing: Standing::Unverified,
        ..arrival(agents[0], 1, sender, text, 5)
    };
    let steps = vec![
        Step::Arrival(unverified(8, "from 8")),
        Step::Arrival(unverified(9, "from 9")),
        Step::Arrival(unverified(9, "waits")),
    ];
    store.commit(observe(steps)).await.unwrap();
    for row in [1, 2] {
        let failure = Commit::Failure {
            event: EventRef::Inbox(InboxId(row)),
            attempts: 0,
            reason: "no".to_owned(),
            public: "acting on it failed".to_owned(),
            retry_at: None,
            again_at: None,
            watchers: Vec::new(),
            at: NOW,
        };
        store.commit(failure).await.unwrap();
    }
    let dead = |after| {
        let store = store.clone();
        async move {
            let target = QueueTarget::All;
            let found = store
                .read(move |db| read::dead_letters(db, &target, after, 1))
                .await
                .unwrap();
            found
                .into_iter()
                .map(|message| message.id)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(dead(InboxId(0)).await, [InboxId(1)]);
    assert_eq!(dead(InboxId(1)).await, [InboxId(2)]);
    assert!(dead(InboxId(2)).await.is_empty());
    let verified = |id, authenticity| Reverified {
        id: InboxId(id),
        authenticity,
        identity: format!("id-{id}"),
        urgent: true,
    };
    let reverify = Commit::Reverify {
        verified: vec![
            verified(1, Authenticity::Verified),
            verified(2, Authenticity::Forged),
            verified(3, Authenticity::Forged),
        ],
        at: NOW,
    };
    assert_eq!(
        store.commit(reverify).await.unwrap().rows,
        2,
        "what waits is not a dead letter"
    );
    let filter = Filter {
        limit: 10,
        ..Filter::default()
    };
    let (messages, forged) = store
        .read(move |db| Ok((list::inbox(db, &filter)?, list::forged(db, &filter)?)))
        .await
        .unwrap();
    let shown: Vec<_> = messages
        .iter()
        .map(|item| (item.id.as_str(), item.authenticity.as_str(), item.urgent))
        .collect();
    assert_eq!(
        shown,
        [
            ("inbox/1", "verified", true),
            ("inbox/3", "unverified", false)
        ]
    );
    assert_eq!(messages[0].identity.as_deref(), Some("id-1"));
    assert_eq!(forged.len(), 1);
    assert_eq!(forged[0].from, address(9).to_string());
}

#[tokio::test]
async fn counts_are_by_agent() {
    let (_dir, store, agents) = dead_letters().await;
    let forged = Arrival {
        authenticity: Authenticity::Forged,
        ..arrival(agents[1], 2, 7, "not from 7", 6)
    };
    let waits = arrival(agents[1], 2, 7, "from 7", 6);
    store
        .commit(observe(vec![Step::Arrival(forged), Step::Arrival(waits)]))
        .await
        .unwrap();
    let held = draft("control/held", 9, "later");
    let send = Commit::Send {
        token: None,
        agent: agents[1],
        draft: held,
        prepared: None,
        at: NOW,
    };
    let id = store.commit(send).await.unwrap().sends[0].id();
    let held = vec![(id, "waits".to_owned())];
    store.commit(Commit::Hold { held }).await.unwrap();
    let paid = draft("control/paid", 9, "now");
    let prepared = Some(prepared(2, &paid, 9));
    let send = Commit::Send {
        token: None,
        agent: agents[1],
        draft: paid,
        prepared,
        at: NOW,
    };
    store.commit(send).await.unwrap();

    let all = store.read(|db| stats(db, None, 0)).await.unwrap();
    let names: Vec<&str> = all.iter().map(|agent| agent.agent.as_str()).collect();
    assert_eq!(names, ["agent-1", "agent-2"]);
    let [one, two] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!((one.dead_letters, one.forged, one.spent.all.0), (4, 0, 0));
    assert_eq!(one.oldest_waiting, None);
    assert_eq!((two.dead_letters, two.forged, two.spent.all.0), (4, 1, 10));
    assert_eq!((two.inbox["dead"], two.inbox["waiting"]), (2, 1));
    assert_eq!(
        (two.oldest_waiting, two.oldest_queued),
        (Some(Timestamp::new(1_000)), Some(NOW))
    );
    assert_eq!(two.waiting_for_budget, 1);
    let only = store
        .read(|db| stats(db, Some("agent-2"), 1))
        .await
        .unwrap();
    assert_eq!((only.len(), only[0].spent.all.0), (1, 0), "another day");
}

#[tokio::test]
async fn rows_are_found_by_their_properties() {
    let (_dir, store, _) = dead_letters().await;
    let count = async |filter: Filter| {
        let filter = Filter {
            limit: 100,
            ..filter
        };
        store
            .read(move |db| {
                let sums = (
                    list::inbox(db, &filter)?.len(),
                    list::outbox(db, &filter)?.len(),
                    list::events(db, &filter)?.len(),
                    list::forged(db, &filter)?.len(),
                );
                Ok(sums)
            })
            .await
            .unwrap()
    };
    assert_eq!(count(Filter::default()).await, (4, 4, 0, 0));
    let other = Some(address(8).to_string());
    let filter = Filter {
        other,
        ..Filter::default()
    };
    assert_eq!(count(filter).await, (2, 4, 0, 0));
    let filter = Filter {
        behaviour: Some("pong".to_owned()),
        ..Filter::default()
    };
    assert_eq!(count(filter).await, (0, 2, 0, 0));
    let filter = Filter {
        since: Some(Timestamp::new(1_001)),
        states: vec!["dead".to_owned(), "failed".to_owned()],
        ..Filter::default()
    };
    assert_eq!(count(filter).await, (0, 4, 0, 0));
    let one = Filter {
        row: Some(2),
        limit: 1,
        ..Filter::default()
    };
    let found = store.read(move |db| list::outbox(db, &one)).await.unwrap();
    assert_eq!(found[0].id, format!("outbox/{}", OutboxId(2)));
}
