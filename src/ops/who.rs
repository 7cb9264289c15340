//! Who is meant by a name or an address. Everything that takes one uses this module, so all of it
//! accepts the same:
//!
//! | given | means |
//! |---|---|
//! | an address, in either form | itself; where one of the operator's wallets is named, that wallet, also by the other form of its address |
//! | a name in agents.toml: a contact's, an agent's, a fleet agent's (`fleet/wallet`) | its address |
//! | the name of a wallet of `[wallets]` | its address |
//! | the name of an agent that the store knows, although agents.toml no longer names it | its address |
//! | a name that exactly one agent has announced in the directory | that agent's address |
//!
//! Names of the directory have the lowest priority: anybody can announce any name, and nobody can
//! take a name from the operator. A name that means several addresses is refused, and all of them
//! are listed.

mod error;

use std::path::PathBuf;

use agentry_protocol::{Address, PublicKey};
use agentry_sdk::NameError;
use agentry_store::{list, open_if_exists, read};

use crate::config::{AgentConfig, Config, did_you_mean};
use crate::runtime::clock::Clock;
use crate::runtime::control::Client;
use crate::wallet::{Wallet, WalletError, WalletInfo, WalletStore};

pub use error::WhoError;

/// How many names an error message lists.
const LISTED: usize = 20;

/// One of the operator's own wallets.
#[derive(Debug)]
pub struct Own {
    /// Its address, if its file or the store states it.
    pub address: Option<Address>,
    /// Its file; `None` if the agent's wallet no longer exists.
    pub wallet: Option<OwnWallet>,
}

/// A wallet of the operator, and where to find its password.
#[derive(Debug)]
pub struct OwnWallet {
    /// The wallet.
    pub wallet: Wallet,
    /// The password file that the configuration names for it.
    pub password_file: Option<PathBuf>,
    /// Its folder, which may hold a `.password`.
    pub keystore_dir: Option<PathBuf>,
}

impl OwnWallet {
    fn find(
        store: &WalletStore,
        name: &str,
        password_file: Option<&PathBuf>,
    ) -> Result<Self, WalletError> {
        Ok(Self {
            wallet: store.find(name)?,
            password_file: password_file.cloned(),
            keystore_dir: store.keystore_dir().map(ToOwned::to_owned),
        })
    }
}

/// Something of the operator's own that has a name.
#[derive(Debug)]
struct Local {
    /// Description, such as `agent ponger`.
    what: String,
    address: Option<Address>,
    wallet: Option<OwnWallet>,
    /// Why the wallet that should be there is missing.
    missing: Option<WalletError>,
    is_ours: bool,
}

/// Resolves a name or an address to an address, whoever owns it.
///
/// # Errors
/// [`WhoError`].
pub fn resolve(text: &str, config: &Config) -> Result<Address, WhoError> {
    if let Some(address) = given(text, config)? {
        return Ok(address);
    }
    match local(text, config)? {
        Some(local) => local.address(),
        None => announced(text, config)?.ok_or_else(|| unknown(text, config)),
    }
}

/// Resolves a name or an address to one of the operator's wallets. The caller checks with the
/// runtime or the store whether it is hosted.
///
/// # Errors
/// [`WhoError`].
pub fn resolve_own(text: &str, config: &Config) -> Result<Address, WhoError> {
    let address = resolve(text, config)?;
    // There is no need to read all wallets for an address that the store knows.
    if given(text, config)?.is_none() || is_known(&address, config)? {
        return Ok(address);
    }
    let own = wallet_at(&address, config)?;
    Ok(own
        .and_then(|own| own.wallet.info().address.clone())
        .unwrap_or(address))
}

/// Resolves a name or an address to a wallet that the running runtime is asked to act for. That no
/// runtime is running is reported first, because it also creates wallets.
///
/// # Errors
/// [`WhoError`].
pub async fn resolve_hosted(text: &str, config: &Config) -> Result<Address, WhoError> {
    match resolve_own(text, config) {
        Ok(address) => Ok(address),
        Err(error) => {
            let runtime = Client::new(&config.store.path);
            runtime.reach().await.map_err(WhoError::Runtime)?;
            Err(error)
        }
    }
}

/// Resolves a name or an address to one of the operator's wallets and its file.
///
/// # Errors
/// [`WhoError`].
pub fn own(text: &str, config: &Config) -> Result<Own, WhoError> {
    if given(text, config)?.is_none() {
        match local(text, config)? {
            Some(Local {
                what,
                is_ours: false,
                ..
            }) => {
                let name = text.to_owned();
                return Err(WhoError::NotOwn { name, what });
            }
            Some(Local {
                missing: Some(error),
                address: None,
                ..
            }) => return Err(error.into()),
            Some(local) => {
                return Ok(Own {
                    address: local.address,
                    wallet: local.wallet,
                });
            }
            None => {}
        }
    }
    let address = match given(text, config)? {
        Some(address) => address,
        None => announced(text, config)?.ok_or_else(|| unknown(text, config))?,
    };
    let wallet = wallet_at(&address, config)?;
    let stated = wallet
        .as_ref()
        .and_then(|own| own.wallet.info().address.clone());
    Ok(Own {
        address: Some(stated.unwrap_or(address)),
        wallet,
    })
}

/// The agent of agents.toml with this name, itself or as one of a fleet.
pub fn configured(name: &str, config: &Config) -> Option<AgentConfig> {
    let agent = config.agents.iter().find(|agent| agent.name == name);
    agent.cloned().or_else(|| {
        let (fleet, wallet) = name.split_once('/')?;
        let fleet = config.fleets.iter().find(|one| one.name == fleet)?;
        Some(fleet.agent(wallet))
    })
}

/// Parses an address; `None` for a name, which cannot begin like an address.
///
/// # Errors
/// [`WhoError::Address`].
pub fn literal(text: &str) -> Result<Option<Address>, WhoError> {
    let begins = |prefix: &str| {
        let start = text.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    // A name may begin with 0x, too.
    let is_one = begins("ait1") || begins("aitbc1") || begins("0x") && text.len() == 42;
    if !is_one {
        return Ok(None);
    }
    address(text).map(Some)
}

/// [`literal`], on the configured chain.
fn given(text: &str, config: &Config) -> Result<Option<Address>, WhoError> {
    let address = literal(text)?;
    let dialect = config.chain.dialect;
    match &address {
        Some(address) if !dialect.has_form(address.form()) => Err(WhoError::Form {
            text: text.to_owned(),
            dialect,
        }),
        _ => Ok(address),
    }
}

/// Parses an address.
///
/// # Errors
/// [`WhoError::Address`].
pub fn address(text: &str) -> Result<Address, WhoError> {
    text.parse().map_err(|source| WhoError::Address {
        text: text.to_owned(),
        source,
    })
}

impl Local {
    fn of_wallet(what: String, found: Result<OwnWallet, WalletError>) -> Self {
        let (wallet, missing) = match found {
            Ok(wallet) => (Some(wallet), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            what,
            address: wallet
                .as_ref()
                .and_then(|own| own.wallet.info().address.clone()),
            wallet,
            missing,
            is_ours: true,
        }
    }

    fn address(self) -> Result<Address, WhoError> {
        match (self.address, self.missing) {
            (Some(address), _) => Ok(address),
            (None, Some(error)) => Err(error.into()),
            (None, None) => {
                if let Some(own) = &self.wallet {
                    own.wallet.info().known_address()?;
                }
                Err(WhoError::NoAddress(self.what))
            }
        }
    }
}

/// Resolves a name among everything that is the operator's own.
fn local(text: &str, config: &Config) -> Result<Option<Local>, WhoError> {
    let mut found = Vec::new();
    for contact in &config.contacts {
        if contact.name.as_str() == text {
            found.push(Local {
                what: format!("contact {text}"),
                address: Some(contact.address.clone()),
                wallet: None,
                missing: None,
                is_ours: false,
            });
        }
    }
    let mut agent = agent(text, config);
    if let Some(agent) = &mut agent
        && agent.address.is_none()
        && let [address] = remembered(text, config)?.as_slice()
    {
        agent.address = Some(address.clone());
    }
    let is_named = agent.is_some() || !found.is_empty();
    found.extend(agent);
    let store = WalletStore::from_config(&config.wallets);
    let file = config.wallets.password_file.as_ref();
    match OwnWallet::find(&store, text, file) {
        Ok(wallet) => {
            let what = format!("wallet {text}");
            let mut wallet = Local::of_wallet(what, Ok(wallet));
            // The store knows the address of a hosted agent even if its file does not state it.
            let of_agent = config.agents.iter().find(|agent| *agent.wallet == *text);
            if let (None, Some(agent)) = (&wallet.address, of_agent)
                && let [address] = remembered(&agent.name, config)?.as_slice()
            {
                wallet.address = Some(address.clone());
            }
            found.push(wallet);
        }
        // The name exists, but its wallet cannot be used.
        Err(error @ (WalletError::Damaged { .. } | WalletError::Ambiguous { .. })) if !is_named => {
            return Err(error.into());
        }
        Err(_) => {}
    }
    if found.is_empty() {
        for address in remembered(text, config)? {
            found.push(Local {
                what: format!("agent {text}, which {} no longer names", config.file),
                address: Some(address),
                wallet: None,
                missing: None,
                is_ours: true,
            });
        }
    }
    one(text, found)
}

/// The agent of agents.toml with this name.
fn agent(text: &str, config: &Config) -> Option<Local> {
    if let Some(agent) = config.agents.iter().find(|agent| agent.name == text) {
        let store = WalletStore::from_config(&config.wallets);
        let file = config.wallets.password_file.as_ref();
        let found = OwnWallet::find(&store, &agent.wallet, file);
        return Some(Local::of_wallet(format!("agent {text}"), found));
    }
    let (fleet, wallet) = text.split_once('/')?;
    let fleet = config.fleets.iter().find(|one| one.name == fleet)?;
    let file = fleet.password_file.as_ref();
    let found = OwnWallet::find(&fleet.wallets.store(), wallet, file);
    Some(Local::of_wallet(format!("agent {text}"), found))
}

/// Merges the meanings of a name if they have one address.
fn one(text: &str, found: Vec<Local>) -> Result<Option<Local>, WhoError> {
    let mut addresses: Vec<&Address> = found
        .iter()
        .filter_map(|local| local.address.as_ref())
        .collect();
    addresses.sort();
    addresses.dedup();
    if addresses.len() > 1 {
        let meanings: Vec<String> = found
            .iter()
            .filter_map(|local| Some(format!("{} is {}", local.what, local.address.as_ref()?)))
            .collect();
        return Err(WhoError::Several {
            name: text.to_owned(),
            meanings: meanings.join(", "),
        });
    }
    let mut found = found.into_iter();
    let Some(mut first) = found.next() else {
        return Ok(None);
    };
    for other in found {
        first.address = first.address.or(other.address);
        first.wallet = first.wallet.or(other.wallet);
        first.is_ours |= other.is_ours;
    }
    Ok(Some(first))
}

/// The addresses of agents that had this name when they were last hosted; empty if there is no
/// store yet.
fn remembered(name: &str, config: &Config) -> Result<Vec<Address>, WhoError> {
    let Some(db) = open_if_exists(&config.store.path)? else {
        return Ok(Vec::new());
    };
    let addresses = list::addresses_of(&db, name)?;
    Ok(addresses
        .iter()
        .filter_map(|address| Address::from_chain(address).ok())
        .collect())
}

/// Whether the store knows an agent at exactly this address.
fn is_known(address: &Address, config: &Config) -> Result<bool, WhoError> {
    let Some(db) = open_if_exists(&config.store.path)? else {
        return Ok(false);
    };
    Ok(list::is_hosted(&db, address.as_str())?)
}

/// The address that has announced a name in a card that is valid now; `None` if there is no store
/// yet.
fn announced(name: &str, config: &Config) -> Result<Option<Address>, WhoError> {
    let Some(db) = open_if_exists(&config.store.path)? else {
        return Ok(None);
    };
    let now = Clock::default().now();
    let cards = read::cards_named(&db, name)?;
    let mut addresses: Vec<Address> = cards
        .into_iter()
        .map(|announced| announced.card)
        .filter(|card| card.card.check_time(now).is_ok())
        .map(|card| card.address)
        .collect();
    match addresses.len() {
        0 | 1 => Ok(addresses.pop()),
        _ => {
            let name = name.to_owned();
            Err(NameError::Ambiguous { name, addresses }.into())
        }
    }
}

/// The operator's wallet at an address, in either of its forms.
fn wallet_at(address: &Address, config: &Config) -> Result<Option<OwnWallet>, WhoError> {
    let store = WalletStore::from_config(&config.wallets);
    if let Some(found) = in_store(address, &store, config.wallets.password_file.as_ref())? {
        return Ok(Some(found));
    }
    for fleet in &config.fleets {
        let file = fleet.password_file.as_ref();
        if let Some(found) = in_store(address, &fleet.wallets.store(), file)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_store(
    address: &Address,
    store: &WalletStore,
    password_file: Option<&PathBuf>,
) -> Result<Option<OwnWallet>, WhoError> {
    let is_it = |info: &WalletInfo| {
        info.address.as_ref() == Some(address)
            || info
                .public_key
                .is_some_and(|key: PublicKey| address.matches(&key))
    };
    // A damaged wallet does not hide the others.
    let Some(info) = store.list()?.into_iter().flatten().find(is_it) else {
        return Ok(None);
    };
    Ok(Some(OwnWallet::find(store, &info.name, password_file)?))
}

fn unknown(text: &str, config: &Config) -> WhoError {
    let agents = config.agents.iter().map(|agent| agent.name.as_str());
    let contacts = config.contacts.iter().map(|contact| contact.name.as_str());
    let names: Vec<&str> = agents.chain(contacts).collect();
    let hint = did_you_mean(text, names.iter().copied());
    let known = match names.len() {
        0 => "none".to_owned(),
        count if count > LISTED => format!(
            "{} and {} more",
            names.get(..LISTED).unwrap_or_default().join(", "),
            count - LISTED
        ),
        _ => names.join(", "),
    };
    WhoError::Unknown {
        name: text.to_owned(),
        file: config.file.clone(),
        known,
        hint,
    }
}
