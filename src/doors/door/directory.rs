//! Finding agents.

use std::time::Duration;

use agentry_protocol::Address;
use agentry_sdk::Query;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DoorError;
use super::{About, Door, bad_cursor, limit};
use crate::ops::directory::{self, CardEntry, Coverage, ListCards};
use crate::runtime::clock::Clock;

/// The agents to find in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindAgents {
    /// Only agents with exactly this name.
    pub name: Option<String>,
    /// Only agents that have all of these capabilities, such as `task:summary`.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub capabilities: Vec<String>,
    /// Only agents that accept all of these commands.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub commands: Vec<String>,
    /// Only cards that were announced within this time, in milliseconds.
    pub fresh_ms: Option<u64>,
    /// Also cards that have expired.
    #[serde(default)]
    pub expired: bool,
    /// The most agents of a page; 20 if not given.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    pub cursor: Option<String>,
}

/// Agents of the directory, by name.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentPage {
    /// The cards that they have announced. Anybody can announce anything.
    pub agents: Vec<CardEntry>,
    /// The cursor of the next page; null if this is the last.
    pub next: Option<String>,
    /// The blocks that the directory was read from.
    pub directory: Coverage,
}

/// The agent to look up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAgent {
    /// Its address, or its name among hosted agents, contacts and the directory.
    pub who: String,
}

/// What is known of an agent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentDetails {
    /// Its address.
    #[schemars(with = "String")]
    pub address: Address,
    /// The card that it has announced. Anybody can announce anything.
    pub card: Option<CardEntry>,
    /// The name of the operator's contact with this address.
    pub contact: Option<String>,
    /// The name of the hosted agent with this address.
    pub hosted: Option<String>,
    /// Other agents that have announced the name in its card.
    #[schemars(with = "Vec<String>")]
    pub same_name: Vec<Address>,
    /// The blocks that the directory was read from.
    pub directory: Coverage,
}

impl Door {
    /// Finds agents in the directory, by what they offer.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn find_agents(&self, request: FindAgents) -> Result<AgentPage, DoorError> {
        self.caller.check_read()?;
        let after = match &request.cursor {
            // An address has no slash.
            Some(cursor) => Some(cursor.split_once('/').ok_or_else(bad_cursor)?),
            None => None,
        };
        let limit = limit(request.limit)?;
        let wanted = ListCards {
            after: after.map(|(address, name)| (name.to_owned(), address.to_owned())),
            fresh: request.fresh_ms.map(Duration::from_millis),
            expired: request.expired,
            limit,
            query: Query {
                name: request.name,
                capabilities: request.capabilities,
                commands: request.commands,
                ..Query::all()
            },
        };
        let door = self.in_shard(About::Anything).await?;
        door.look(async move |db, _| {
            let found = directory::list(db, &wanted, Clock::default().now())?;
            let more = found.matching > found.cards.len();
            let last = found.cards.last().filter(|_| more);
            Ok(AgentPage {
                next: last.map(|card| format!("{}/{}", card.address, card.name)),
                agents: found.cards,
                directory: found.coverage,
            })
        })
        .await
    }

    /// Looks up one agent.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn get_agent(&self, request: GetAgent) -> Result<AgentDetails, DoorError> {
        self.caller.check_read()?;
        let door = self.in_shard(About::Anybody(&request.who)).await?;
        door.look(async move |db, door| {
            let found = directory::show(db, &request.who, &door.config)?;
            Ok(AgentDetails {
                address: found.address,
                card: found.card,
                contact: found.contact,
                hosted: found.hosted_as,
                same_name: found.same_name,
                directory: found.coverage,
            })
        })
        .await
    }
}
