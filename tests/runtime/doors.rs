//! What operators do through the doors.

use std::sync::Arc;
use std::time::Duration;

use agentry::doors::door::queues::{ChangeQueue, ListQueue, QueueName, QueuePart, ResumePosting};
use agentry::doors::door::send::SendMessage;
use agentry::doors::door::status::GetStatus;
use agentry::doors::{Caller, Door, ErrorCode};

use super::{Stage, address};

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_retried() {
    let mut stage = Stage::set("{ kind = \"moody\" }", "", "attempts = 1");
    let operator = Door::new(Arc::new(stage.config()), Caller::operator());
    let hash = stage.say(2, "fail").await.to_string();
    let dead = ListQueue {
        queue: QueueName::Inbox,
        part: QueuePart::Dead,
        agent: None,
        limit: Some(1),
        from: None,
        to: None,
        behaviour: None,
        since: None,
        reason: None,
        cursor: None,
    };
    let row = loop {
        let page = operator.list_queue(dead.clone()).await.unwrap();
        match page.rows.into_iter().next() {
            Some(row) => break row,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(row.transaction, Some(hash));
    assert!(
        row.reason.is_some() && row.from == Some(address(2).to_string()),
        "{row:?}"
    );
    let ids = ChangeQueue {
        ids: vec![row.id],
        ..ChangeQueue::default()
    };
    assert_eq!(operator.drop_queue(ids).await.unwrap().changed, 1);
    assert!(operator.list_queue(dead).await.unwrap().rows.is_empty());
    assert!(
        !operator
            .resume_posting(ResumePosting {})
            .await
            .unwrap()
            .resumed
    );

    stage.stop();
    let sent = operator.send_message(SendMessage {
        to: address(3).to_string(),
        text: Some("ping".to_owned()),
        ..SendMessage::default()
    });
    assert_eq!(sent.await.unwrap_err().code(), ErrorCode::Unavailable);
    let status = operator.agent_status(GetStatus::default()).await.unwrap();
    assert!(!status.running && status.runtime.is_none());
}
