//! Agents and fleets with their wallets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::model::{AgentConfig, Config, FleetWallets};
use crate::wallet::{Wallet, WalletError, WalletStore};

/// An agent to host.
#[derive(Clone, Debug)]
pub struct HostedAgent {
    /// Its configuration.
    pub agent: AgentConfig,
    /// Its wallet, still locked; `None` if there is no such wallet yet, which is possible only for
    /// an agent of `[[agent]]`.
    pub wallet: Option<Wallet>,
    /// The store that holds its wallet, or would hold it.
    pub store: WalletStore,
    /// The file that holds the wallet's password.
    pub password_file: Option<PathBuf>,
}

/// Why the agents cannot be hosted together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A wallet, folder or vault that cannot be used.
    #[error("the wallet of {owner}: {source}")]
    Wallet {
        /// The owner, for example `agent ponger`.
        owner: String,
        /// What is wrong.
        source: WalletError,
    },
    /// Two agents have one address.
    #[error(
        "agents {one:?} and {other:?} have the same address {address}; one wallet is one agent: \
         remove one of them from agents.toml"
    )]
    SameAddress {
        /// One agent.
        one: String,
        /// The other.
        other: String,
        /// Their address.
        address: String,
    },
}

impl Config {
    /// Every agent to host, with fleets resolved: those of `[[agent]]` first, then each fleet's by
    /// wallet name. Reads the wallet files; needs no password. Blocking.
    ///
    /// # Errors
    /// A damaged wallet; a fleet's folder or vault that is missing; two agents with one address.
    pub fn hosted(&self) -> Result<Vec<HostedAgent>, HostError> {
        let mut hosted = Vec::new();
        let store = WalletStore::from_config(&self.wallets);
        if let Some(first) = self.agents.first() {
            let failed = |agent: &AgentConfig, source| HostError::Wallet {
                owner: format!("agent {}", agent.name),
                source,
            };
            let wallets = store.snapshot().map_err(|error| failed(first, error))?;
            for agent in &self.agents {
                let wallet = wallets
                    .get(&agent.wallet)
                    .map_err(|error| failed(agent, error))?;
                hosted.push(HostedAgent {
                    agent: agent.clone(),
                    wallet,
                    store: store.clone(),
                    password_file: self.wallets.password_file.clone(),
                });
            }
        }
        for fleet in &self.fleets {
            let failed = |source| HostError::Wallet {
                owner: format!("fleet {}", fleet.name),
                source,
            };
            if let FleetWallets::Directory(directory) = &fleet.wallets {
                exists(directory).map_err(failed)?;
            }
            let store = fleet.wallets.store();
            let wallets = store.snapshot().and_then(|wallets| wallets.wallets());
            for wallet in wallets.map_err(failed)? {
                let wallet = wallet.map_err(failed)?;
                hosted.push(HostedAgent {
                    agent: fleet.agent(&wallet.info().name),
                    wallet: Some(wallet),
                    store: store.clone(),
                    password_file: fleet.password_file.clone(),
                });
            }
        }
        check_addresses(&hosted)?;
        Ok(hosted)
    }
}

fn exists(directory: &Path) -> Result<(), WalletError> {
    std::fs::metadata(directory)
        .map(|_| ())
        .map_err(|source| WalletError::io("listing", directory, source))
}

fn check_addresses(hosted: &[HostedAgent]) -> Result<(), HostError> {
    // Both forms of an address belong to one key, so the public key is compared as well.
    let mut seen: HashMap<String, &str> = HashMap::new();
    for HostedAgent { agent, wallet, .. } in hosted {
        let Some(wallet) = wallet else { continue };
        let wallet = wallet.info();
        let address = wallet.address.as_ref().map(ToString::to_string);
        let key = wallet.public_key.as_ref().map(ToString::to_string);
        for mark in [&address, &key].into_iter().flatten() {
            if let Some(other) = seen.insert(mark.clone(), &agent.name) {
                return Err(HostError::SameAddress {
                    one: other.to_owned(),
                    other: agent.name.clone(),
                    address: address.clone().unwrap_or_else(|| mark.clone()),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use agentry_protocol::{AddressForm, KeyType, Password, Seed};

    use super::super::{Overlay, Source};
    use super::*;
    use crate::wallet::WalletName;
    use crate::wallet::pack::{address_of, create_in_vault, numbered};

    fn config(folder: &Path, text: &str) -> Config {
        let text = format!("[chain]\nid = \"x\"\n[wallets]\nkeystore_dir = \"keys\"\n{text}");
        let source = Source::Text {
            path: folder.join("agents.toml"),
            text,
        };
        let overlay = Overlay {
            environment: Some(HashMap::new()),
            flags: Vec::new(),
        };
        Config::load(&source, &overlay, &agentry_behaviours::builtins()).unwrap()
    }

    fn add(folder: &Path, dir: &str, name: &str, seed: u8, form: AddressForm) {
        let store = WalletStore::new(Some(folder.join(dir)), None);
        let seed = Seed::from_bytes([seed; 32]);
        let password = Password::new("p".into());
        let address = address_of(&seed, form);
        store
            .add(&name.parse().unwrap(), &seed, &address, &password)
            .unwrap();
    }

    /// Creates the vault `v`, and returns the names of its wallets.
    fn vault(folder: &Path, count: usize) -> Vec<WalletName> {
        let names = numbered(&"w".parse().unwrap(), count).unwrap();
        let password = Password::new("p".into());
        let (key_type, form) = (KeyType::Ed25519, AddressForm::Hex);
        create_in_vault(&folder.join("v"), &names, key_type, form, &password).unwrap();
        names
    }

    #[test]
    fn agents_come_first_then_fleets() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "keys", "a", 1, AddressForm::Hex);
        vault(dir.path(), 2);
        let text = "[[agent]]\nname = \"a\"\n[[agent]]\nname = \"later\"\n\
                    [[fleet]]\nname = \"f\"\nvault = \"v\"\nfee = 3\n";
        let hosted = config(dir.path(), text).hosted().unwrap();
        let shown: Vec<_> = hosted
            .iter()
            .map(|one| {
                let agent = &one.agent;
                (
                    agent.name.as_str(),
                    one.wallet.is_some(),
                    agent.common.fee.0,
                )
            })
            .collect();
        let wanted = [
            ("a", true, 10),
            ("later", false, 10),
            ("f/w-1", true, 3),
            ("f/w-2", true, 3),
        ];
        assert_eq!(shown, wanted);
    }

    /// Reading the vault once per agent made a start with thousands of agents take minutes.
    #[test]
    fn all_agents_of_a_vault_share_one_read() {
        let dir = tempfile::tempdir().unwrap();
        let names = vault(dir.path(), 3);
        let agents: String = names
            .iter()
            .map(|name| format!("[[agent]]\nname = \"{name}\"\n"))
            .collect();
        let text = format!("vault = \"v\"\n{agents}");
        let hosted = config(dir.path(), &text).hosted().unwrap();
        let vaults: Vec<_> = hosted
            .iter()
            .map(|one| Arc::clone(one.wallet.as_ref().unwrap().vault().unwrap()))
            .collect();
        assert_eq!(vaults.len(), 3);
        assert!(vaults.iter().all(|vault| Arc::ptr_eq(vault, &vaults[0])));
    }

    #[test]
    fn one_key_is_one_agent_whatever_the_form_of_its_address() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "keys", "a", 1, AddressForm::Hex);
        add(dir.path(), "keys", "b", 1, AddressForm::Bech32);
        let text = "[[agent]]\nname = \"a\"\n[[agent]]\nname = \"b\"\n";
        let error = config(dir.path(), text).hosted().unwrap_err();
        assert!(matches!(error, HostError::SameAddress { .. }), "{error}");
    }

    #[test]
    fn a_fleet_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        for place in ["vault = \"v\"", "keystore_dir = \"d\""] {
            let text = format!("[[fleet]]\nname = \"f\"\n{place}\n");
            let error = config(dir.path(), &text).hosted().unwrap_err();
            assert!(error.to_string().contains("fleet f"), "{error}");
        }
    }
}
