//! Whom a name or an address on the command line means.

use agentry_protocol::Address;
use agentry_sdk::NameError;

use crate::config::{Config, did_you_mean};
use crate::runtime::clock::Clock;
use crate::store::{StoreError, open_for_reading, read};
use crate::wallet::WalletStore;

use super::super::{ExitCode, Failure};

/// An address, from itself or from a name: a contact's, an agent's of agents.toml, or one that is
/// announced in the directory; in this order.
pub(in crate::cli) fn resolve(text: &str, config: &Config) -> Result<Address, Failure> {
    // No name begins so.
    if text.starts_with("ait1") {
        return text
            .parse()
            .map_err(|error| Failure::data(format!("the address {text:?}: {error}")));
    }
    let contact = |contact: &&crate::config::Contact| contact.name.as_str() == text;
    if let Some(contact) = config.contacts.iter().find(contact) {
        return Ok(contact.address.clone());
    }
    if let Some(address) = hosted(text, config)? {
        return Ok(address);
    }
    let announced = announced(text, config)?;
    match announced.as_slice() {
        [address] => Ok(address.clone()),
        [] => Err(unknown(text, config)),
        _ => {
            let error = NameError::Ambiguous {
                name: text.to_owned(),
                addresses: announced,
            };
            Err(Failure::data(error.to_string()))
        }
    }
}

/// The address of an agent of agents.toml, where the name is one.
pub(super) fn hosted(text: &str, config: &Config) -> Result<Option<Address>, Failure> {
    if let Some(agent) = config.agents.iter().find(|agent| agent.name == text) {
        let wallet = WalletStore::from_config(&config.wallets).find(&agent.wallet)?;
        let address = wallet.info().address.clone().ok_or_else(|| {
            Failure::data(format!(
                "the keystore of agent {text} does not say its address; name the address instead"
            ))
        })?;
        return Ok(Some(address));
    }
    if let Some((fleet, wallet)) = text.split_once('/')
        && let Some(fleet) = config.fleets.iter().find(|one| one.name == fleet)
    {
        return Ok(fleet.wallets.store().find(wallet)?.info().address.clone());
    }
    Ok(None)
}

/// The addresses that have announced a name in a card that counts now, by address. None, where
/// there is no store yet.
fn announced(name: &str, config: &Config) -> Result<Vec<Address>, Failure> {
    if !config.store.path.exists() {
        return Ok(Vec::new());
    }
    let now_ms = Clock::default().now_ms();
    let db = open_for_reading(&config.store.path)?;
    let cards = read::cards_named(&db, name).map_err(StoreError::from)?;
    Ok(cards
        .into_iter()
        .map(|announced| announced.card)
        .filter(|card| card.card.check_time(now_ms).is_ok())
        .map(|card| card.address)
        .collect())
}

fn unknown(text: &str, config: &Config) -> Failure {
    let agents = config.agents.iter().map(|agent| agent.name.as_str());
    let contacts = config.contacts.iter().map(|contact| contact.name.as_str());
    let names: Vec<&str> = agents.chain(contacts).collect();
    let hint = did_you_mean(text, names.iter().copied());
    let known = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    Failure::new(
        ExitCode::Data,
        format!(
            "{text:?} is neither an address (ait1…) nor an agent or contact of {}, which has {known}{hint}; \
             nor has an agent in the directory that name (`agentry agent list`)",
            config.file
        ),
    )
}
