//! Announcing hosted agents, and withdrawing their cards, at an operator's request.

use agentry_core::Commit;
use agentry_protocol::{Address, KnownCommand};
use agentry_store::{StoreError, read};
use serde::{Deserialize, Serialize};

use super::{Answer, ControlLinks, not_hosted, not_sent, refused};
use crate::runtime::Shared;
use crate::runtime::directory::Registration;
use crate::runtime::environment;
use crate::runtime::registry::{AgentRegistry, Hosted};
use crate::runtime::router::WakeAgents;
use crate::runtime::send::{self, SendError};

/// The card that an operator announces for a hosted agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardWanted {
    /// The announced name; the name in agents.toml if none is given.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The capabilities; those that its behaviours declare if none are given.
    pub capabilities: Option<Vec<String>>,
    /// The commands; those that its behaviours declare if none are given.
    pub commands: Option<Vec<String>>,
    /// How long a card is valid, in milliseconds.
    pub ttl_ms: u64,
}

impl CardWanted {
    fn registration(&self, hosted: &Hosted) -> Result<Registration, String> {
        let words = |given: &Option<Vec<String>>, declared: fn(&Hosted) -> Vec<String>| {
            given.clone().unwrap_or_else(|| declared(hosted))
        };
        // An agent of a fleet is called `fleet/wallet`, which is not a valid name in a card.
        let own = hosted.config.name.rsplit('/').next().unwrap_or_default();
        Registration::new(
            self.name.as_deref().unwrap_or(own),
            self.description.as_deref(),
            &words(&self.capabilities, |hosted| {
                spelled(&environment::capabilities(hosted))
            }),
            &words(&self.commands, |hosted| {
                spelled(&environment::commands(hosted))
            }),
            self.ttl_ms,
        )
        .map_err(|error| error.to_string())
    }
}

fn spelled(tags: &agentry_protocol::command::Tags) -> Vec<String> {
    tags.as_slice().iter().map(ToString::to_string).collect()
}

/// The registration as it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The agent's name in agents.toml.
    pub agent: String,
    /// Its address.
    pub address: Address,
    /// The name under which it is announced.
    pub card: Registration,
    /// The row of the event that announces it, and begins the origin of each announcement.
    pub event: i64,
}

/// Has an agent announced, now and at each renewal.
pub(super) async fn register(
    who: &str,
    wanted: &CardWanted,
    shared: &Shared,
    registry: &AgentRegistry,
    links: &ControlLinks,
) -> Result<Answer, StoreError> {
    let Some(hosted) = registry.meant(who) else {
        return Ok(not_hosted(who));
    };
    let card = match wanted.registration(&hosted) {
        Ok(card) => card,
        Err(reason) => return Ok(Answer::Invalid { reason }),
    };
    let agent = hosted.id;
    let register = Commit::Register {
        agent,
        card: card.to_value(),
        due_at: shared.clock.now_ms(),
    };
    let receipt = shared.store.commit_now(register).await?;
    let renewal = shared
        .store
        .read(move |db| read::renewal(db, agent))
        .await?;
    // If the router has ended, it reads the store when it restarts.
    let _ = links.wake.send(WakeAgents(receipt.due)).await;
    let Some(renewal) = renewal else {
        return Ok(refused(format!(
            "{who} was withdrawn while it was registered"
        )));
    };
    Ok(Answer::Registered(Registered {
        agent: hosted.config.name.clone(),
        address: hosted.address.clone(),
        card,
        event: renewal.event.0,
    }))
}

/// Has an agent's card withdrawn, and no longer announced.
pub(super) async fn withdraw(
    who: &str,
    key: String,
    shared: &Shared,
    registry: &AgentRegistry,
    links: &ControlLinks,
) -> Result<Answer, StoreError> {
    let Some(hosted) = registry.meant(who) else {
        return Ok(not_hosted(who));
    };
    // Before the withdrawal, so that no renewal comes after it.
    shared
        .store
        .commit_now(Commit::Unregister { agent: hosted.id })
        .await?;
    let body = KnownCommand::Withdraw.body();
    let message = send::Request::new(hosted.address.clone(), body, key);
    match send::send(shared, &links.send, &hosted, &message).await {
        Ok(sent) => Ok(Answer::Queued {
            outbox: sent.outbox.0,
            hash: sent.hash.map(|hash| hash.to_string()),
            id: sent.id.map(|id| id.to_string()),
        }),
        Err(SendError::Store(error)) => Err(error),
        Err(error) => Ok(not_sent(&error)),
    }
}
