//! A store of wallets at one moment.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use agentry_protocol::vault::Vault;
use agentry_protocol::{Address, Password, Seed};

use super::error::WalletError;
use super::files;
use super::name::WalletName;
use super::store::{Wallet, WalletInfo, WalletStore, encrypt};

/// The wallets of a [`WalletStore`], for a command that looks up many: the vault is read only once.
#[derive(Debug)]
pub struct Snapshot<'a> {
    store: &'a WalletStore,
    vault: Option<(PathBuf, Arc<Vault>)>,
    /// Read on first use: only the error about a missing wallet lists all names.
    names: OnceLock<Vec<String>>,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(store: &'a WalletStore, vault: Option<(PathBuf, Arc<Vault>)>) -> Self {
        Self {
            store,
            vault,
            names: OnceLock::new(),
        }
    }

    /// The wallet of that name, if there is one.
    ///
    /// # Errors
    /// [`WalletError::NoPlace`], [`WalletError::Ambiguous`], [`WalletError::Damaged`],
    /// [`WalletError::Io`].
    pub fn get(&self, name: &str) -> Result<Option<Wallet>, WalletError> {
        self.store.has_place()?;
        let name = name.parse::<WalletName>()?;
        let name = name.as_str();
        let file = self
            .store
            .path_of(name)
            .filter(|path| path.symlink_metadata().is_ok());
        let of_vault = self
            .vault
            .as_ref()
            .and_then(|(path, vault)| Some((path, vault, vault.get(name)?)));
        match (file, of_vault) {
            (None, None) => Ok(None),
            (Some(_), None) => self.store.read_file(name).map(Some),
            (None, Some((path, vault, entry))) => {
                Ok(Some(Wallet::in_vault(path, Arc::clone(vault), entry)))
            }
            (Some(file), Some((path, ..))) => Err(WalletError::Ambiguous {
                name: name.to_owned(),
                one: file,
                other: path.clone(),
            }),
        }
    }

    /// The wallet of that name.
    ///
    /// # Errors
    /// As [`Self::get`]; [`WalletError::Missing`], which lists the names that exist.
    pub fn find(&self, name: &str) -> Result<Wallet, WalletError> {
        match self.get(name)? {
            Some(wallet) => Ok(wallet),
            None => Err(WalletError::missing(
                name,
                self.store.place(),
                self.names()?,
            )),
        }
    }

    /// The names of all wallets, in order; a folder that does not exist has none.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn names(&self) -> Result<&[String], WalletError> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let mut names = self.store.file_names()?;
        names.extend(self.entries().map(|entry| entry.name().to_owned()));
        names.sort();
        names.dedup();
        Ok(self.names.get_or_init(|| names))
    }

    /// Every wallet, by name. A damaged file is an error in the list and hides no other wallet.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn wallets(&self) -> Result<Vec<Result<Wallet, WalletError>>, WalletError> {
        let mut list: Vec<(String, Result<Wallet, WalletError>)> = self
            .store
            .file_names()?
            .into_iter()
            .map(|name| {
                let read = self.store.read_file(&name);
                (name, read)
            })
            .collect();
        if let Some((path, vault)) = &self.vault {
            list.extend(vault.wallets().map(|entry| {
                let wallet = Wallet::in_vault(path, Arc::clone(vault), entry);
                (entry.name().to_owned(), Ok(wallet))
            }));
        }
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(list.into_iter().map(|(_, wallet)| wallet).collect())
    }

    /// The path for a new wallet of that name, if the name is free.
    ///
    /// # Errors
    /// [`WalletError::NoPlace`] without a folder; [`WalletError::Exists`] or
    /// [`WalletError::ExistsInVault`].
    pub fn free_path(&self, name: &WalletName) -> Result<PathBuf, WalletError> {
        let path = self
            .store
            .path_of(name.as_str())
            .ok_or(WalletError::NoPlace)?;
        if path.symlink_metadata().is_ok() {
            return Err(WalletError::Exists(path));
        }
        if let Some((file, vault)) = &self.vault
            && vault.get(name.as_str()).is_some()
        {
            return Err(WalletError::ExistsInVault {
                path: file.clone(),
                name: name.to_string(),
            });
        }
        Ok(path)
    }

    /// Stores a seed in a new keystore file, in the form of AITBC's clients, under this address.
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
        self.store
            .read_file(name.as_str())
            .map(|wallet| wallet.info().clone())
    }

    fn entries(&self) -> impl Iterator<Item = &agentry_protocol::vault::VaultEntry> {
        self.vault.iter().flat_map(|(_, vault)| vault.wallets())
    }
}
