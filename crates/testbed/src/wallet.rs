//! Wallets.

use agentry_protocol::{Address, PublicKey, Seed, SigningKey};

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

/// The key of the wallet whose seed is this byte, 32 times.
pub fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

/// The address of the wallet whose seed is this byte, 32 times.
pub fn address(byte: u8) -> Address {
    Address::from_public_key(&key(byte).public_key())
}
