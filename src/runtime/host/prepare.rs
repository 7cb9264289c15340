//! Wallets before they are hosted: found, created for the embedded node, and unlocked.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use agentry_core::cluster::{ShardId, shard_of};
use agentry_protocol::{Address, Dialect, Password, PublicKey, Seed};

use super::HostError;
use crate::config::{AgentConfig, Config, HostError as AgentsError, HostedAgent};
use crate::runtime::signer::{LockedWallet, SignError, Slot};
use crate::wallet::{
    OpenVault, PasswordError, PasswordSource, Wallet, WalletName, ensure_password_file,
};

/// The initial funds of a wallet on a new embedded node, in AIT.
pub(in crate::runtime) const ENDOWMENT: u64 = 1_000_000;

/// How many keystore files are unlocked at startup to check their password. Each costs a key
/// derivation; the files of a larger fleet are checked at first use. A vault needs one derivation
/// for all.
const CHECKED_AT_START: usize = 32;

/// The number of unusable wallets after which the check stops.
const MAX_ERRORS: usize = 20;

/// An agent with its wallet, before it has a row in the store.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) config: AgentConfig,
    pub(crate) address: Address,
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) slot: Arc<Slot>,
}

/// The wallets of one shard, of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The shard.
    pub shard: ShardId,
    /// The number of shards.
    pub of: NonZeroU16,
}

impl Part {
    /// Whether the wallet at an address is one of them.
    pub fn has(&self, address: &Address) -> bool {
        shard_of(address, self.of) == self.shard
    }
}

/// The wallets of this start.
#[derive(Debug)]
pub(super) struct Wallets {
    pub(super) candidates: Vec<Candidate>,
    /// The addresses of the wallets that were created now.
    pub(super) created: Vec<Address>,
}

/// The configured wallets, by what was found of them.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The wallets that exist, in the configured order.
    pub(crate) candidates: Vec<Candidate>,
    /// The wallets that do not exist.
    pub(crate) missing: Vec<HostedAgent>,
    /// The errors that keep the others from being hosted.
    pub(crate) errors: Vec<HostError>,
}

/// Finds every wallet. For the embedded node, missing wallets of `[[agent]]` tables are created.
pub(super) fn wallets(
    config: &Config,
    passwords: &mut Passwords,
    embedded_node: bool,
) -> Result<Wallets, HostError> {
    let mut found = survey(config, passwords);
    let mut created = Vec::new();
    if found.errors.is_empty() && !found.missing.is_empty() {
        if let (false, Some(missing)) = (embedded_node, found.missing.first()) {
            return Err(no_wallet(missing));
        }
        created = create_missing(&found.missing, passwords, config.chain.dialect)?;
        found = survey(config, passwords);
    }
    match found.errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(Wallets {
            candidates: found.candidates,
            created,
        }),
    }
}

/// The error that an agent's wallet does not exist, on a node where none is created.
pub(in crate::runtime) fn no_wallet(missing: &HostedAgent) -> HostError {
    HostError::NoWallet {
        agent: missing.agent.name.clone(),
        wallet: missing.agent.wallet.to_string(),
        place: missing.store.place(),
    }
}

/// Looks for every wallet and its password. Blocking: a vault costs a key derivation.
pub(crate) fn survey(config: &Config, passwords: &mut Passwords) -> Survey {
    let mut survey = Survey::default();
    let hosted = match config.hosted() {
        Ok(hosted) => hosted,
        Err(error) => {
            survey.errors.push(error.into());
            return survey;
        }
    };
    let mut vaults = HashMap::new();
    // Both forms of an address are one wallet, so the keys are compared as well.
    let mut seen: HashMap<String, String> = HashMap::new();
    for agent in hosted {
        if agent.wallet.is_none() {
            survey.missing.push(agent);
            continue;
        }
        match candidate(config.chain.dialect, &agent, passwords, &mut vaults) {
            Ok(Some(candidate)) => {
                let key = candidate.public_key.as_ref().map(ToString::to_string);
                let marks = [Some(candidate.address.to_string()), key];
                let name = &candidate.config.name;
                let one = marks
                    .into_iter()
                    .flatten()
                    .filter_map(|mark| seen.insert(mark, name.clone()))
                    .next();
                match one {
                    Some(one) => survey.errors.push(
                        AgentsError::SameAddress {
                            one,
                            other: name.clone(),
                            address: candidate.address.to_string(),
                        }
                        .into(),
                    ),
                    None => survey.candidates.push(candidate),
                }
            }
            Ok(None) => {}
            Err(error) => survey.errors.push(error),
        }
        if survey.errors.len() >= MAX_ERRORS {
            break;
        }
    }
    survey
}

fn candidate(
    dialect: Dialect,
    agent: &HostedAgent,
    passwords: &mut Passwords,
    vaults: &mut HashMap<PathBuf, Arc<OpenVault>>,
) -> Result<Option<Candidate>, HostError> {
    let Some(wallet) = &agent.wallet else {
        return Ok(None);
    };
    let info = wallet.info();
    let failed = |source| HostError::Wallet {
        wallet: agent.agent.wallet.to_string(),
        source,
    };
    // Before anybody is asked for its password.
    info.check_key_type(dialect).map_err(failed)?;
    let locked = if let Some(locked) = wallet.vault() {
        let vault = match vaults.get(&info.path) {
            Some(vault) => Arc::clone(vault),
            None => {
                let password = passwords.of(agent, &format!("vault {}", info.path.display()))?;
                let vault = OpenVault::from_vault(&info.path, Arc::clone(locked), &password);
                let vault = Arc::new(vault.map_err(failed)?);
                vaults.insert(info.path.clone(), Arc::clone(&vault));
                vault
            }
        };
        LockedWallet::Vault(vault)
    } else if wallet.is_plain() {
        tracing::warn!(
            wallet = &*agent.agent.wallet,
            path = %info.path.display(),
            "the wallet's key is not encrypted; `agentry wallet import` makes an encrypted copy"
        );
        LockedWallet::File(wallet.clone(), Arc::new(Wallet::no_password()))
    } else {
        let password = passwords.of(agent, &format!("wallet {}", agent.agent.wallet))?;
        LockedWallet::File(wallet.clone(), password)
    };
    let (address, public_key) = match (&info.address, &locked) {
        (Some(address), _) => (address.clone(), info.public_key),
        // A file that does not state its address is unlocked once, to find it out.
        (None, LockedWallet::File(wallet, password)) => {
            let unlocked = wallet.unlock(password).map_err(failed)?;
            (unlocked.address, Some(unlocked.seed.public_key()))
        }
        (None, LockedWallet::Vault(vault)) => {
            let key = vault
                .seed(&agent.agent.wallet)
                .map_err(failed)?
                .public_key();
            (Address::from_public_key(&key), Some(key))
        }
    };
    Ok(Some(Candidate {
        slot: Arc::new(Slot::new(
            agent.agent.wallet.clone(),
            address.clone(),
            locked,
        )),
        config: agent.agent.clone(),
        address,
        public_key,
    }))
}

/// Creates the missing wallets, with a generated password if there is none yet.
pub(in crate::runtime) fn create_missing(
    missing: &[HostedAgent],
    passwords: &mut Passwords,
    dialect: Dialect,
) -> Result<Vec<Address>, HostError> {
    let mut created = Vec::new();
    let Some(first) = missing.first() else {
        return Ok(created);
    };
    // Wallets are created for `[[agent]]` alone, which all have one store.
    let wallets = first
        .store
        .snapshot_for_new()
        .map_err(|source| HostError::Wallet {
            wallet: first.agent.wallet.to_string(),
            source,
        })?;
    // All of them get one password, which is asked for once.
    let what = match missing {
        [one] => format!("wallet {}", one.agent.wallet),
        _ => format!("{} new wallets", missing.len()),
    };
    for agent in missing {
        let name = &agent.agent.wallet;
        let failed = |source| HostError::Wallet {
            wallet: name.to_string(),
            source,
        };
        if let Some(path) = &agent.password_file
            && std::env::var_os("AGENTRY_PASSWORD").is_none()
            && ensure_password_file(path).map_err(failed)?
        {
            tracing::info!(path = %path.display(), "generated a password for the wallets of the embedded node");
        }
        let password = passwords.for_new(agent, &what)?;
        let wallet: WalletName = name.parse().map_err(|error| HostError::Node {
            node: format!("agent {}", agent.agent.name),
            reason: format!("wallet name {name:?}: {error}"),
        })?;
        let seed = Seed::generate(dialect.key_type()).map_err(|error| HostError::Node {
            node: format!("wallet {name}"),
            reason: error.to_string(),
        })?;
        let address = Address::from_public_key(&seed.public_key());
        let info = wallets
            .add(&wallet, &seed, &address, &password)
            .map_err(failed)?;
        tracing::info!(
            wallet = &**name,
            address = %address,
            path = %info.path.display(),
            "created a wallet for the embedded node"
        );
        created.push(address);
    }
    Ok(created)
}

/// The sources of a password: its file, and the folder of its wallets.
type Place = (Option<PathBuf>, Option<PathBuf>);

/// The passwords of the configured wallets: each is found, or asked for, once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passwords {
    prompt: bool,
    known: HashMap<Place, Arc<Password>>,
    /// The passwords found earlier: used if none is found any more, since nobody is asked twice.
    earlier: HashMap<Place, Arc<Password>>,
}

impl Passwords {
    /// No passwords yet. With `prompt`, a person may be asked.
    pub(crate) fn new(prompt: bool) -> Self {
        Self {
            prompt,
            ..Self::default()
        }
    }

    /// Looks for all of them again, without asking anybody.
    pub(in crate::runtime) fn search_again(&mut self) {
        self.prompt = false;
        self.earlier.extend(self.known.drain());
    }

    /// The password of an existing wallet.
    fn of(&mut self, agent: &HostedAgent, what: &str) -> Result<Arc<Password>, HostError> {
        self.once(agent, |source| source.password(what))
    }

    /// The password of a wallet that is created now.
    fn for_new(&mut self, agent: &HostedAgent, what: &str) -> Result<Arc<Password>, HostError> {
        self.once(agent, |source| source.new_password(what))
    }

    fn once(
        &mut self,
        agent: &HostedAgent,
        find: impl FnOnce(&PasswordSource) -> Result<Password, PasswordError>,
    ) -> Result<Arc<Password>, HostError> {
        let place = place(agent);
        if let Some(password) = self.known.get(&place) {
            return Ok(Arc::clone(password));
        }
        let password = match (find(&self.source(agent)), self.earlier.get(&place)) {
            (Ok(password), _) => Arc::new(password),
            (Err(PasswordError::None { .. }), Some(password)) => Arc::clone(password),
            (Err(error), _) => return Err(error.into()),
        };
        self.known.insert(place, Arc::clone(&password));
        Ok(password)
    }

    fn source(&self, agent: &HostedAgent) -> PasswordSource {
        PasswordSource {
            flag: None,
            configured: agent.password_file.clone(),
            keystore_dir: agent.store.keystore_dir().map(Path::to_owned),
            prompt: self.prompt,
        }
    }
}

fn place(agent: &HostedAgent) -> Place {
    (
        agent.password_file.clone(),
        agent.store.keystore_dir().map(Path::to_owned),
    )
}

/// Checks the password of the first wallets that are files, and learns their public keys from it.
/// Blocking: each costs a key derivation.
///
/// # Errors
/// Each wallet that cannot be unlocked.
pub(in crate::runtime) fn check_passwords(
    candidates: &mut [Candidate],
) -> Result<(), Vec<HostError>> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut files: Vec<&mut Candidate> = candidates
        .iter_mut()
        .filter(|candidate| candidate.slot.is_file())
        .collect();
    if files.len() > CHECKED_AT_START {
        tracing::info!(
            checked = CHECKED_AT_START,
            wallets = files.len(),
            "the other wallets' passwords are checked at first use; a vault checks all of them at once"
        );
        files.truncate(CHECKED_AT_START);
    }
    let size = files.len().div_ceil(cores).max(1);
    let mut errors = Vec::new();
    thread::scope(|scope| {
        let parts: Vec<_> = files
            .chunks_mut(size)
            .map(|part| {
                scope.spawn(move || {
                    let check = |candidate: &mut &mut Candidate| -> Result<(), SignError> {
                        let key = candidate.slot.public_key()?;
                        candidate.public_key.get_or_insert(key);
                        Ok(())
                    };
                    let failed = |candidate: &mut &mut Candidate| check(candidate).err();
                    part.iter_mut().filter_map(failed).collect::<Vec<_>>()
                })
            })
            .collect();
        for part in parts {
            match part.join() {
                Ok(failed) => errors.extend(failed.into_iter().map(HostError::from)),
                Err(_) => errors.push(HostError::Panicked),
            }
        }
    });
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::{Overlay, Source};

    /// A keystore of AITBC's fernet tool states a name; its address is known once it is unlocked.
    #[test]
    fn a_wallet_that_states_a_name_is_hosted_at_the_address_of_its_key() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/crates/protocol/tests/vectors/keystores_named_address.json"
        );
        let vectors: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let keystore = vectors["cases"][0]["keystore"].to_string();
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::write(dir.path().join(format!("{name}.json")), &keystore).unwrap();
        }
        std::fs::write(dir.path().join("password"), "temp123\n").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.path().join("password"), private).unwrap();
        let survey = |agents: &str| {
            let source = Source::Text {
                path: dir.path().join("agents.toml"),
                text: format!(
                    "[chain]\nid = \"x\"\n[wallets]\nkeystore_dir = \".\"\n\
                     password_file = \"password\"\n{agents}"
                ),
            };
            let overlay = Overlay {
                environment: Some(HashMap::new()),
                flags: Vec::new(),
            };
            let config = Config::load(&source, &overlay, &agentry_behaviours::builtins()).unwrap();
            super::survey(&config, &mut Passwords::new(false))
        };
        let found = survey("[[agent]]\nname = \"a\"\n");
        let seed = hex::decode(vectors["cases"][0]["seed"].as_str().unwrap()).unwrap();
        let key = Seed::from_bytes(seed.try_into().unwrap()).public_key();
        assert!(found.errors.is_empty(), "{:?}", found.errors);
        assert_eq!(found.candidates[0].address, Address::from_public_key(&key));
        assert_eq!(found.candidates[0].public_key, Some(key));
        // Two agents cannot share a key, even if only unlocking shows whose it is.
        let found = survey("[[agent]]\nname = \"a\"\n[[agent]]\nname = \"b\"\n");
        assert!(
            matches!(
                found.errors.as_slice(),
                [HostError::Agents(AgentsError::SameAddress { .. })]
            ),
            "{:?}",
            found.errors
        );
    }

    /// A prompt would be shown as often as this looks for a password.
    #[test]
    fn the_password_of_new_wallets_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "temp123\n").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&password, private).unwrap();
        let source = Source::Text {
            path: dir.path().join("agents.toml"),
            text: "[chain]\nid = \"x\"\n[wallets]\nkeystore_dir = \".\"\npassword_file = \"password\"\n\
                   [[agent]]\nname = \"a\"\n[[agent]]\nname = \"b\"\n"
                .to_owned(),
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        let config = Config::load(&source, &overlay, &agentry_behaviours::builtins()).unwrap();
        let mut passwords = Passwords::new(false);
        let missing = super::survey(&config, &mut passwords).missing;
        assert_eq!(missing.len(), 2);
        let first = passwords.for_new(&missing[0], "2 new wallets").unwrap();
        std::fs::write(&password, "another\n").unwrap();
        let second = passwords.for_new(&missing[1], "2 new wallets").unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let later = passwords.of(&missing[1], "wallet b").unwrap();
        assert!(Arc::ptr_eq(&first, &later));
    }
}
