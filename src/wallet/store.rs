//! Finding, listing, creating, renaming and deleting wallets.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_protocol::keystore::{Keystore, KeystoreError};
use agentry_protocol::vault::{Vault, VaultEntry};
use agentry_protocol::{Address, Dialect, KeyType, Password, PublicKey, Seed};
use serde::Serialize;

use super::error::WalletError;
use super::files;
use super::name::WalletName;
use super::snapshot::Snapshot;
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
    /// Its address; some files do not state one.
    pub address: Option<Address>,
    /// The name that its file states instead of an address, as AITBC's fernet tool writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated_name: Option<String>,
    /// Its public key; some files do not state one.
    pub public_key: Option<PublicKey>,
    /// The type of its key.
    pub key_type: KeyType,
    /// How it is stored: a keystore's form, or `vault`.
    pub form: String,
    /// The keystore file, or the vault.
    pub path: PathBuf,
}

impl WalletInfo {
    /// Its address, for an operation without the password.
    ///
    /// # Errors
    /// [`WalletError::NoAddress`].
    pub fn known_address(&self) -> Result<&Address, WalletError> {
        self.address.as_ref().ok_or_else(|| WalletError::NoAddress {
            name: self.name.clone(),
            stated: self.stated(),
        })
    }

    /// Checks that its key is of the type that wallets of a chain have.
    ///
    /// # Errors
    /// [`WalletError::KeyType`], which names the fix.
    pub fn check_key_type(&self, dialect: Dialect) -> Result<(), WalletError> {
        if self.key_type == dialect.key_type() {
            return Ok(());
        }
        Err(WalletError::KeyType {
            name: self.name.clone(),
            found: self.key_type,
            dialect,
        })
    }

    /// What its file states instead of an address, as the end of a sentence.
    pub fn stated(&self) -> String {
        match &self.stated_name {
            Some(name) => format!("states the name {name:?} instead of an address"),
            None => "states no address".to_owned(),
        }
    }
}

/// A wallet that was found. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Wallet {
    info: Arc<WalletInfo>,
    sealed: Sealed,
}

#[derive(Clone, Debug)]
enum Sealed {
    File(Arc<Keystore>),
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
    pub(super) fn in_vault(path: &Path, vault: Arc<Vault>, entry: &VaultEntry) -> Self {
        Self {
            info: Arc::new(WalletInfo {
                name: entry.name().to_owned(),
                address: Some(entry.address().clone()),
                stated_name: None,
                public_key: Some(*entry.public_key()),
                key_type: entry.public_key().key_type(),
                form: "vault".to_owned(),
                path: path.to_owned(),
            }),
            sealed: Sealed::Vault(vault),
        }
    }

    /// What is known without the password.
    pub fn info(&self) -> &WalletInfo {
        &self.info
    }

    /// The vault that holds it, if any.
    pub fn vault(&self) -> Option<&Arc<Vault>> {
        match &self.sealed {
            Sealed::Vault(vault) => Some(vault),
            Sealed::File(_) => None,
        }
    }

    /// Whether its key is not encrypted, so that any password opens it.
    pub fn is_plain(&self) -> bool {
        matches!(&self.sealed, Sealed::File(keystore) if keystore.form().is_plain())
    }

    /// What stands for the password of a wallet that has none.
    pub fn no_password() -> Password {
        Password::new(String::new())
    }

    /// Decrypts it. This derives a key, which takes a core tens to hundreds of milliseconds: do not
    /// call it on an async thread, and use [`WalletStore::open_vault`] for many wallets of a vault.
    ///
    /// # Errors
    /// [`WalletError::WrongPassword`], [`WalletError::Damaged`]; [`WalletError::Public`] if the key is
    /// not encrypted and everyone can read the file.
    pub fn unlock(&self, password: &Password) -> Result<Unlocked, WalletError> {
        if self.is_plain() {
            let path = &self.info.path;
            let metadata = fs::metadata(path);
            let metadata = metadata.map_err(|source| WalletError::io("reading", path, source))?;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o004 != 0 {
                let path = path.clone();
                return Err(WalletError::Public { path, mode });
            }
        }
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

    /// Reads the store as it is now. Use this for many wallets, since [`Self::find`] reads the vault
    /// each time.
    ///
    /// # Errors
    /// A vault that is missing or cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, WalletError> {
        let vault = match &self.vault {
            Some(path) => Some((path.clone(), vault::load(path)?)),
            None => None,
        };
        Ok(Snapshot::new(self, vault))
    }

    /// As [`Self::snapshot`], to create wallets: the vault need not exist yet.
    ///
    /// # Errors
    /// A vault that cannot be read.
    pub fn snapshot_for_new(&self) -> Result<Snapshot<'_>, WalletError> {
        match &self.vault {
            Some(path) if !path.exists() => Ok(Snapshot::new(self, None)),
            _ => self.snapshot(),
        }
    }

    pub(super) fn has_place(&self) -> Result<(), WalletError> {
        if self.keystore_dir.is_none() && self.vault.is_none() {
            return Err(WalletError::NoPlace);
        }
        Ok(())
    }

    /// The wallets of the folder: files `<name>.json` that are not hidden.
    pub(super) fn file_names(&self) -> Result<Vec<String>, WalletError> {
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

    /// What is known of every wallet, by name. A damaged file is an error in the list and hides no
    /// other wallet.
    ///
    /// # Errors
    /// A folder or vault that cannot be read.
    pub fn list(&self) -> Result<Vec<Result<WalletInfo, WalletError>>, WalletError> {
        let wallets = self.snapshot()?.wallets()?;
        Ok(wallets
            .into_iter()
            .map(|wallet| wallet.map(|wallet| wallet.info().clone()))
            .collect())
    }

    pub(super) fn path_of(&self, name: &str) -> Option<PathBuf> {
        self.keystore_dir
            .as_ref()
            .map(|dir| dir.join(format!("{name}.json")))
    }

    pub(super) fn read_file(&self, name: &str) -> Result<Wallet, WalletError> {
        let path = self.path_of(name).ok_or(WalletError::NoPlace)?;
        let keystore = read_keystore(&path)?;
        let info = WalletInfo {
            name: name.to_owned(),
            address: keystore.address().cloned().or_else(|| {
                let key = keystore.public_key()?;
                Some(Address::from_public_key(key))
            }),
            stated_name: keystore.name().map(str::to_owned),
            public_key: keystore.public_key().copied(),
            key_type: keystore.key_type(),
            form: keystore.form().to_string(),
            path,
        };
        Ok(Wallet {
            info: Arc::new(info),
            sealed: Sealed::File(Arc::new(keystore)),
        })
    }

    /// The wallet of that name.
    ///
    /// # Errors
    /// [`WalletError::Missing`], [`WalletError::Ambiguous`], [`WalletError::Damaged`],
    /// [`WalletError::Io`].
    pub fn find(&self, name: &str) -> Result<Wallet, WalletError> {
        self.has_place()?;
        self.snapshot()?.find(name)
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

    /// The path for a new wallet of that name, if the name is free.
    ///
    /// # Errors
    /// As [`Snapshot::free_path`], and a vault that cannot be read.
    pub fn free_path(&self, name: &WalletName) -> Result<PathBuf, WalletError> {
        self.snapshot_for_new()?.free_path(name)
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
        self.snapshot_for_new()?.add(name, seed, address, password)
    }

    /// Renames a wallet. A wallet in a vault is sealed again, which needs the password.
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
        self.find(to.as_str()).map(|wallet| wallet.info().clone())
    }

    /// Deletes a wallet; its secret is lost unless there is a copy. Deleting from a vault needs the
    /// password. A damaged file can be deleted, too.
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
                Ok(info.path.clone())
            }
            Ok(Wallet {
                info,
                sealed: Sealed::Vault(_),
            }) => {
                vault::change(&info.path, &password()?, |entries| {
                    entries.retain(|(entry, _, _)| entry != name);
                    Ok(())
                })?;
                Ok(info.path.clone())
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

/// Reads a keystore file of any form; needs no password.
///
/// # Errors
/// [`WalletError::Io`], [`WalletError::Damaged`].
pub fn read_keystore(path: &Path) -> Result<Keystore, WalletError> {
    let bytes = files::read(path, LARGEST)?;
    Keystore::parse(&bytes).map_err(|error| files::damaged(path, &error.to_string()))
}

/// The text of a keystore in the form of AITBC's command line, made now.
///
/// # Errors
/// [`WalletError::ShortPassword`], [`WalletError::Crypto`].
pub fn encrypt_cli(
    name: &str,
    seed: &Seed,
    address: &Address,
    password: &Password,
) -> Result<String, WalletError> {
    // As AITBC's command line writes it.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S+00:00Z");
    let text = Keystore::encrypt_cli(seed, password, address, name, &now.to_string());
    text.map_err(|error| match error {
        KeystoreError::ShortPassword => WalletError::ShortPassword(error),
        error => WalletError::Crypto {
            doing: "encrypting the wallet",
            reason: error.to_string(),
        },
    })
}

/// The text of a keystore in the form of AITBC's clients.
///
/// # Errors
/// [`WalletError::Crypto`].
pub fn encrypt(seed: &Seed, address: &Address, password: &Password) -> Result<String, WalletError> {
    Keystore::encrypt(seed, password, address).map_err(|error| WalletError::Crypto {
        doing: "encrypting the wallet",
        reason: error.to_string(),
    })
}
