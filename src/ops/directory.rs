//! The directory: the cards that agents have announced.

use std::time::Duration;

use agentry_protocol::command::Tags;
use agentry_protocol::{Address, BlockHeight, Timestamp};
use agentry_sdk::Query;
use agentry_store::read::{self, AnnouncedCard, Renewal};
use agentry_store::{Reader, StoreError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::who::{self, WhoError};
use crate::config::Config;
use crate::runtime::clock::Clock;
use crate::runtime::directory::{EndpointWanted, backfill, shown_schemas};

/// How many cards are kept in memory at least, while more are read.
const KEPT: usize = 1_000;

/// A card of the directory.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CardEntry {
    /// The agent's announced name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its key, which verifies its signatures.
    pub public_key: String,
    /// The key to seal messages to it with.
    pub enc_key: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its capabilities.
    pub capabilities: Vec<String>,
    /// The commands that it accepts.
    pub commands: Vec<String>,
    /// The JSON Schemas of the parameters of these commands, as far as it says them.
    pub schemas: Map<String, Value>,
    /// Where else it says that it can be reached.
    pub endpoints: Vec<EndpointWanted>,
    /// Until when the card is valid.
    #[serde(rename = "expires_at")]
    #[schemars(with = "u64")]
    pub expires: Timestamp,
    /// Whether the card is no longer valid.
    pub expired: bool,
    /// When it was announced.
    #[serde(rename = "announced_at")]
    #[schemars(with = "u64")]
    pub announced: Timestamp,
    /// The block that holds it.
    pub height: u64,
    /// Its transaction.
    pub transaction: String,
}

impl CardEntry {
    fn new(announced: &AnnouncedCard, now: Timestamp) -> Self {
        let card = &announced.card;
        Self {
            name: card.card.name.to_string(),
            address: card.address.to_string(),
            public_key: card.public_key.to_string(),
            enc_key: card.card.enc_key.map(|key| key.to_string()),
            description: card.card.description.as_ref().map(ToString::to_string),
            capabilities: words(&card.card.capabilities),
            commands: words(&card.card.commands),
            schemas: shown_schemas(card.card.schemas.as_ref()),
            endpoints: EndpointWanted::all(&card.card.endpoints),
            expires: card.card.expires,
            expired: card.card.check_time(now).is_err(),
            announced: announced.announced_at,
            height: card.height.0,
            transaction: card.transaction.to_string(),
        }
    }
}

/// The words of a card.
pub fn words(tags: &Tags) -> Vec<String> {
    tags.as_slice().iter().map(ToString::to_string).collect()
}

/// The blocks that the directory was read from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Coverage {
    /// All cards in this block and above are known; `None` if no runtime has run yet.
    #[schemars(with = "Option<u64>")]
    pub from: Option<BlockHeight>,
    /// The older blocks that a runtime reads.
    pub reading: Option<Backfill>,
}

/// The older blocks that a runtime reads for the directory.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Backfill {
    /// The first of them.
    #[schemars(with = "u64")]
    pub from: BlockHeight,
    /// The first block after them.
    #[schemars(with = "u64")]
    pub to: BlockHeight,
    /// The last block that was read.
    #[schemars(with = "Option<u64>")]
    pub at: Option<BlockHeight>,
}

fn coverage(db: &Reader) -> Result<Coverage, StoreError> {
    let surveyed = read::surveyed(db)?;
    let standing = surveyed.progress.as_deref().and_then(backfill::standing);
    let reading = standing.filter(|standing| Some(standing.from) < surveyed.from);
    Ok(Coverage {
        from: surveyed.from,
        reading: reading.map(|standing| Backfill {
            from: standing.from,
            to: standing.to,
            at: standing.at,
        }),
    })
}

/// The cards to list.
#[derive(Clone, Debug)]
pub struct ListCards {
    /// What they match.
    pub query: Query,
    /// Only those announced within this time.
    pub fresh: Option<Duration>,
    /// Also those that have expired: for them, the query is checked as of the time when they were
    /// valid.
    pub expired: bool,
    /// Only those after this name and address.
    pub after: Option<(String, String)>,
    /// At most this many.
    pub limit: usize,
}

/// Cards of the directory.
#[derive(Clone, Debug)]
pub struct CardList {
    /// Those that match, by name.
    pub cards: Vec<CardEntry>,
    /// How many match, regardless of the limit, after the given one.
    pub matching: usize,
    /// How many the directory has.
    pub known: usize,
    /// The blocks that the directory was read from.
    pub coverage: Coverage,
}

/// Lists cards, as of this time.
///
/// # Errors
/// The store's.
pub fn list(db: &Reader, wanted: &ListCards, now: Timestamp) -> Result<CardList, StoreError> {
    let since = wanted.fresh.map(|fresh| now.minus(fresh));
    let is_wanted = |announced: &AnnouncedCard| {
        let card = &announced.card;
        let asked_at = if wanted.expired {
            card.card.expires
        } else {
            now
        };
        wanted.query.fits(card, asked_at)
            && since.is_none_or(|since| announced.announced_at >= since)
            && wanted.after.as_ref().is_none_or(|(name, address)| {
                (card.card.name.as_str(), card.address.as_str()) > (name.as_str(), address.as_str())
            })
    };
    let by_name = |found: &mut Vec<AnnouncedCard>| {
        found.sort_by(|one, other| {
            let order =
                |card: &AnnouncedCard| (card.card.card.name.clone(), card.card.address.clone());
            order(one).cmp(&order(other))
        });
        found.truncate(wanted.limit);
    };
    let (mut known, mut matching) = (0, 0);
    let mut found = Vec::new();
    read::each_card(db, |card| {
        known += 1;
        if is_wanted(&card) {
            matching += 1;
            found.push(card);
            // Those that cannot be listed do not stay in memory.
            if found.len() > wanted.limit.saturating_mul(2).max(KEPT) {
                by_name(&mut found);
            }
        }
    })?;
    by_name(&mut found);
    Ok(CardList {
        cards: found.iter().map(|card| CardEntry::new(card, now)).collect(),
        matching,
        known,
        coverage: coverage(db)?,
    })
}

/// What is known of an address from the directory and from here.
#[derive(Clone, Debug)]
pub struct CardDetails {
    /// The address.
    pub address: Address,
    /// Its card.
    pub card: Option<CardEntry>,
    /// The name of the contact with this address.
    pub contact: Option<String>,
    /// The name of the agent that was last hosted at this address.
    pub hosted_as: Option<String>,
    /// The agent's recurring announcement.
    pub renewal: Option<Renewal>,
    /// Other agents that have announced the card's name in a valid card.
    pub same_name: Vec<Address>,
    /// The blocks that the directory was read from.
    pub coverage: Coverage,
}

/// Looks up an address or a name, as of now. A name without a valid card means the agent whose card
/// has expired.
///
/// # Errors
/// [`WhoError`].
pub fn show(db: &Reader, who: &str, config: &Config) -> Result<CardDetails, WhoError> {
    let now = Clock::default().now();
    let coverage = coverage(db)?;
    let address = match who::resolve(who, config) {
        Ok(address) => address,
        Err(unknown) => match read::cards_named(db, who)?.as_slice() {
            [one] => one.card.address.clone(),
            _ => return Err(unknown),
        },
    };
    let card = read::card(db, &address)?;
    let mut agents = read::agents(db)?.into_iter();
    let agent = agents.find(|agent| agent.address == address);
    let renewal = match &agent {
        Some(agent) => read::renewal(db, agent.id)?,
        None => None,
    };
    let mut contacts = config.contacts.iter();
    let contact = contacts.find(|contact| contact.address == address);
    let named = match &card {
        Some(card) => read::cards_named(db, card.card.card.name.as_str())?,
        None => Vec::new(),
    };
    let same_name = named
        .into_iter()
        .map(|other| other.card)
        .filter(|other| other.address != address && other.card.check_time(now).is_ok())
        .map(|other| other.address)
        .collect();
    Ok(CardDetails {
        card: card.map(|card| CardEntry::new(&card, now)),
        contact: contact.map(|contact| contact.name.to_string()),
        hosted_as: agent.map(|agent| agent.name),
        address,
        renewal,
        same_name,
        coverage,
    })
}
