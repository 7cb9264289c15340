//! Effects of behaviours that wait for an operator's approval.

use agentry_protocol::{Amount, Timestamp};
use agentry_store::list::HeldItem;
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DoorError;
use super::{About, Door, limit};
use crate::ops::approvals::{self, Approval};
use crate::ops::names::Names;

/// The effects to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListApprovals {
    /// Only effects of this hosted agent: its name or its address. Needed if you may not use all agents.
    pub agent: Option<String>,
    /// The most effects; 20 if not given. Those that are decided on make room for others.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
}

/// Effects that wait, oldest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ApprovalPage {
    /// The effects.
    pub approvals: Vec<ApprovalEntry>,
    /// Whether more wait than are listed.
    pub more: bool,
}

/// An effect that waits.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ApprovalEntry {
    /// Its id, such as `outbox/7` of a message or `task/3` of a task.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// The agent's address.
    pub from: String,
    /// The behaviour.
    pub behaviour: String,
    /// The verified sender that caused it; null if it was the agent itself, or an unverified sender.
    pub brought_about_by: Option<String>,
    /// When it was requested.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
    /// When it is given up if nobody has decided.
    #[schemars(with = "Option<u64>")]
    pub expires_at: Option<Timestamp>,
    /// The recipient of a message.
    pub to: Option<String>,
    /// The recipient's name.
    pub to_name: Option<String>,
    /// The amount that a message transfers, in AIT.
    #[schemars(with = "Option<u64>")]
    pub amount: Option<Amount>,
    /// The content of a message; null if it is sealed.
    pub text: Option<String>,
    /// Whether a message is sealed.
    pub sealed: bool,
    /// The type of a task, or the name of a message's command.
    pub kind: Option<String>,
    /// The input of a task, JSON: data of whoever requested it.
    pub input: Option<String>,
}

/// The decision on an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideApproval {
    /// The effect, such as `outbox/7` or `task/3`.
    pub id: String,
    /// The hosted agent that it belongs to: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
    /// Whether it is carried out.
    pub grant: bool,
    /// Why: it is told to those whom a denial concerns.
    #[schemars(length(max = 1000))]
    pub reason: Option<String>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DecidedApproval {
    /// The effect.
    pub id: String,
    /// Whether it is carried out.
    pub granted: bool,
}

impl From<Approval> for ApprovalEntry {
    fn from(approval: Approval) -> Self {
        let (item, words) = (approval.item, approval.words);
        let (to, amount, kind, input) = match item.effect {
            HeldItem::Message { to, amount, .. } => (Some(to), Some(amount), words.cmd, None),
            HeldItem::Task { kind, input, .. } => (None, None, Some(kind), Some(input)),
        };
        Self {
            id: item.id,
            agent: item.agent,
            from: item.from,
            behaviour: item.behaviour,
            brought_about_by: item.brought_about_by,
            created_at: item.created_at,
            expires_at: item.expires_at,
            to,
            to_name: approval.to_name,
            amount,
            text: words.text,
            sealed: words.sealed,
            kind,
            input,
        }
    }
}

impl Door {
    /// Lists the effects that wait for an operator's approval.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list_approvals(&self, request: ListApprovals) -> Result<ApprovalPage, DoorError> {
        self.caller.check_oversee()?;
        let limit = limit(request.limit)?;
        let doors = self.in_shards(request.agent.as_deref()).await?;
        // One more than the limit shows whether there are others.
        let most = limit.saturating_add(1);
        let lists = doors.iter().map(|door| door.approvals(&request, most));
        let mut approvals = try_join_all(lists).await?.concat();
        // Stable: those of one shard are in order already.
        approvals.sort_by_key(|one| one.created_at);
        let more = approvals.len() > limit;
        approvals.truncate(limit);
        Ok(ApprovalPage { approvals, more })
    }

    /// The oldest effects that wait, at most so many.
    async fn approvals(
        &self,
        request: &ListApprovals,
        most: usize,
    ) -> Result<Vec<ApprovalEntry>, DoorError> {
        let agent = request.agent.clone();
        self.look(async move |db, door| {
            let agent = door.operated(db, agent.as_deref())?;
            let names = Names::new(&door.config, Some(db))?;
            let listed = approvals::list(db, agent.as_deref(), most as u64, &names)?;
            let listed = listed.approvals.into_iter();
            Ok(listed.map(ApprovalEntry::from).collect())
        })
        .await
    }

    /// Grants or denies an effect that waits.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn decide_approval(
        &self,
        request: DecideApproval,
    ) -> Result<DecidedApproval, DoorError> {
        self.caller.check_operate()?;
        let DecideApproval {
            id,
            agent,
            grant,
            reason,
        } = request;
        let door = self.in_shard(About::Row(agent.as_deref())).await?;
        let wanted = id.clone();
        let store = door.config.store.path.clone();
        door.look(async move |db, door| {
            let names = Names::new(&door.config, Some(db))?;
            let waits = approvals::show(db, &wanted, &names, &door.config.store.path)?;
            if door.caller.sees(&waits.item.from) {
                Ok(())
            } else {
                let what = format_args!("effect {wanted} that waits for approval");
                Err(DoorError::not_found(what))
            }
        })
        .await?;
        approvals::decide(&id, grant, reason, &store).await?;
        Ok(DecidedApproval { id, granted: grant })
    }
}
