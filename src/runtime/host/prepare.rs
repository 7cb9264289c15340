//! The wallets of a start: found, provided where the embedded node is used, and unlocked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use agentry_protocol::{Address, Password, PublicKey, Seed};

use super::{HostError, HostOptions};
use crate::config::{AgentConfig, Config, HostedAgent};
use crate::runtime::signer::{Keyring, LockedWallet};
use crate::store::AgentId;
use crate::wallet::{OpenVault, PasswordSource, WalletName, ensure_password_file};

/// What a wallet is given on a new embedded node, in AIT.
pub(super) const ENDOWMENT: u64 = 1_000_000;

/// How many keystore files are unlocked at the start to check their password. Each costs a key
/// derivation; a fleet of more is checked at first use, or better kept in a vault, which needs one
/// derivation for all.
pub(super) const CHECKED_AT_START: usize = 32;

/// An agent with its wallet, before it has a row in the store.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) config: AgentConfig,
    pub(super) address: Address,
    pub(super) public_key: Option<PublicKey>,
    pub(super) locked: LockedWallet,
}

/// The wallets of a start.
#[derive(Debug)]
pub(super) struct Wallets {
    pub(super) candidates: Vec<Candidate>,
    /// The addresses of those that did not exist before.
    pub(super) created: Vec<Address>,
}

/// Finds every wallet. On the embedded node, those of `[[agent]]` that do not exist are created.
pub(super) fn wallets(
    config: &Config,
    options: &HostOptions,
    embedded_node: bool,
) -> Result<Wallets, HostError> {
    let mut hosted = config.hosted()?;
    let mut created = Vec::new();
    if let Some(missing) = hosted.iter().find(|agent| agent.wallet.is_none()) {
        if !embedded_node {
            return Err(HostError::NoWallet {
                agent: missing.agent.name.clone(),
                wallet: missing.agent.wallet.clone(),
                place: missing.store.place(),
            });
        }
        created = create_missing(&hosted, options)?;
        hosted = config.hosted()?;
    }
    let mut passwords = Passwords::new(options);
    let mut vaults: HashMap<PathBuf, Arc<OpenVault>> = HashMap::new();
    let mut candidates = Vec::with_capacity(hosted.len());
    for agent in hosted {
        let Some(info) = agent.wallet.as_ref() else {
            continue;
        };
        let failed = |source| HostError::Wallet {
            wallet: agent.agent.wallet.clone(),
            source,
        };
        let locked = if info.form == "vault" {
            let vault = match vaults.get(&info.path) {
                Some(vault) => Arc::clone(vault),
                None => {
                    let password =
                        passwords.of(&agent, &format!("vault {}", info.path.display()))?;
                    let vault = Arc::new(OpenVault::open(&info.path, &password).map_err(failed)?);
                    vaults.insert(info.path.clone(), Arc::clone(&vault));
                    vault
                }
            };
            LockedWallet::Vault(vault, agent.agent.wallet.clone())
        } else {
            let password = passwords.of(&agent, &format!("wallet {}", agent.agent.wallet))?;
            let wallet = agent.store.find(&agent.agent.wallet).map_err(failed)?;
            LockedWallet::File(wallet, password)
        };
        let address = match (&info.address, &locked) {
            (Some(address), _) => address.clone(),
            // An older file that does not say whose it is: unlocked once, to find out.
            (None, LockedWallet::File(wallet, password)) => {
                wallet.unlock(password).map_err(failed)?.address
            }
            (None, LockedWallet::Vault(vault, name)) => {
                Address::from_public_key(&vault.seed(name).map_err(failed)?.public_key())
            }
        };
        candidates.push(Candidate {
            config: agent.agent,
            address,
            public_key: info.public_key,
            locked,
        });
    }
    Ok(Wallets {
        candidates,
        created,
    })
}

/// Creates the wallets that do not exist, with a password that is made up if there is none yet.
fn create_missing(
    hosted: &[HostedAgent],
    options: &HostOptions,
) -> Result<Vec<Address>, HostError> {
    let mut created = Vec::new();
    for agent in hosted.iter().filter(|agent| agent.wallet.is_none()) {
        let name = &agent.agent.wallet;
        let failed = |source| HostError::Wallet {
            wallet: name.clone(),
            source,
        };
        if let Some(path) = &agent.password_file
            && std::env::var_os("AGENTRY_PASSWORD").is_none()
            && ensure_password_file(path).map_err(failed)?
        {
            tracing::info!(path = %path.display(), "made a password for the wallets of the embedded node");
        }
        let password = source(agent, options).new_password(&format!("wallet {name}"))?;
        let wallet: WalletName = name.parse().map_err(|error| HostError::Node {
            node: format!("agent {}", agent.agent.name),
            reason: format!("wallet name {name:?}: {error}"),
        })?;
        let seed = Seed::generate().map_err(|error| HostError::Node {
            node: format!("wallet {name}"),
            reason: error.to_string(),
        })?;
        let address = Address::from_public_key(&seed.public_key());
        let info = agent
            .store
            .add(&wallet, &seed, &address, &password)
            .map_err(failed)?;
        tracing::info!(
            wallet = name,
            address = %address,
            path = %info.path.display(),
            "created a wallet for the embedded node"
        );
        created.push(address);
    }
    Ok(created)
}

fn source(agent: &HostedAgent, options: &HostOptions) -> PasswordSource {
    PasswordSource {
        flag: None,
        configured: agent.password_file.clone(),
        keystore_dir: agent.store.keystore_dir().map(Path::to_owned),
        prompt: options.prompt,
    }
}

/// The passwords of a start: each is found, or asked for, once.
struct Passwords<'a> {
    options: &'a HostOptions,
    known: HashMap<(Option<PathBuf>, Option<PathBuf>), Arc<Password>>,
}

impl<'a> Passwords<'a> {
    fn new(options: &'a HostOptions) -> Self {
        Self {
            options,
            known: HashMap::new(),
        }
    }

    fn of(&mut self, agent: &HostedAgent, what: &str) -> Result<Arc<Password>, HostError> {
        let key = (
            agent.password_file.clone(),
            agent.store.keystore_dir().map(Path::to_owned),
        );
        if let Some(password) = self.known.get(&key) {
            return Ok(Arc::clone(password));
        }
        let password = Arc::new(source(agent, self.options).password(what)?);
        self.known.insert(key, Arc::clone(&password));
        Ok(password)
    }
}

/// Checks the password of the first wallets, and learns their public keys on the way.
pub(super) fn check_passwords(keyring: &Keyring, agents: &[AgentId]) -> Result<(), HostError> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if agents.len() > CHECKED_AT_START {
        tracing::info!(
            checked = CHECKED_AT_START,
            wallets = agents.len(),
            "the other wallets' passwords are checked at first use; a vault checks all of them at once"
        );
    }
    let agents = &agents[..agents.len().min(CHECKED_AT_START)];
    let size = agents.len().div_ceil(cores).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = agents
            .chunks(size)
            .map(|part| {
                scope.spawn(move || {
                    part.iter()
                        .try_for_each(|agent| keyring.public_key(*agent).map(|_| ()))
                })
            })
            .collect();
        for part in parts {
            part.join().map_err(|_| HostError::Panicked)??;
        }
        Ok(())
    })
}
