//! Many wallets in one file, under one password.
//!
//! Ten thousand keystore files would take ten thousand key derivations to open. A vault takes one,
//! PBKDF2-HMAC-SHA256 of 600,000 rounds, and then AES-256-GCM for each seed at its first use. A
//! seed is sealed with its name, address and public key as associated data: an entry that was
//! altered, or swapped with another, does not open.
//!
//! ```json
//! {"agentry_vault": 1,
//!  "kdf": {"name": "pbkdf2-hmac-sha256", "rounds": 600000, "salt": "…32 bytes, hex…"},
//!  "check": {"nonce": "…", "tag": "…"},
//!  "wallets": [{"name": "…", "address": "…", "public_key": "…", "nonce": "…", "sealed": "…"}]}
//! ```
//!
//! The type of a wallet's key follows from its public key: 64 digits are Ed25519, 66 are secp256k1
//! (compressed). One vault may hold wallets of both types.
//!
//! `check` is the AES-GCM tag of an empty text: it distinguishes a wrong password from an empty
//! vault. Names, addresses and public keys are readable without the password, and the removal of an
//! entry is not detected.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::address::Address;
use crate::crypto::{self, DerivedKey, NONCE, NoRandom, SEALED, TAG};
use crate::json::Json;
use crate::key::{PublicKey, Seed};
use crate::password::Password;

mod error;
mod format;

pub use error::VaultError;

/// Rounds of PBKDF2 for a new vault: the number that OWASP's password storage cheat sheet
/// recommends for PBKDF2-HMAC-SHA256.
pub const ROUNDS: u32 = 600_000;
/// Most rounds that a vault may ask for.
pub const MAX_ROUNDS: u32 = crate::keystore::MAX_ROUNDS;
/// Most wallets in a vault.
pub const MAX_WALLETS: usize = 100_000;
/// Longest vault file, in bytes: room for [`MAX_WALLETS`] entries with names of any length.
pub const MAX_BYTES: usize = 128 << 20;
/// Longest name of a wallet, in bytes.
pub const MAX_NAME: usize = 128;

/// The associated data of the check value.
const CHECK: &[u8] = b"agentry vault 1 check";

/// A file of wallets, locked.
#[derive(Clone)]
pub struct Vault {
    rounds: u32,
    salt: [u8; 32],
    check_nonce: [u8; NONCE],
    check_tag: [u8; TAG],
    entries: Vec<VaultEntry>,
    by_name: HashMap<Arc<str>, usize>,
}

/// One wallet of a vault, locked.
#[derive(Clone, PartialEq, Eq)]
pub struct VaultEntry {
    name: Arc<str>,
    address: Address,
    public_key: PublicKey,
    nonce: [u8; NONCE],
    sealed: [u8; SEALED],
}

/// The key that opens the wallets of one vault. Wiped when dropped, never shown.
pub struct VaultKey(DerivedKey);

impl fmt::Debug for VaultKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VaultKey(..)")
    }
}

impl VaultEntry {
    /// The wallet's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The wallet's address, in the form in which it was packed.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The associated data that is authenticated with the seed, in an unambiguous encoding.
    fn associated(name: &str, address: &Address, public_key: &PublicKey) -> String {
        Json::array([
            Json::string("agentry vault 1 wallet"),
            Json::string(name),
            Json::string(address.as_str()),
            Json::string(public_key.to_string()),
        ])
        .to_compact()
    }
}

impl fmt::Debug for VaultEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VaultEntry")
            .field("name", &self.name)
            .field("address", &self.address)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Reads a vault's text. Nothing is decrypted, and no key derived.
    ///
    /// # Errors
    /// Damage that can be detected without the password is reported.
    pub fn parse(text: &[u8]) -> Result<Self, VaultError> {
        format::parse(text)
    }

    /// Packs wallets into a new vault, with a new salt. It takes about 200 ms of computing.
    ///
    /// # Errors
    /// A name is not valid or occurs twice, an address does not belong to its seed, there are more
    /// than [`MAX_WALLETS`], or the operating system gave no random bytes.
    pub fn pack(
        entries: impl IntoIterator<Item = (String, Address, Seed)>,
        password: &Password,
    ) -> Result<Self, VaultError> {
        Self::pack_with_rounds(entries, password, ROUNDS)
    }

    /// [`Vault::pack`] with another number of rounds, 1 to [`MAX_ROUNDS`]. Fewer than [`ROUNDS`] are
    /// for tests, and weaken the protection of the password proportionally.
    ///
    /// # Errors
    /// As [`Vault::pack`], and [`VaultError::Rounds`].
    #[doc(hidden)]
    pub fn pack_with_rounds(
        entries: impl IntoIterator<Item = (String, Address, Seed)>,
        password: &Password,
        rounds: u32,
    ) -> Result<Self, VaultError> {
        if !(1..=MAX_ROUNDS).contains(&rounds) {
            return Err(VaultError::Rounds);
        }
        let salt = random()?;
        let check_nonce = random()?;
        let key = crypto::pbkdf2(password, &salt, rounds);
        let check_tag = crypto::tag(&key, &check_nonce, CHECK).ok_or(VaultError::Seal)?;
        let mut vault = Self {
            rounds,
            salt,
            check_nonce,
            check_tag,
            entries: Vec::new(),
            by_name: HashMap::new(),
        };
        for (name, address, seed) in entries {
            let public_key = seed.public_key();
            if !address.matches(&public_key) {
                return Err(VaultError::Mismatch { name });
            }
            // 96 random bits are new under this key: it seals at most 100,000 times.
            let nonce = random()?;
            let associated = VaultEntry::associated(&name, &address, &public_key);
            let sealed =
                crypto::seal(&key, &nonce, associated.as_bytes(), &seed).ok_or(VaultError::Seal)?;
            vault.add(VaultEntry {
                name: name.into(),
                address,
                public_key,
                nonce,
                sealed,
            })?;
        }
        Ok(vault)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        format::write(self)
    }

    /// The wallets, in the order in which they were packed.
    pub fn wallets(&self) -> impl Iterator<Item = &VaultEntry> {
        self.entries.iter()
    }

    /// The wallet with a name.
    pub fn get(&self, name: &str) -> Option<&VaultEntry> {
        self.entries.get(*self.by_name.get(name)?)
    }

    /// How many wallets there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no wallets.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Derives the key and checks the password. It takes about 200 ms of computing, so it should
    /// not run on a thread that serves others.
    ///
    /// # Errors
    /// [`VaultError::WrongPassword`], also if the salt, the rounds or the check value was altered.
    pub fn open(&self, password: &Password) -> Result<VaultKey, VaultError> {
        let open = |password: &Password| {
            let key = crypto::pbkdf2(password, &self.salt, self.rounds);
            if crypto::tag_is_right(&key, &self.check_nonce, CHECK, &self.check_tag) {
                Ok(VaultKey(key))
            } else {
                Err(VaultError::WrongPassword)
            }
        };
        password.open(open, |error| *error == VaultError::WrongPassword)
    }

    /// Decrypts one seed.
    ///
    /// # Errors
    /// [`VaultError::Altered`] if the entry was changed after it was packed, or the key is that of
    /// another vault.
    pub fn unseal(&self, entry: &VaultEntry, key: &VaultKey) -> Result<Seed, VaultError> {
        let associated = VaultEntry::associated(&entry.name, &entry.address, &entry.public_key);
        let key_type = entry.public_key.key_type();
        crypto::open(
            &key.0,
            &entry.nonce,
            associated.as_bytes(),
            &entry.sealed,
            key_type,
        )
        .filter(|seed| seed.public_key() == entry.public_key)
        .ok_or_else(|| VaultError::Altered {
            name: entry.name.to_string(),
        })
    }

    fn add(&mut self, entry: VaultEntry) -> Result<(), VaultError> {
        let name = &entry.name;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(VaultError::Name);
        }
        let index = self.entries.len();
        if index >= MAX_WALLETS {
            return Err(VaultError::TooMany);
        }
        if self.by_name.insert(Arc::clone(name), index).is_some() {
            return Err(VaultError::Twice {
                name: name.to_string(),
            });
        }
        self.entries.push(entry);
        Ok(())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Vault")
            .field("rounds", &self.rounds)
            .field("wallets", &self.entries.len())
            .finish_non_exhaustive()
    }
}

fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    crypto::random().map_err(|NoRandom| VaultError::Random)
}
