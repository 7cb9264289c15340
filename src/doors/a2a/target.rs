//! Who is meant by the path of a request.

use agentry_core::rows::AgentRow;
use agentry_protocol::Address;
use agentry_store::read;

use super::super::door::{About, Door};
use super::super::error::DoorError;
use crate::ops::tasks::offer::{self, Offer};
use crate::ops::who;

/// An agent that can be reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name, as `[a2a]` writes it.
    pub name: String,
    /// Its address.
    pub address: Address,
    /// The hosted agent, if it is one.
    pub hosted: Option<AgentRow>,
    /// What it states about what it does.
    pub offer: Option<Offer>,
}

impl Target {
    /// The types of its jobs.
    pub fn types(&self) -> Vec<&str> {
        self.offer.as_ref().map(Offer::types).unwrap_or_default()
    }
}

impl Door {
    /// The agent of this name, if `[a2a]` names it.
    ///
    /// # Errors
    /// It does not; or the agent is not known now.
    pub(super) async fn a2a_target(&self, name: String) -> Result<Target, DoorError> {
        let listed = self.config().a2a.as_ref();
        let is_listed = listed.is_some_and(|listed| listed.agents.contains(&name));
        let unknown = |name: &str| DoorError::not_found(format_args!("agent {name:?}"));
        if !is_listed {
            return Err(unknown(&name));
        }
        let door = self.in_shard(About::Anybody(&name)).await?;
        door.look(async move |db, door| {
            let address = who::resolve(&name, door.config());
            let address = address.map_err(|error| unknown(&name).with_detail(error))?;
            Ok(Target {
                hosted: read::agent(db, &address)?,
                offer: offer::offer(&address, door.config())?,
                name,
                address,
            })
        })
        .await
    }
}
