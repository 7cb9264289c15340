//! Errors of wallets and their files.

use std::io;
use std::path::{Path, PathBuf};

use agentry_protocol::{Dialect, KeyType, KeystoreError};

use super::name::NameError;
use super::password::PasswordError;

/// How many names an error lists before it only counts the rest.
const LISTED: usize = 12;

/// How many names a missing one is compared with: a suggestion must stay cheap when thousands of
/// wallets are missing.
const COMPARED: usize = 1_000;

/// A failed wallet operation. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalletError {
    /// No such wallet.
    #[error("no wallet {name:?} in {place}{hint}")]
    Missing {
        /// The name that was looked for.
        name: String,
        /// Where it was looked for.
        place: String,
        /// The wallets that exist, or what to do.
        hint: String,
    },
    /// The folder and the vault both have a wallet of that name.
    #[error(
        "wallet {name:?} is both in {} and in {}; rename or delete one of the two",
        one.display(), other.display()
    )]
    Ambiguous {
        /// Its name.
        name: String,
        /// One file.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The file exists, and files are never overwritten.
    #[error("{} already exists and is never overwritten; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// The vault has a wallet of that name.
    #[error("the vault {} already has a wallet {name:?}; choose another name", path.display())]
    ExistsInVault {
        /// The vault.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The file is damaged or not a keystore.
    #[error("{} is damaged or not a keystore: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address is not known without the password.
    #[error(
        "the keystore file of wallet {name} {stated}; `agentry wallet show {name} --unlock` derives \
         it from the key; use that address"
    )]
    NoAddress {
        /// The wallet.
        name: String,
        /// What its file states instead, as the end of a sentence.
        stated: String,
    },
    /// The key is of another type than those of the chain's wallets.
    #[error(
        "wallet {name:?} has a key of type {found}, but wallets of a chain of the dialect \
         \"{dialect}\" have {}; use another wallet (`agentry wallet create --key-type {} NAME` makes \
         one), or set `chain.dialect` to that of the chain{}",
        dialect.key_type(), dialect.key_type(), other_dialect(*found)
    )]
    KeyType {
        /// The wallet.
        name: String,
        /// The type of its key.
        found: KeyType,
        /// The configured dialect.
        dialect: Dialect,
    },
    /// A key that is not encrypted, in a file that everyone can read.
    #[error(
        "{} holds a key that is not encrypted, and can be read by every user of this machine (mode \
         {mode:03o}); run `chmod 600 {0}`, and consider the key known", path.display()
    )]
    Public {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The password is wrong.
    #[error("wrong password for {}; give the right one with --password-file, AGENTRY_PASSWORD or at the prompt", listed(.names))]
    WrongPassword {
        /// Which wallets or files; at least one.
        names: Vec<String>,
    },
    /// The password is too short for the form of the file.
    #[error(transparent)]
    ShortPassword(KeystoreError),
    /// The name is not valid for a wallet.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Neither a folder nor a vault is configured.
    #[error(
        "no place for wallets is configured; give --keystore or --vault, or set `wallets.keystore_dir` in agents.toml"
    )]
    NoPlace,
    /// The folder or file cannot be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, for example `reading`.
        doing: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No usable password was given.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Encrypting or creating a key failed.
    #[error("{doing}: {reason}")]
    Crypto {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl WalletError {
    /// A failed file operation.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// No wallet of that name among `known`.
    pub(crate) fn missing(name: &str, place: String, known: &[String]) -> Self {
        let hint = if known.is_empty() {
            "; there are no wallets yet: create one with `agentry wallet create`".to_owned()
        } else {
            let near = known.iter().take(COMPARED).map(String::as_str);
            let meant = crate::config::did_you_mean(name, near);
            format!("{meant}; there are: {}", listed(known))
        };
        Self::Missing {
            name: name.to_owned(),
            place,
            hint,
        }
    }
}

/// The dialect whose wallets have keys of a type, as the end of a message.
fn other_dialect(key_type: KeyType) -> String {
    let fitting = Dialect::ALL
        .into_iter()
        .find(|dialect| dialect.key_type() == key_type);
    fitting.map_or_else(String::new, |dialect| {
        format!(", which for this wallet is \"{dialect}\"")
    })
}

/// Names for a message: the first few, then a count.
fn listed(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED {
        text.push_str(&format!(" and {} more", names.len() - LISTED));
    }
    text
}
