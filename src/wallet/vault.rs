//! Vault files: many wallets in one file, under one password.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_protocol::vault::{Vault, VaultEntry, VaultError, VaultKey};
use agentry_protocol::{Address, Password, Seed};

use super::error::WalletError;
use super::files;

/// The largest vault, in bytes; a wallet takes less than half a kilobyte.
const LARGEST: u64 = 256 << 20;

/// A wallet to put into a vault: name, address, seed.
pub type Entry = (String, Address, Seed);

/// Reads a vault file; needs no password.
///
/// # Errors
/// [`WalletError::Io`], [`WalletError::Damaged`].
pub fn load(path: &Path) -> Result<Arc<Vault>, WalletError> {
    let bytes = files::read(path, LARGEST)?;
    Vault::parse(&bytes)
        .map(Arc::new)
        .map_err(|error| failed(path, &error))
}

/// Turns an error of the vault itself into a [`WalletError`].
pub(super) fn failed(path: &Path, error: &VaultError) -> WalletError {
    match error {
        VaultError::WrongPassword => WalletError::WrongPassword {
            names: vec![format!("the vault {}", path.display())],
        },
        other => files::damaged(path, &other.to_string()),
    }
}

/// A vault with the key to its seeds: the password was checked, and its key derived once.
#[derive(Debug)]
pub struct OpenVault {
    path: PathBuf,
    vault: Arc<Vault>,
    key: VaultKey,
}

impl OpenVault {
    /// Opens a vault. Deriving the key takes a core some tenths of a second: do not call it on an
    /// async thread.
    ///
    /// # Errors
    /// [`WalletError::Io`], [`WalletError::Damaged`], [`WalletError::WrongPassword`].
    pub fn open(path: &Path, password: &Password) -> Result<Self, WalletError> {
        Self::from_vault(path, load(path)?, password)
    }

    /// As [`Self::open`], for a vault that is already read.
    ///
    /// # Errors
    /// [`WalletError::WrongPassword`].
    pub fn from_vault(
        path: &Path,
        vault: Arc<Vault>,
        password: &Password,
    ) -> Result<Self, WalletError> {
        let key = vault.open(password).map_err(|error| failed(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            vault,
            key,
        })
    }

    /// Its wallets.
    pub fn wallets(&self) -> impl Iterator<Item = &VaultEntry> {
        self.vault.wallets()
    }

    /// The seed of one of its wallets, without a key derivation.
    ///
    /// # Errors
    /// [`WalletError::Missing`]; [`WalletError::Damaged`] if the entry was tampered with.
    pub fn seed(&self, name: &str) -> Result<Seed, WalletError> {
        let entry = self.vault.get(name).ok_or_else(|| {
            let known: Vec<String> = self
                .vault
                .wallets()
                .map(|entry| entry.name().to_owned())
                .collect();
            WalletError::missing(name, self.path.display().to_string(), &known)
        })?;
        self.vault
            .unseal(entry, &self.key)
            .map_err(|error| failed(&self.path, &error))
    }

    fn entries(&self) -> Result<Vec<Entry>, WalletError> {
        self.vault
            .wallets()
            .map(|entry| {
                let seed = self.vault.unseal(entry, &self.key);
                let seed = seed.map_err(|error| failed(&self.path, &error))?;
                Ok((entry.name().to_owned(), entry.address().clone(), seed))
            })
            .collect()
    }
}

/// Writes a new vault file.
///
/// # Errors
/// [`WalletError::Exists`] and others; nothing is written then.
pub fn create(path: &Path, entries: Vec<Entry>, password: &Password) -> Result<(), WalletError> {
    if path.exists() {
        return Err(WalletError::Exists(path.to_owned()));
    }
    files::make_private_dir(files::folder(path))?;
    files::write_new(path, pack(entries, password)?.to_text().as_bytes())
}

fn pack(entries: Vec<Entry>, password: &Password) -> Result<Vault, WalletError> {
    Vault::pack(entries, password).map_err(|error| WalletError::Crypto {
        doing: "packing the vault",
        reason: error.to_string(),
    })
}

/// Changes a vault's wallets and replaces the file atomically. Another process that changes it at
/// the same time waits.
///
/// # Errors
/// An error of opening it or of `change`; the file is then unchanged.
pub(super) fn change(
    path: &Path,
    password: &Password,
    change: impl FnOnce(&mut Vec<Entry>) -> Result<(), WalletError>,
) -> Result<(), WalletError> {
    // The folder is locked, since each change replaces the file.
    let folder = files::folder(path);
    let lock = File::open(folder)
        .and_then(|folder| folder.lock().map(|()| folder))
        .map_err(|source| WalletError::io("locking the folder", folder, source))?;
    let mut entries = OpenVault::open(path, password)?.entries()?;
    change(&mut entries)?;
    files::replace(path, pack(entries, password)?.to_text().as_bytes())?;
    drop(lock);
    Ok(())
}
