//! Wallets.

use agentry_protocol::{Address, Dialect, PublicKey, Seed, SigningKey};

/// A wallet.
#[derive(Debug)]
pub struct Wallet {
    /// What it signs with.
    pub key: SigningKey,
    /// What others verify with.
    pub public_key: PublicKey,
    /// Its canonical address.
    pub address: Address,
}

impl Wallet {
    /// The wallet of a seed.
    pub fn new(seed: &Seed) -> Self {
        let key = SigningKey::from_seed(seed);
        let public_key = key.public_key();
        Self {
            key,
            public_key,
            address: Address::from_public_key(&public_key),
        }
    }
}

/// The seed of a wallet of a chain: this byte, 32 times.
///
/// # Panics
/// The byte is 0 or 255, which makes no key of secp256k1.
pub fn seed_in(dialect: Dialect, byte: u8) -> Seed {
    Seed::new([byte; 32], dialect.key_type()).unwrap_or_else(|error| panic!("seed {byte}: {error}"))
}

/// The key of the wallet of [`seed_in`].
///
/// # Panics
/// As [`seed_in`].
pub fn key_in(dialect: Dialect, byte: u8) -> SigningKey {
    SigningKey::from_seed(&seed_in(dialect, byte))
}

/// The address of the wallet of [`seed_in`].
///
/// # Panics
/// As [`seed_in`].
pub fn address_in(dialect: Dialect, byte: u8) -> Address {
    Address::from_public_key(&key_in(dialect, byte).public_key())
}

/// The key of the wallet whose seed is this byte, 32 times.
pub fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

/// The address of the wallet whose seed is this byte, 32 times.
pub fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}
