//! Which jobs an agent offers, as far as it is known here.

use agentry_protocol::Address;
use agentry_protocol::command::Announce;
use agentry_store::{StoreError, open_if_exists, read};

use super::super::directory::words;
use super::super::who;
use super::TaskError;
use crate::config::Config;
use crate::runtime::clock::Clock;

/// The command that requests a job.
const ASKS: &str = "EXECUTE_AI_JOB";

/// Prefix of a capability that is a job type.
const TYPE: &str = "task:";

/// Refuses a job that the recipient does not offer: no answer would come.
///
/// # Errors
/// [`TaskError::NotOffered`]: neither agents.toml, for a hosted agent, nor a card in the directory
/// lists such a job.
pub(super) fn check(to: &Address, kind: &str, config: &Config) -> Result<(), TaskError> {
    let Some(offer) = offer(to, config)? else {
        return Ok(());
    };
    let types = offer.types();
    let missing = if types.is_empty() && !offer.does_jobs() {
        "offers no jobs".to_owned()
    } else if !types.is_empty() && !types.contains(&kind) {
        format!("offers no job of type {kind}, but: {}", types.join(", "))
    } else {
        return Ok(());
    };
    let who = offer.who;
    Err(TaskError::NotOffered { who, missing })
}

/// What an agent states about what it does.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Where it states it, such as `the card of worker`.
    pub who: String,
    /// The commands that it accepts.
    pub commands: Vec<String>,
    /// Its capabilities.
    pub capabilities: Vec<String>,
}

impl Offer {
    /// Whether it does jobs.
    pub fn does_jobs(&self) -> bool {
        self.commands.iter().any(|word| word == ASKS)
    }

    /// The types of the jobs that it does, if it names them.
    pub fn types(&self) -> Vec<&str> {
        let words = self.capabilities.iter();
        words.filter_map(|word| word.strip_prefix(TYPE)).collect()
    }
}

/// What is known of an agent's jobs: for a hosted agent from agents.toml, for others from their
/// current card.
///
/// # Errors
/// The store's.
pub fn offer(to: &Address, config: &Config) -> Result<Option<Offer>, StoreError> {
    let Some(db) = open_if_exists(&config.store.path)? else {
        return Ok(None);
    };
    let mut agents = read::agents(&db)?.into_iter();
    let name = agents
        .find(|agent| agent.address == *to)
        .map(|agent| agent.name);
    if let Some(agent) = name.and_then(|name| who::configured(&name, config)) {
        let all = || agent.behaviours.iter().map(|instance| &instance.behaviour);
        return Ok(Some(Offer {
            who: format!("agent {} of {}", agent.name, config.file),
            commands: all().flat_map(|one| one.commands()).collect(),
            capabilities: all().flat_map(|one| one.capabilities()).collect(),
        }));
    }
    let card = read::card(&db, to)?.map(|announced| announced.card.card);
    let counts = |card: &Announce| card.check_time(Clock::default().now()).is_ok();
    Ok(card.filter(counts).map(|card| Offer {
        who: format!("the card of {}", card.name),
        commands: words(&card.commands),
        capabilities: words(&card.capabilities),
    }))
}
