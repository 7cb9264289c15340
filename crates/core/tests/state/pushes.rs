//! Where clients are told of tasks.

use agentry_core::commit::CommitResult;
use agentry_core::push::{Hidden, MOST, MOST_OF_TASK, MOST_OF_TOKEN};
use agentry_core::state::{Failure, Refusal};
use agentry_core::{AgentId, Commit, Push, Rights, Token, TokenName};
use agentry_protocol::{ContentHash, Timestamp};

use super::{AGENT, Stage};

const AT: Timestamp = Timestamp::new(5_000);

fn name(text: &str) -> TokenName {
    text.parse().unwrap()
}

fn token(text: &str) -> Commit {
    Commit::CreateToken(Token {
        name: name(text),
        secret: ContentHash::of(text.as_bytes()),
        agents: None,
        rights: Rights::default(),
        recipients: None,
        daily_budget: None,
        made_at: AT,
        expires_at: None,
    })
}

fn push(owner: &str, task: &str, id: &str) -> Push {
    Push {
        owner: name(owner),
        task: task.to_owned(),
        id: id.to_owned(),
        agent: AGENT,
        target: "worker".to_owned(),
        url: Hidden::new("https://receiver.example/secret".to_owned()),
        token: Some(Hidden::new("secret".to_owned())),
        scheme: Some("Bearer".to_owned()),
        credentials: Some(Hidden::new("secret".to_owned())),
        made_at: AT,
    }
}

/// Why a receiver is refused.
fn refusal(stage: &mut Stage, push: Push) -> Refusal {
    match stage.state.apply(&Commit::AddPush(push)) {
        Err(Failure::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_receiver_is_one_and_another_with_its_id_replaces_it() {
    let mut stage = Stage::new();
    stage.apply(token("shop"));
    stage.apply(Commit::AddPush(push("shop", "t", "a")));
    let told = ContentHash::of(b"working");
    stage.apply(Commit::PushTold { number: 1, told });
    let later = Push {
        made_at: AT.plus_ms(1),
        ..push("shop", "t", "a")
    };
    let same = stage.apply(Commit::AddPush(later.clone()));
    assert_eq!(same.result, CommitResult::Unchanged);
    stage.apply(Commit::AddPush(Push {
        url: Hidden::new("https://other.example/".to_owned()),
        ..later
    }));
    let rows = stage.state.open_pushes();
    let [row] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!((row.number, row.told), (2, None));
    // What was on its way to the first changes nothing of the second.
    stage.apply(Commit::PushTold { number: 1, told });
    stage.apply(Commit::EndPush { number: 1 });
    assert_eq!(stage.state.open_pushes(), rows);
    let shown = format!("{rows:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("example"),
        "{shown}"
    );
}

#[test]
fn a_failure_counts_once_and_a_delivery_ends_the_count() {
    let mut stage = Stage::new();
    stage.apply(token("shop"));
    stage.apply(Commit::AddPush(push("shop", "t", "a")));
    let failed = |failures| Commit::PushFailed {
        number: 1,
        failures,
        due_at: AT,
    };
    for failures in [1, 1, 3, 2] {
        stage.apply(failed(failures));
    }
    let row = &stage.state.open_pushes()[0];
    assert_eq!((row.failures, row.due_at), (2, Some(AT)));
    let told = ContentHash::of(b"working");
    stage.apply(Commit::PushTold { number: 1, told });
    let row = &stage.state.open_pushes()[0];
    assert_eq!((row.failures, row.due_at, row.told), (0, None, Some(told)));
}

#[test]
fn receivers_are_few_and_end_with_their_token() {
    let mut stage = Stage::new();
    assert!(matches!(
        refusal(&mut stage, push("shop", "t", "a")),
        Refusal::NoToken(_)
    ));
    for owner in ["shop", "shop-2"] {
        stage.apply(token(owner));
        stage.apply(Commit::AddPush(push(owner, "t-0", "0")));
    }
    let unknown = Push {
        agent: AgentId(9),
        ..push("shop", "t-0", "0")
    };
    assert_eq!(
        refusal(&mut stage, unknown),
        Refusal::UnknownAgent(AgentId(9))
    );
    for id in 1..MOST_OF_TASK {
        stage.apply(Commit::AddPush(push("shop", "t-0", &id.to_string())));
    }
    let more = push("shop", "t-0", "more");
    assert!(matches!(refusal(&mut stage, more), Refusal::Full { .. }));
    for task in MOST_OF_TASK..MOST_OF_TOKEN {
        stage.apply(Commit::AddPush(push("shop", &format!("t-{task}"), "0")));
    }
    let more = push("shop", "t-more", "0");
    assert!(matches!(refusal(&mut stage, more), Refusal::Full { .. }));
    assert_eq!(stage.state.open_pushes().len(), MOST_OF_TOKEN + 1);
    for number in MOST_OF_TOKEN + 1..MOST {
        let (owner, task) = (format!("more-{}", number / 64), format!("t-{number}"));
        stage.apply(token(&owner));
        stage.apply(Commit::AddPush(push(&owner, &task, "0")));
    }
    let more = push("shop-2", "t-more", "0");
    assert!(matches!(refusal(&mut stage, more), Refusal::Full { .. }));
    stage.apply(Commit::RevokeToken { name: name("shop") });
    let left = stage.state.open_pushes();
    assert_eq!(left.len(), MOST - MOST_OF_TOKEN);
    assert!(left.iter().all(|row| row.push.owner != name("shop")));
}
