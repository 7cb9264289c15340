//! Finding, listing, making, renaming and deleting wallets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_protocol::keystore::{Keystore, KeystoreError};
use agentry_protocol::vault::Vault;
use agentry_protocol::{Address, Password, PublicKey, Seed};
use serde::Serialize;

use super::error::WalletError;
use super::files;
use super::name::WalletName;
use super::vault::{self, OpenVault};
use crate::config::WalletsConfig;

/// The largest keystore file, in bytes; one takes less than one kilobyte.
const LARGEST: u64 = 64 << 10;

/// Where wallets are: a folder of keystore files, a vault, or both.
#[derive(Clone, Debug, Default)]
pub struct WalletStore {
    keystore_dir: Option<PathBuf>,
    vault: Option<PathBuf>,
}

/// What is known of a wallet without its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WalletInfo {
    /// Its name.
    pub name: String,
    /// Its address; some older files do not say.
    pub address: Option<Address>,
    /// Its public key; some files do not say.
    pub public_key: Option<PublicKey>,
    /// How it is kept: a keystore's form, or `vault`.
    pub form: String,
    /// The keystore file, or the vault.
    pub path: PathBuf,
}

/// A wallet that was found.
#[derive(Debug)]
pub struct Wallet {
    info: WalletInfo,
    sealed: Sealed,
}

#[derive(Debug)]
enum Sealed {
    File(Box<Keystore>),
    Vault(Arc<Vault>),
}

/// A wallet with its secret.
#[derive(Debug)]
pub struct Unlocked {
    /// Its address: the one that its file states, else the hex form.
    pub address: Address,
    /// The secret.
    pub seed: Seed,
}

impl Wallet {
    /// What is known without the password.
    pub fn info(&self) -> &WalletInfo {
        &self.info
    }

    /// Decrypts it. This derives a key, some tens to hundreds of milliseconds of a core: not for
    /// an arbiter; and for many wallets of one vault use [`WalletStore::open_vault`].
    ///
    /// # Errors
    /// [`WalletError::WrongPassword`], [`WalletError::Damaged`].
    pub fn unlock(&self, password: &Password) -> Result<Unlocked, WalletError> {
        let seed = match &self.sealed {
            Sealed::File(keystore) => keystore.unlock(password).map_err(|error| match error {
                KeystoreError::WrongPassword => WalletError::WrongPassword {
                    names: vec![format!("wallet {}", self.info.name)],
                },
                other => files::damaged(&self.info.path, &other.to_string()),
            })?,
            Sealed::Vault(vault) => {
                OpenVault::from_vault(&self.info.path, Arc::clone(vault), password)?
                    .seed(&self.info.name)?
            }
        };
        let address = self.info.address.clone();
        let address = address.unwrap_or_else(|| Address::from_public_key(&seed.public_key()));
        Ok(Unlocked { address, seed })
    }
}

impl WalletStore {
    /// A store over a folder, a vault, or both. Neither needs to exist yet.
    pub fn new(keystore_dir: Option<PathBuf>, vault: Option<PathBuf>) -> Self {
        Self {
            keystore_dir,
            vault,
        }
    }

    /// The store of the configuration's `[wallets]`.
    pub fn from_config(config: &WalletsConfig) -> Self {
        Self::new(config.keystore_dir.clone(), config.vault.clone())
    }

    /// The folder of keystore files.
    pub fn keystore_dir(&self) -> Option<&Path> {
        self.keystore_dir.as_deref()
    }

    /// The vault file.
    pub fn vault(&self) -> Option<&Path> {
        self.vault.as_deref()
    }

    /// The places, for a message.
    pub fn place(&self) -> String {
        let places: Vec<String> = [&self.keystore_dir, &self.vault]
            .into_iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect();
        places.join(" and ")
    }

    /// The names of all wallets, in order; a folder that does not exist has none.
    ///
    /// # Errors
    /// A folder or vault that cannot be read.
    pub fn names(&self) -> Result<Vec<String>, WalletError> {
        let mut names = self.file_names()?;
        if let Some(path) = &self.vault {
            names.extend(
                vault::load(path)?
                    .wallets()
                    .map(|entry| entry.name().to_owned()),
            );
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The wallets of the folder: files `<name>.json` that are not hidden.
    fn file_names(&self) -> Result<Vec<String>, WalletError> {
        let Some(dir) = &self.keystore_dir else {
            return Ok(Vec::new());
        };
        let failed = |source| WalletError::io("listing", dir, source);
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file_name = entry.map_err(failed)?.file_name();
            let name = file_name
                .to_str()
                .and_then(|name| name.strip_suffix(".json"));
            if let Some(name) = name.filter(|name| name.parse::<WalletName>().is_ok()) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Every wallet, by name; a damaged file is an error of its own and hides no other.
    ///
    /// # Errors
    /// A folder or vault that cannot be read.
    pub fn list(&self) -> Result<Vec<Result<WalletInfo, WalletError>>, WalletError> {
        let mut list: Vec<(String, Result<WalletInfo, WalletError>)> = self
            .file_names()?
            .into_iter()
            .map(|name| {
                let read = self.read_file(&name).map(|wallet| wallet.info);
                (name, read)
            })
            .collect();
        if let Some(path) = &self.vault {
            let vault = vault::load(path)?;
            let entries = vault.wallets();
            list.extend(entries.map(|entry| (entry.name().to_owned(), Ok(info(path, entry)))));
        }
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(list.into_iter().map(|(_, wallet)| wallet).collect())
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        self.keystore_dir
            .as_ref()
            .map(|dir| dir.join(format!("{name}.json")))
    }

    fn read_file(&self, name: &str) -> Result<Wallet, WalletError> {
        let path = self.path_of(name).ok_or(WalletError::NoPlace)?;
        let keystore = read_keystore(&path)?;
        let info = WalletInfo {
            name: name.to_owned(),
            address: keystore.address().cloned(),
            public_key: keystore.public_key().copied(),
            form: keystore.form().to_string(),
            path,
        };
        Ok(Wallet {
            info,
            sealed: Sealed::File(Box::new(keystore)),
        })
    }

    /// The wallet of that name.
    ///
    /// # Errors
    /// [`WalletError::Missing`], [`WalletError::Ambiguous`], [`WalletError::Damaged`],
    /// [`WalletError::Io`].
    pub fn find(&self, name: &str) -> Result<Wallet, WalletError> {
        if self.keystore_dir.is_none() && self.vault.is_none() {
            return Err(WalletError::NoPlace);
        }
        let name = name.parse::<WalletName>()?;
        let name = name.as_str();
        let file = self
            .path_of(name)
            .filter(|path| path.symlink_metadata().is_ok());
        if let Some(path) = &self.vault {
            let vault = vault::load(path)?;
            if let Some(entry) = vault.get(name) {
                if let Some(file) = file {
                    return Err(WalletError::Ambiguous {
                        name: name.to_owned(),
                        one: file,
                        other: path.clone(),
                    });
                }
                let info = info(path, entry);
                return Ok(Wallet {
                    info,
                    sealed: Sealed::Vault(vault),
                });
            }
        }
        match file {
            Some(_) => self.read_file(name),
            None => Err(WalletError::missing(name, self.place(), &self.names()?)),
        }
    }

    /// Opens the vault, if there is one, for all its wallets at once.
    ///
    /// # Errors
    /// As [`OpenVault::open`].
    pub fn open_vault(&self, password: &Password) -> Result<Option<OpenVault>, WalletError> {
        self.vault
            .as_ref()
            .map(|path| OpenVault::open(path, password))
            .transpose()
    }

    /// Where a new wallet of that name would be kept, if none has it.
    ///
    /// # Errors
    /// [`WalletError::NoPlace`] without a folder; [`WalletError::Exists`] or
    /// [`WalletError::ExistsInVault`].
    pub fn free_path(&self, name: &WalletName) -> Result<PathBuf, WalletError> {
        let path = self.path_of(name.as_str()).ok_or(WalletError::NoPlace)?;
        if path.symlink_metadata().is_ok() {
            return Err(WalletError::Exists(path));
        }
        if let Some(file) = self.vault.as_ref().filter(|file| file.exists())
            && vault::load(file)?.get(name.as_str()).is_some()
        {
            return Err(WalletError::ExistsInVault {
                path: file.clone(),
                name: name.to_string(),
            });
        }
        Ok(path)
    }

    /// Keeps a seed as a new keystore file, in the clients' form, under this address.
    ///
    /// # Errors
    /// As [`Self::free_path`]; [`WalletError::Io`], [`WalletError::Crypto`].
    pub fn add(
        &self,
        name: &WalletName,
        seed: &Seed,
        address: &Address,
        password: &Password,
    ) -> Result<WalletInfo, WalletError> {
        let path = self.free_path(name)?;
        let text = encrypt(seed, address, password)?;
        files::make_private_dir(files::folder(&path))?;
        files::write_new(&path, text.as_bytes())?;
        self.read_file(name.as_str()).map(|wallet| wallet.info)
    }

    /// Gives a wallet another name. One in a vault is sealed anew, which takes the password.
    ///
    /// # Errors
    /// As [`Self::find`] and [`Self::free_path`].
    pub fn rename(
        &self,
        from: &str,
        to: &WalletName,
        password: impl FnOnce() -> Result<Password, WalletError>,
    ) -> Result<WalletInfo, WalletError> {
        let wallet = self.find(from)?;
        match wallet.sealed {
            Sealed::File(_) => files::rename_new(&wallet.info.path, &self.free_path(to)?)?,
            Sealed::Vault(vault) => {
                let path = &wallet.info.path;
                if vault.get(to.as_str()).is_some() {
                    let (path, name) = (path.clone(), to.to_string());
                    return Err(WalletError::ExistsInVault { path, name });
                }
                if let Some(file) = self.path_of(to.as_str()).filter(|file| file.exists()) {
                    return Err(WalletError::Exists(file));
                }
                vault::change(path, &password()?, |entries| {
                    for (name, _, _) in entries.iter_mut().filter(|(name, _, _)| name == from) {
                        name.clone_from(&to.as_str().to_owned());
                    }
                    Ok(())
                })?;
            }
        }
        self.find(to.as_str()).map(|wallet| wallet.info)
    }

    /// Deletes a wallet; its secret is gone unless there is a copy. From a vault this takes the
    /// password. A damaged file can be deleted too.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn delete(
        &self,
        name: &str,
        password: impl FnOnce() -> Result<Password, WalletError>,
    ) -> Result<PathBuf, WalletError> {
        match self.find(name) {
            Ok(Wallet {
                info,
                sealed: Sealed::File(_),
            }) => {
                files::remove(&info.path)?;
                Ok(info.path)
            }
            Ok(Wallet {
                info,
                sealed: Sealed::Vault(_),
            }) => {
                vault::change(&info.path, &password()?, |entries| {
                    entries.retain(|(entry, _, _)| entry != name);
                    Ok(())
                })?;
                Ok(info.path)
            }
            Err(WalletError::Damaged { path, .. })
                if Some(&path) == self.path_of(name).as_ref() =>
            {
                files::remove(&path)?;
                Ok(path)
            }
            Err(error) => Err(error),
        }
    }
}

fn info(path: &Path, entry: &agentry_protocol::vault::VaultEntry) -> WalletInfo {
    WalletInfo {
        name: entry.name().to_owned(),
        address: Some(entry.address().clone()),
        public_key: Some(*entry.public_key()),
        form: "vault".to_owned(),
        path: path.to_owned(),
    }
}

/// Reads a keystore file of any form; this takes no password.
///
/// # Errors
/// [`WalletError::Io`], [`WalletError::Damaged`].
pub fn read_keystore(path: &Path) -> Result<Keystore, WalletError> {
    let bytes = files::read(path, LARGEST)?;
    Keystore::parse(&bytes).map_err(|error| files::damaged(path, &error.to_string()))
}

/// The text of a keystore in the clients' form.
///
/// # Errors
/// [`WalletError::Crypto`].
pub fn encrypt(seed: &Seed, address: &Address, password: &Password) -> Result<String, WalletError> {
    Keystore::encrypt(seed, password, address).map_err(|error| WalletError::Crypto {
        doing: "encrypting the wallet",
        reason: error.to_string(),
    })
}
