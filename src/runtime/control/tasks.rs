//! Ending tasks, and opening sealed messages for the operator.

use agentry_core::commit::TaskEnd;
use agentry_core::rows::TaskId;
use agentry_core::{Commit, InboxId};
use agentry_protocol::message;
use agentry_store::{StoreError, read};

use super::{Answer, ControlLinks, refused};
use crate::runtime::Shared;
use crate::runtime::router::WakeAgents;
use crate::runtime::signer::OpenSealed;

/// Ends a task of this runtime. Nothing changes if there is none or it has ended.
pub(super) async fn cancel(
    task: TaskId,
    shared: &Shared,
    links: &ControlLinks,
) -> Result<Answer, StoreError> {
    loop {
        let row = shared.store.read(move |db| read::task(db, task)).await?;
        let Some(row) = row.filter(|row| row.state.is_open()) else {
            return Ok(Answer::Done { changed: 0 });
        };
        let receipt = shared
            .store
            .commit_now(Commit::TaskEnd {
                task,
                attempts: row.attempts,
                end: TaskEnd::Canceled,
                duration_ms: 0,
                at: shared.clock.now_ms(),
            })
            .await?;
        // Another attempt began meanwhile, or the task has ended.
        if receipt.stale {
            continue;
        }
        shared.pool.cancel(&[task]);
        // If the router has ended, it reads the store when it restarts.
        let _ = links.wake.send(WakeAgents(receipt.due)).await;
        return Ok(Answer::Done { changed: 1 });
    }
}

/// Returns the content of a sealed message.
pub(super) async fn open(
    inbox: InboxId,
    shared: &Shared,
    links: &ControlLinks,
) -> Result<Answer, StoreError> {
    let found = shared
        .store
        .read(move |db| {
            let message = read::message_at(db, inbox)?;
            let agent = read::agent_of(db, inbox)?;
            Ok(message.zip(agent))
        })
        .await?;
    let Some((message, agent)) = found else {
        return Ok(refused(format!("there is no message inbox/{inbox}")));
    };
    let sealed = OpenSealed {
        agent,
        stored: Box::new(message.stored),
        authenticity: message.authenticity,
    };
    Ok(match links.open.send(sealed).await {
        Ok(Ok(Ok(payload))) => match message::compose(&payload, None) {
            Ok(payload) => Answer::Opened { payload },
            Err(error) => refused(error.to_string()),
        },
        Ok(Ok(Err(reason))) => refused(reason),
        Ok(Err(error)) => refused(error.to_string()),
        Err(_) => refused("the runtime is stopping".to_owned()),
    })
}
