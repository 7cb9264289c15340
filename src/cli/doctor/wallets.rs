//! Checks that each wallet exists, is private to its owner, and opens with the available password.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_protocol::{Address, Amount, Dialect, Password};

use super::super::failure::wallet_code;
use super::super::{ExitCode, Failure};
use super::report::Check;
use super::{PATIENCE, blocking};
use crate::config::{AgentConfig, Config, FleetConfig, FleetWallets, HostError};
use crate::wallet::{
    OpenVault, PasswordError, PasswordSource, Snapshot, Wallet, WalletError, WalletStore,
};

/// How many keystore files are opened to try their password: as many as at a start.
const TRIED: usize = 32;

/// Time limit for all wallets together: a key derivation that has begun cannot be interrupted.
const ALL: Duration = Duration::from_secs(15);

/// How many wallets of a fleet are checked for their balance.
const ASKED: usize = 50;

/// Results for the wallets.
#[derive(Debug, Default)]
pub(super) struct Wallets {
    /// The checks to report.
    pub(super) checks: Vec<Check>,
    /// Wallets whose balance can be requested.
    pub(super) purses: Vec<Purse>,
}

/// A wallet, and the payments that it has to cover.
#[derive(Clone, Debug)]
pub(super) struct Purse {
    /// Its agent's name.
    pub(super) agent: String,
    /// Its fleet, if it belongs to one.
    pub(super) fleet: Option<String>,
    /// Its address.
    pub(super) address: Address,
    /// The fee of each message.
    pub(super) fee: Amount,
    /// Whether its agent has behaviours.
    pub(super) acts: bool,
    /// Its daily budget.
    pub(super) daily_budget: Amount,
}

/// Checks all wallets.
pub(super) async fn look(config: &Config) -> Wallets {
    let config = config.clone();
    blocking(ALL, move || Inspection::default().all(&config))
        .await
        .unwrap_or_else(|| Wallets {
            checks: vec![Check::warning(
                "wallets",
                "they could not be read in 15 s",
                "check the disk, or pack many wallets into a vault: `agentry wallet pack`",
            )],
            purses: Vec::new(),
        })
}

/// The available passwords, and the files that they have opened.
#[derive(Debug)]
struct Inspection {
    until: Instant,
    left: usize,
    vaults: HashMap<PathBuf, Result<(), Check>>,
    found: Wallets,
}

impl Default for Inspection {
    fn default() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
            left: TRIED,
            vaults: HashMap::new(),
            found: Wallets::default(),
        }
    }
}

impl Inspection {
    fn all(mut self, config: &Config) -> Wallets {
        let store = WalletStore::from_config(&config.wallets);
        let password = password(config.wallets.password_file.as_deref(), &store);
        let wallets = store.snapshot();
        for agent in &config.agents {
            let check = self.agent(config, agent, wallets.as_ref(), &password);
            self.found.checks.push(check);
        }
        for fleet in &config.fleets {
            let store = fleet.wallets.store();
            let password = self::password(fleet.password_file.as_deref(), &store);
            let check = self.fleet(config.chain.dialect, fleet, &store, &password);
            self.found.checks.push(check);
        }
        // Other problems already have their own line.
        if let Err(error @ HostError::SameAddress { .. }) = config.hosted() {
            self.found.checks.push(Check::wrong(
                "wallets",
                error.to_string(),
                "give each `[[agent]]` its own wallet",
                ExitCode::Config,
            ));
        }
        self.found
    }

    fn agent(
        &mut self,
        config: &Config,
        agent: &AgentConfig,
        wallets: Result<&Snapshot<'_>, &WalletError>,
        password: &AtHand,
    ) -> Check {
        let name = format!("wallet {}", agent.wallet);
        let refused = |error: &WalletError| refused(&name, error, Some(&agent.wallet));
        let wallets = match wallets {
            Ok(wallets) => wallets,
            Err(error) => return refused(error),
        };
        let wallet = match wallets.get(&agent.wallet) {
            Ok(Some(wallet)) => wallet,
            Ok(None) if config.devnet.is_some() => {
                return Check::skipped(name, "there is none; `agentry run` creates it");
            }
            // The error lists the existing wallets.
            Ok(None) => match wallets.find(&agent.wallet) {
                Ok(wallet) => wallet,
                Err(error) => return refused(&error),
            },
            Err(error) => return refused(&error),
        };
        let info = wallet.info();
        if let Some(address) = &info.address {
            self.found.purses.push(purse(agent, None, address));
        }
        let address = match &info.address {
            Some(address) => address.to_string(),
            None => format!("its file {}", info.stated()),
        };
        if let Err(error) = info.check_key_type(config.chain.dialect) {
            return refused(&error);
        }
        let there = Check::well(&name, format!("{address}, in {}", info.path.display()));
        let there = private(&name, &info.path)
            .into_iter()
            .fold(there, Check::and);
        there.and(self.open(&name, &wallet, password))
    }

    fn fleet(
        &mut self,
        dialect: Dialect,
        fleet: &FleetConfig,
        store: &WalletStore,
        password: &AtHand,
    ) -> Check {
        let name = format!("fleet {}", fleet.name);
        if let FleetWallets::Directory(folder) = &fleet.wallets
            && !folder.is_dir()
        {
            let error = format!("there is no folder {}", folder.display());
            let fix = "create its wallets with `agentry wallet create`, or correct `keystore_dir`";
            return Check::wrong(name, error, fix, ExitCode::NoInput);
        }
        let list = match store.snapshot().and_then(|wallets| wallets.wallets()) {
            Ok(list) => list,
            Err(error) => return refused(&name, &error, None),
        };
        let (good, bad): (Vec<_>, Vec<_>) = list.into_iter().partition(Result::is_ok);
        let good: Vec<Wallet> = good.into_iter().flatten().collect();
        let mut check = Check::well(
            &name,
            format!("{} wallets in {}", good.len(), store.place()),
        );
        if let Some(Err(error)) = bad.first() {
            check = check.and(refused(&name, error, None));
        }
        let other = good
            .iter()
            .find_map(|wallet| wallet.info().check_key_type(dialect).err());
        if let Some(error) = other {
            check = check.and(refused(&name, &error, None));
        }
        let public = good
            .iter()
            .find_map(|wallet| private(&name, &wallet.info().path));
        check = public.into_iter().fold(check, Check::and);
        for info in good.iter().take(ASKED).map(Wallet::info) {
            if let Some(address) = &info.address {
                let agent = fleet.agent(&info.name);
                self.found
                    .purses
                    .push(purse(&agent, Some(&fleet.name), address));
            }
        }
        // They share one password.
        match good.first() {
            Some(wallet) => check.and(self.open(&name, wallet, password)),
            None => check,
        }
    }

    /// Checks whether the password opens a wallet, or the vault that holds it.
    fn open(&mut self, name: &str, wallet: &Wallet, password: &AtHand) -> Check {
        if wallet.is_plain() {
            let path = wallet.info().path.display();
            return match wallet.unlock(&Wallet::no_password()) {
                Ok(_) => Check::warning(
                    name,
                    format!("the key in {path} is not encrypted"),
                    "make an encrypted copy with `agentry wallet import`, use that, and delete the file",
                ),
                Err(error) => refused(name, &error, None),
            };
        }
        let password = match password {
            AtHand::Is(password) => password,
            AtHand::None => {
                return Check::skipped(name, "its password was not tried: none is available");
            }
            AtHand::Bad(bad) => return bad.clone().for_wallet(name),
        };
        let opens = || Check::well(name, "the password opens it");
        let info = wallet.info();
        if let Some(vault) = wallet.vault() {
            let opened = self.vaults.entry(info.path.clone()).or_insert_with(|| {
                OpenVault::from_vault(&info.path, Arc::clone(vault), password)
                    .map(drop)
                    .map_err(|error| refused(name, &error, None))
            });
            return opened.clone().map_or_else(|check| check, |()| opens());
        }
        if self.left == 0 || Instant::now() > self.until {
            return Check::skipped(
                name,
                "its password was not tried: there are too many wallets",
            );
        }
        self.left -= 1;
        match wallet.unlock(password) {
            Ok(_) => opens(),
            Err(error) => refused(name, &error, None),
        }
    }
}

fn purse(agent: &AgentConfig, fleet: Option<&str>, address: &Address) -> Purse {
    Purse {
        agent: agent.name.clone(),
        fleet: fleet.map(str::to_owned),
        address: address.clone(),
        fee: agent.common.fee,
        acts: !agent.behaviours.is_empty(),
        daily_budget: agent.common.daily_budget,
    }
}

/// A password, if one is available without prompting.
#[derive(Debug)]
enum AtHand {
    Is(Password),
    None,
    Bad(BadPassword),
}

/// Why the source of the password cannot be used.
#[derive(Clone, Debug)]
struct BadPassword(String, ExitCode);

impl BadPassword {
    fn for_wallet(self, name: &str) -> Check {
        let fix = "correct the file of `password_file`: one line, mode 600";
        Check::wrong(name, self.0, fix, self.1)
    }
}

fn password(file: Option<&Path>, store: &WalletStore) -> AtHand {
    let source = PasswordSource {
        flag: None,
        configured: file.map(Path::to_owned),
        keystore_dir: store.keystore_dir().map(Path::to_owned),
        prompt: false,
    };
    match source.password("the wallets") {
        Ok(password) => AtHand::Is(password),
        Err(PasswordError::None { .. }) => AtHand::None,
        Err(error) => {
            let failure = Failure::from(error);
            AtHand::Bad(BadPassword(failure.message, failure.code))
        }
    }
}

/// Checks a file that other users can access.
fn private(name: &str, path: &Path) -> Option<Check> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        Check::warning(
            name,
            format!("{shown} is accessible to other users (mode {mode:03o})"),
            format!("`chmod 600 {shown}`"),
        )
    })
}

fn refused(name: &str, error: &WalletError, wallet: Option<&str>) -> Check {
    let fix = match (error, wallet) {
        (WalletError::Missing { .. }, Some(wallet)) => format!("`agentry wallet create {wallet}`"),
        (WalletError::WrongPassword { .. }, _) => {
            "set the right password in the file of `password_file`, or in AGENTRY_PASSWORD"
                .to_owned()
        }
        (WalletError::Ambiguous { .. }, _) => {
            "rename one of the two with `agentry wallet rename`".to_owned()
        }
        (WalletError::KeyType { dialect, .. }, _) => format!(
            "use a wallet with a key of type {key_type} (`agentry wallet create --key-type {key_type} \
             NAME`), or correct `chain.dialect`",
            key_type = dialect.key_type()
        ),
        (WalletError::Public { path, .. }, _) => format!("`chmod 600 {}`", path.display()),
        (WalletError::Damaged { .. }, _) => "restore a backup of it".to_owned(),
        (WalletError::NoPlace, _) => "set `wallets.keystore_dir`, or `wallets.vault`".to_owned(),
        _ => "make sure that this user can read it, or correct `[wallets]`".to_owned(),
    };
    Check::wrong(name, error.to_string(), fix, wallet_code(error))
}
