//! The formats of the AITBC chain that an agent uses: pure functions and values, no I/O.
//!
//! All input is untrusted: sizes are bounded, no function recurses on the depth of its input, no
//! input causes a panic, and secrets are wiped from memory and never shown.
//!
//! | module | what it holds |
//! |---|---|
//! | [`json`] | canonical JSON exactly as CPython writes it, on a flat arena; exact [`Number`]s |
//! | [`dialect`] | what wallets and nodes have to agree on, as one value |
//! | [`address`] | the two forms of an address, and what a chain may carry instead |
//! | [`key`] | seeds, keys and signatures of both types, verified strictly |
//! | [`hash`] | transaction hashes, message digests and block hashes as types |
//! | [`block`] | chain ids, heights, and the formula of a block's hash |
//! | [`amount`] | amounts, fees, costs and budgets, and the most that can be transferred |
//! | [`nonce`] | the nonces of signed transactions, and the counters of accounts |
//! | [`timestamp`] | points in time |
//! | [`transaction`] | what a wallet signs, what it posts, and what a node keeps |
//! | [`payload`] | how the payload of a transaction is read: command, text or opaque |
//! | [`header`] | the metadata of a message: id, thread, expiry, acknowledgment, key |
//! | [`message`] | payload and header together, read and written; answers |
//! | [`command`] | the commands that agentry knows, typed |
//! | [`authenticity`] | whether a message is from the sender that it names |
//! | [`sealing`] | messages that only their recipient can read |
//! | [`bounded`] | texts whose length is bounded by their type |
//! | [`keystore`] | the keystore file forms of AITBC, read, and some of them written |
//! | [`vault`] | many wallets in one file under one password |
//! | [`password`] | a password that wipes itself |
//! | [`untrusted`] | showing untrusted text safely |
//!
//! The types are also re-exported at the root:
//!
//! ```
//! use agentry_protocol::{Address, Dialect, Json, KeyType, Limits, Number, Seed, SigningKey, StoredTransaction};
//! use agentry_protocol::{Payload, Transaction, Verification};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SigningKey::from_seed(&Seed::generate(KeyType::Ed25519)?);
//! let signed = Transaction {
//!     dialect: Dialect::April2026,
//!     from: Address::from_public_key(&key.public_key()),
//!     to: "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7".parse()?,
//!     amount: Number::from(0),
//!     fee: Number::from(10),
//!     nonce: Number::from(1_775_819_657_114_u64),
//!     payload: Json::string("ping"),
//!     chain_id: "ait-devnet".parse()?,
//! }
//! .sign(&key);
//!
//! // What a node keeps of the posted body, and how its reader verifies it.
//! let kept = StoredTransaction::parse(signed.body().as_bytes(), Limits::default())?;
//! assert_eq!(kept.hash(), signed.hash());
//! assert_eq!(kept.verify(&key.public_key()), Verification::Valid);
//! assert!(kept.from.matches(&key.public_key()));
//! assert_eq!(Payload::read(&kept.message()), Payload::Text("ping".into()));
//! # Ok(())
//! # }
//! ```

pub mod address;
pub mod amount;
pub mod authenticity;
pub mod block;
pub mod bounded;
pub mod command;
pub mod dialect;
pub mod hash;
pub mod header;
pub mod json;
pub mod key;
pub mod keystore;
pub mod message;
pub mod nonce;
pub mod password;
pub mod payload;
pub mod sealing;
pub mod timestamp;
pub mod transaction;
pub mod untrusted;
pub mod vault;

mod crypto;
mod fernet;
mod text;

pub use address::{Address, AddressError, AddressForm};
pub use amount::Amount;
pub use authenticity::{Authenticity, Finding};
pub use block::{BlockHeight, Chain, ChainId, ChainIdError, block_hash, genesis_hash, isoformat};
pub use bounded::AgentName;
pub use command::{CommandError, KnownCommand};
pub use dialect::Dialect;
pub use hash::{BlockHash, ContentHash, HashError, MessageDigest, TransactionHash};
pub use header::{AckRequest, Header, HeaderError, MessageId, Thread, Trace, Trail};
pub use json::{Json, JsonError, JsonRef, Kind, Limits, Number};
pub use key::{KeyError, KeyType, PublicKey, Seed, Signature, SignatureError, SigningKey};
pub use keystore::{Keystore, KeystoreError, KeystoreForm};
pub use message::{Envelope, Identity, compose};
pub use nonce::Nonce;
pub use password::Password;
pub use payload::{Command, Payload};
pub use sealing::{DecryptionKey, EncryptionKey};
pub use timestamp::Timestamp;
pub use transaction::{
    SignedTransaction, StoredTransaction, Transaction, TransactionError, Verification,
};
pub use vault::{Vault, VaultEntry, VaultError, VaultKey};
