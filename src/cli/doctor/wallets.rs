//! Wallets: whether each is there, its owner's alone, and opened by the password at hand.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_protocol::{Address, Password};

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

/// How long all wallets together may take: a derivation that has begun is not broken off.
const ALL: Duration = Duration::from_secs(15);

/// How many wallets of a fleet are asked for their money.
const ASKED: usize = 50;

/// What was found of the wallets.
#[derive(Debug, Default)]
pub(super) struct Wallets {
    /// What there is to say.
    pub(super) checks: Vec<Check>,
    /// Those whose money can be asked for.
    pub(super) purses: Vec<Purse>,
}

/// A wallet, and what it is to pay.
#[derive(Clone, Debug)]
pub(super) struct Purse {
    /// Its agent's name.
    pub(super) agent: String,
    /// The fleet that it is of, if it is of one.
    pub(super) fleet: Option<String>,
    /// Its address.
    pub(super) address: Address,
    /// The fee of each message, in AIT.
    pub(super) fee: u64,
    /// Whether its agent does anything.
    pub(super) acts: bool,
    /// What it may spend in a day, in AIT.
    pub(super) daily_budget: u64,
}

/// Looks at all wallets.
pub(super) async fn look(config: &Config) -> Wallets {
    let config = config.clone();
    blocking(ALL, move || Survey::default().all(&config))
        .await
        .unwrap_or_else(|| Wallets {
            checks: vec![Check::warning(
                "wallets",
                "they could not be read in 15 s",
                "look at the disk, or pack many wallets into a vault: `agentry wallet pack`",
            )],
            purses: Vec::new(),
        })
}

/// The passwords that are at hand, and what they have opened.
#[derive(Debug)]
struct Survey {
    until: Instant,
    left: usize,
    vaults: HashMap<PathBuf, Result<(), Check>>,
    found: Wallets,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
            left: TRIED,
            vaults: HashMap::new(),
            found: Wallets::default(),
        }
    }
}

impl Survey {
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
            let check = self.fleet(fleet, &store, &password);
            self.found.checks.push(check);
        }
        // What else can be wrong has a line already.
        if let Err(error @ HostError::SameAddress { .. }) = config.hosted() {
            self.found.checks.push(Check::wrong(
                "wallets",
                error.to_string(),
                "give each `[[agent]]` a wallet of its own",
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
                return Check::skipped(name, "there is none; `agentry run` makes it");
            }
            // It says which wallets there are.
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
        let there = Check::well(&name, format!("{address}, in {}", info.path.display()));
        let there = private(&name, &info.path)
            .into_iter()
            .fold(there, Check::and);
        there.and(self.open(&name, &wallet, password))
    }

    fn fleet(&mut self, fleet: &FleetConfig, store: &WalletStore, password: &AtHand) -> Check {
        let name = format!("fleet {}", fleet.name);
        if let FleetWallets::Directory(folder) = &fleet.wallets
            && !folder.is_dir()
        {
            let error = format!("there is no folder {}", folder.display());
            let mend = "make its wallets: `agentry wallet create`, or mend `keystore_dir`";
            return Check::wrong(name, error, mend, ExitCode::NoInput);
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
        // They have one password.
        match good.first() {
            Some(wallet) => check.and(self.open(&name, wallet, password)),
            None => check,
        }
    }

    /// Whether the password opens a wallet, or the vault that it is in.
    fn open(&mut self, name: &str, wallet: &Wallet, password: &AtHand) -> Check {
        let password = match password {
            AtHand::Is(password) => password,
            AtHand::None => {
                return Check::skipped(name, "its password was not tried: none is at hand");
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
            return Check::skipped(name, "its password was not tried: there are many");
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
        fee: agent.fee,
        acts: !agent.behaviours.is_empty(),
        daily_budget: agent.daily_budget,
    }
}

/// A password, if one is at hand without asking anybody.
#[derive(Debug)]
enum AtHand {
    Is(Password),
    None,
    Bad(BadPassword),
}

/// Why what should hold the password cannot be used.
#[derive(Clone, Debug)]
struct BadPassword(String, ExitCode);

impl BadPassword {
    fn for_wallet(self, name: &str) -> Check {
        let mend = "mend the file of `password_file`: one line, mode 600";
        Check::wrong(name, self.0, mend, self.1)
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

/// What there is to say of a file that others than its owner can reach.
fn private(name: &str, path: &Path) -> Option<Check> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        Check::warning(
            name,
            format!("{shown} is not its owner's alone (mode {mode:03o})"),
            format!("`chmod 600 {shown}`"),
        )
    })
}

fn refused(name: &str, error: &WalletError, wallet: Option<&str>) -> Check {
    let mend = match (error, wallet) {
        (WalletError::Missing { .. }, Some(wallet)) => format!("`agentry wallet create {wallet}`"),
        (WalletError::WrongPassword { .. }, _) => {
            "put the right one into the file of `password_file`, or into AGENTRY_PASSWORD"
                .to_owned()
        }
        (WalletError::Ambiguous { .. }, _) => "`agentry wallet rename` one of the two".to_owned(),
        (WalletError::Damaged { .. }, _) => "put a backup of it back".to_owned(),
        (WalletError::NoPlace, _) => "set `wallets.keystore_dir`, or `wallets.vault`".to_owned(),
        _ => "see that this user can read it, or mend `[wallets]`".to_owned(),
    };
    Check::wrong(name, error.to_string(), mend, wallet_code(error))
}
