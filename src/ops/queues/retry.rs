//! Verifying the senders of dead letters again before they are retried.

use std::collections::HashMap;

use agentry_core::commit::{Arrival, QueueTarget, Reverified};
use agentry_core::rows::DueMessage;
use agentry_core::{AgentId, Commit, InboxId};
use agentry_protocol::StoredTransaction;
use agentry_store::{StoreError, read};

use super::super::Operations;
use crate::runtime::classify;

/// How many dead letters are verified at a time: each may be as large as a transaction can be.
const PAGE: u32 = 32;

impl Operations {
    /// Verifies the senders of these dead letters again: a key may have become known since, which
    /// verifies the sender, or shows that the sender did not sign.
    pub(in crate::ops) async fn reverify(&self, target: &QueueTarget) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut after = InboxId(0);
        loop {
            let target = target.clone();
            let dead = shared
                .store
                .read(move |db| read::dead_letters(db, &target, after, PAGE))
                .await?;
            let Some(last) = dead.last() else {
                return Ok(());
            };
            after = last.id;
            let stored: Vec<(InboxId, StoredTransaction)> = dead
                .iter()
                .map(|message| (message.id, message.stored.clone()))
                .collect();
            let found =
                classify::reverify(shared, &self.registry, &self.links.send.chain.id, stored)
                    .await?;
            let mut of_row: HashMap<InboxId, DueMessage> = dead
                .into_iter()
                .map(|message| (message.id, message))
                .collect();
            let at = shared.clock.now();
            let verified: Vec<Reverified> = found
                .into_iter()
                .filter_map(|(id, authenticity)| {
                    let message = of_row.remove(&id)?;
                    // Earlier findings are kept if nothing has changed.
                    if authenticity == message.authenticity {
                        return None;
                    }
                    let agent = AgentId(0);
                    let (stored, height) = (&message.stored, message.height);
                    let again = Arrival::new(agent, message.hash, stored, height, authenticity, at);
                    Some(Reverified {
                        id,
                        authenticity,
                        identity: again.identity,
                        urgent: again.urgent,
                    })
                })
                .collect();
            if !verified.is_empty() {
                shared
                    .store
                    .commit_now(Commit::Reverify { verified, at })
                    .await?;
            }
        }
    }
}
