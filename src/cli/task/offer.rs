//! Checks whether the recipient offers jobs of a type, as far as it is known here.

use agentry_protocol::Address;
use agentry_store::read;

use super::super::Failure;
use super::open;
use crate::config::{BehaviourInstance, Config};
use crate::runtime::clock::Clock;

/// The command that requests a job.
const ASKS: &str = "EXECUTE_AI_JOB";

/// Prefix of a capability that is a job type.
const TYPE: &str = "task:";

/// What an agent states about its jobs.
struct Offer {
    /// The source, such as `the card of worker`.
    source: String,
    commands: Vec<String>,
    capabilities: Vec<String>,
}

/// Refuses a job that the recipient does not offer: no answer would come.
///
/// # Errors
/// Neither agents.toml, for a hosted agent, nor a card in the directory lists such a job.
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
        "{} {missing}; nothing was sent. --anyway sends it regardless",
        offer.source
    )))
}

/// What is known of an agent's jobs: for a hosted agent from agents.toml, for others from their
/// current card.
fn offer(to: &Address, config: &Config) -> Result<Option<Offer>, Failure> {
    if !config.store.path.exists() {
        return Ok(None);
    }
    let db = open(config)?;
    let agents = read::agents(&db)?;
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
    let card = read::card(&db, to)?.map(|announced| announced.card);
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
