//! AITBC's keystore files: one wallet's seed, most often under a password.
//!
//! | form | where the secret is | key | cipher |
//! |---|---|---|---|
//! | client | `crypto`, with `public_key` | PBKDF2 | AES-256-GCM |
//! | node | `crypto`, without `public_key` | PBKDF2 | AES-256-GCM |
//! | fernet | `crypto` or the top level | SHA-256(password ‖ salt) | Fernet |
//! | pbkdf2-fernet | `private_key`, `crypto` or the top level | PBKDF2, else as fernet | Fernet |
//! | cli | as pbkdf2-fernet, with `wallet_id` | PBKDF2 | Fernet |
//! | cli-plain | `private_key`, 64 digits, with `wallet_id` | none | none |
//! | proposer | `private_key`, base64url(salt of 16 bytes ‖ token) | PBKDF2, 100,000 rounds | Fernet |
//! | proposer-plain | `private_key`, 64 digits | none | none |
//!
//! The first four are of April 2026; the command line and the nodes of August 2026 write the others, and
//! the first two with `keytype` `secp256k1`. The envelopes of AES-256-GCM may have a `mac`, which is
//! checked: HMAC-SHA256 under the first half of the derived key, over its second half and the
//! ciphertext. Nodes of April write `TODO` there.
//!
//! The type of the key is `keytype`, else that of `public_key`. A file that states neither has a
//! secp256k1 key if its address begins with `0x` or it is a proposer's, and an Ed25519 key else.
//!
//! A file states its address and its public key; a seed that does not belong to them is never
//! returned. AITBC's fernet tool writes any name that it was given in the place of the address:
//! such a file states no address, and the address follows from its key.
//!
//! The secret of a plain file is readable by whoever can read the file: any password opens it.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::address::Address;
use crate::crypto::{self, DerivedKey, NONCE, SEALED};
use crate::fernet::Token;
use crate::key::{KeyType, PublicKey, Seed, read_seed_hex};
use crate::password::Password;

mod error;
mod parse;
mod write;

pub use error::KeystoreError;

/// Most rounds of PBKDF2 that a file may ask for: about ten seconds of work. A file that asks for
/// more is damaged, or made to keep its reader busy.
pub const MAX_ROUNDS: u32 = 10_000_000;

/// Longest keystore file, in bytes. A real one has about 700.
pub const MAX_BYTES: usize = 64 << 10;

/// One keystore file, parsed and checked, still locked.
#[derive(Clone)]
pub struct Keystore {
    form: KeystoreForm,
    key_type: KeyType,
    address: Option<Address>,
    name: Option<String>,
    public_key: Option<PublicKey>,
    secret: Secret,
}

/// The form of a keystore file, one of AITBC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeystoreForm {
    /// The form that client wallets and [`Keystore::encrypt`] write.
    Client,
    /// The form that the node's key tool writes.
    Node,
    /// SHA-256 of password and salt, and Fernet.
    Fernet,
    /// The same, with its fields at the top level.
    FernetFlat,
    /// PBKDF2 and Fernet.
    Pbkdf2Fernet,
    /// The same, as AITBC's command line and [`Keystore::encrypt_cli`] write it.
    Cli,
    /// What AITBC's command line writes without a password: the secret is not encrypted.
    CliPlain,
    /// The file of a node's proposer: PBKDF2 and Fernet in one text.
    Proposer,
    /// The same without a password: the secret is not encrypted.
    ProposerPlain,
}

impl KeystoreForm {
    /// Whether the secret is not encrypted.
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::CliPlain | Self::ProposerPlain)
    }
}

impl fmt::Display for KeystoreForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Fernet => "fernet",
            Self::FernetFlat => "fernet-flat",
            Self::Pbkdf2Fernet => "pbkdf2-fernet",
            Self::Cli => "cli",
            Self::CliPlain => "cli-plain",
            Self::Proposer => "proposer",
            Self::ProposerPlain => "proposer-plain",
        })
    }
}

/// The seed, by cipher.
#[derive(Clone)]
enum Secret {
    /// PBKDF2 and AES-256-GCM.
    Gcm {
        salt: Vec<u8>,
        rounds: u32,
        nonce: [u8; NONCE],
        sealed: [u8; SEALED],
        /// A second check of the ciphertext.
        mac: Option<[u8; 32]>,
    },
    /// Not encrypted, and checked to be a seed of the type.
    Plain(Zeroizing<[u8; 32]>),
    /// Fernet; without rounds, the key is SHA-256 of password and salt.
    Fernet {
        salt: Vec<u8>,
        rounds: Option<u32>,
        token: Token,
    },
}

impl Keystore {
    /// Reads a file of any form. Nothing is decrypted yet.
    ///
    /// # Errors
    /// Damage that can be detected without the password is reported with the name of its field.
    pub fn parse(text: &[u8]) -> Result<Self, KeystoreError> {
        parse::parse(text)
    }

    /// The form of the file.
    pub fn form(&self) -> KeystoreForm {
        self.form
    }

    /// The type of its key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The address that the file states.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// The name that the file states in the place of an address, if it is not an address.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The public key that the file states.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// Decrypts the seed; with a plain form, the password is ignored. At 100,000 rounds it takes about 30 ms of computing, so it should not run
    /// on a thread that serves others.
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassword`], also if the ciphertext, salt or nonce was altered, which
    /// cannot be distinguished; [`KeystoreError::Mismatch`] if the seed does not belong to the
    /// stated address or public key.
    pub fn unlock(&self, password: &Password) -> Result<Seed, KeystoreError> {
        password.open(
            |password| self.unlock_with(password),
            KeystoreError::is_wrong_password,
        )
    }

    fn unlock_with(&self, password: &Password) -> Result<Seed, KeystoreError> {
        let seed = match &self.secret {
            Secret::Gcm {
                salt,
                rounds,
                nonce,
                sealed,
                mac,
            } => {
                let key = crypto::pbkdf2(password, salt, *rounds);
                if let Some(mac) = mac
                    && !crypto::envelope_mac_is_right(&key, sealed, mac)
                {
                    return Err(KeystoreError::WrongPassword);
                }
                crypto::open(&key, nonce, &[], sealed, self.key_type)
                    .ok_or(KeystoreError::WrongPassword)?
            }
            Secret::Plain(bytes) => {
                Seed::new(**bytes, self.key_type).map_err(|_| KeystoreError::Malformed {
                    field: "private_key",
                    reason: "is not a key of its type",
                })?
            }
            Secret::Fernet {
                salt,
                rounds,
                token,
            } => {
                let strong = rounds
                    .and_then(|rounds| token.open(&crypto::pbkdf2(password, salt, rounds)).ok());
                // AITBC's own readers use the plain hash for the name pbkdf2-fernet.
                let digits = match strong {
                    Some(digits) => digits,
                    None => token
                        .open(&plain_hash(password, salt))
                        .map_err(|_| KeystoreError::WrongPassword)?,
                };
                read_seed_hex(&digits, self.key_type).ok_or(KeystoreError::Malformed {
                    field: "ciphertext",
                    reason: "does not hold a seed of 64 hexadecimal digits",
                })?
            }
        };
        self.check(&seed)?;
        Ok(seed)
    }

    /// Encrypts a seed as AITBC's client wallets do, with a random salt and nonce. Returns the text
    /// of a file that they can read.
    ///
    /// # Errors
    /// [`KeystoreError::Mismatch`] when the address is not the seed's; [`KeystoreError::Random`].
    pub fn encrypt(
        seed: &Seed,
        password: &Password,
        address: &Address,
    ) -> Result<String, KeystoreError> {
        write::encrypt(seed, password, address)
    }

    /// Encrypts a seed as AITBC's command line does, which looks for `<wallet_id>.json` in
    /// `~/.aitbc/wallets`. `created_at` is shown by it, and ISO 8601. Returns the text of the file.
    ///
    /// # Errors
    /// [`KeystoreError::ShortPassword`]; [`KeystoreError::Mismatch`] when the address is not the seed's;
    /// [`KeystoreError::Random`].
    pub fn encrypt_cli(
        seed: &Seed,
        password: &Password,
        address: &Address,
        wallet_id: &str,
        created_at: &str,
    ) -> Result<String, KeystoreError> {
        write::encrypt_cli(seed, password, address, wallet_id, created_at)
    }

    fn check(&self, seed: &Seed) -> Result<(), KeystoreError> {
        let key = seed.public_key();
        if self.public_key.is_some_and(|stated| stated != key) {
            return Err(KeystoreError::Mismatch {
                field: "public_key",
            });
        }
        match &self.address {
            Some(address) if !address.matches(&key) => {
                Err(KeystoreError::Mismatch { field: "address" })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Keystore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keystore")
            .field("form", &self.form)
            .field("address", &self.address)
            .field("name", &self.name)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// The fernet form's key: SHA-256 of password and salt.
fn plain_hash(password: &Password, salt: &[u8]) -> DerivedKey {
    let mut hasher = Sha256::new();
    hasher.update(password.as_bytes());
    hasher.update(salt);
    let mut key = Zeroizing::new([0; 32]);
    hasher.finalize_into((&mut *key).into());
    key
}
