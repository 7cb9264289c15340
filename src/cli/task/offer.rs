//! Whether the one who is asked for a job offers jobs of that type, as far as it is known here.

use agentry_protocol::Address;

use super::super::Failure;
use super::{open, stored};
use crate::config::{BehaviourInstance, Config};
use crate::runtime::clock::Clock;
use crate::store::read;

/// The command that asks for a job.
const ASKS: &str = "EXECUTE_AI_JOB";

/// What a capability begins with that is a type of job.
const TYPE: &str = "task:";

/// What somebody says that they do.
struct Offer {
    /// Who says so: as `the card of worker`.
    source: String,
    commands: Vec<String>,
    capabilities: Vec<String>,
}

/// Refuses a job that the one who is asked does not offer: no answer would come.
///
/// # Errors
/// Neither agents.toml, for an agent of our own, nor a card in the directory lists such a job.
pub(super) fn check(to: &Address, kind: &str, config: &Config) -> Result<(), Failure> {
    let Some(offer) = offer(to, config)? else {
        return Ok(());
    };
    let types: Vec<&str> = offer
        .capabilities
        .iter()
        .filter_map(|word| word.strip_prefix(TYPE))
        .collect();
    let missing = if types.is_empty() && !offer.commands.iter().any(|word| word == ASKS) {
        "offers no jobs".to_owned()
    } else if !types.is_empty() && !types.contains(&kind) {
        format!("offers no job of type {kind}, but: {}", types.join(", "))
    } else {
        return Ok(());
    };
    Err(Failure::data(format!(
        "{} {missing}; nothing was sent. --anyway asks all the same",
        offer.source
    )))
}

/// What is known of what somebody does: of an agent of ours by agents.toml, of others by the card
/// that counts now.
fn offer(to: &Address, config: &Config) -> Result<Option<Offer>, Failure> {
    if !config.store.path.exists() {
        return Ok(None);
    }
    let db = open(config)?;
    let agents = stored(read::agents(&db))?;
    let own = agents.iter().find(|agent| agent.address == *to);
    if let Some(agent) = own
        && let Some(behaviours) = behaviours(&agent.name, config)
    {
        let all = || behaviours.iter().map(|instance| &instance.behaviour);
        return Ok(Some(Offer {
            source: format!("agent {} of {}", agent.name, config.file),
            commands: all().flat_map(|one| one.commands()).collect(),
            capabilities: all().flat_map(|one| one.capabilities()).collect(),
        }));
    }
    let card = stored(read::card(&db, to))?.map(|announced| announced.card);
    let counts = |card: &agentry_sdk::Card| card.card.check_time(Clock::default().now_ms()).is_ok();
    Ok(card.filter(counts).map(|card| Offer {
        source: format!("the card of {}", card.card.name),
        commands: words(card.card.commands.as_slice()),
        capabilities: words(card.card.capabilities.as_slice()),
    }))
}

fn behaviours<'a>(name: &str, config: &'a Config) -> Option<&'a [BehaviourInstance]> {
    if let Some(agent) = config.agents.iter().find(|agent| agent.name == name) {
        return Some(&agent.behaviours);
    }
    let (fleet, _) = name.split_once('/')?;
    let fleet = config.fleets.iter().find(|one| one.name == fleet)?;
    Some(&fleet.behaviours)
}

fn words(tags: &[agentry_protocol::command::Tag]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}
