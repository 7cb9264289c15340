//! Signer: private keys.
//!
//! Only the signer holds private keys. It checks the password when the runtime starts, unlocks a
//! wallet at its first use, zeroes unlocked keys when they are dropped, and signs nothing but
//! transactions of a hosted wallet with the configured chain id, and documents, which are never
//! transactions. It runs on its own threads: a
//! signature costs some ten microseconds, a key derivation some ten milliseconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use actix::prelude::*;
use agentry_core::AgentId;
use agentry_protocol::sealing::{self, Binding, OpenError};
use agentry_protocol::{
    Address, Authenticity, ChainId, DecryptionKey, EncryptionKey, KnownCommand, Password, Payload,
    PublicKey, SignedTransaction, SigningKey, StoredTransaction, Transaction,
};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::wallet::{OpenVault, Wallet, WalletError};

/// The number of threads that sign.
pub const THREADS: usize = 2;

/// A request to sign transactions.
#[derive(Debug)]
pub struct Sign {
    /// The row of the signing wallet.
    pub agent: AgentId,
    /// The transactions.
    pub transactions: Vec<Transaction>,
}

impl Message for Sign {
    type Result = Result<Vec<SignedTransaction>, SignError>;
}

/// A request for a wallet's public keys.
#[derive(Clone, Copy, Debug)]
pub struct PublicKeys {
    /// The row of the wallet.
    pub agent: AgentId,
}

impl Message for PublicKeys {
    /// A wallet's public keys: one to verify its signatures, and one to seal messages to it.
    type Result = Result<(PublicKey, EncryptionKey), SignError>;
}

impl PublicKeys {
    /// Requests the keys from the signer.
    ///
    /// # Errors
    /// The wallet cannot be unlocked; the signer has ended.
    pub async fn of(
        agent: AgentId,
        signer: &Recipient<Self>,
    ) -> Result<(PublicKey, EncryptionKey), SignError> {
        match signer.send(Self { agent }).await {
            Ok(keys) => keys,
            Err(MailboxError::Closed | MailboxError::Timeout) => Err(SignError::NotHosted(agent)),
        }
    }
}

/// A request to open a sealed message to a wallet.
#[derive(Debug)]
pub struct OpenSealed {
    /// The row of the wallet.
    pub agent: AgentId,
    /// The transaction that carried it.
    pub stored: Box<StoredTransaction>,
    /// What is known of its sender.
    pub authenticity: Authenticity,
}

impl Message for OpenSealed {
    /// The content; or why it does not open, which a retry does not change.
    type Result = Result<Result<Payload, String>, SignError>;
}

/// A request to sign a document as a wallet: a detached JWS (RFC 7515) with EdDSA
/// (RFC 8037) or, of a secp256k1 key, ES256K (RFC 8812). What is
/// signed begins with a header in base64, so it is never a transaction.
#[derive(Debug)]
pub struct SignDocument {
    /// The row of the wallet.
    pub agent: AgentId,
    /// The document.
    pub document: Vec<u8>,
}

/// A detached JWS: its header and its signature, in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSignature {
    /// The protected header.
    pub protected: String,
    /// The signature.
    pub signature: String,
}

impl Message for SignDocument {
    type Result = Result<DocumentSignature, SignError>;
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The wallet is not hosted here.
    #[error("agent {0} is not hosted here")]
    NotHosted(AgentId),
    /// The transaction is from another wallet.
    #[error("the transaction is from {from}, the wallet is {wallet}")]
    OtherWallet {
        /// The sender that the transaction states.
        from: String,
        /// The wallet whose key would sign.
        wallet: String,
    },
    /// The transaction is for another chain.
    #[error("the transaction is for chain {found}, this runtime signs only for {configured}")]
    OtherChain {
        /// The chain id that the transaction states.
        found: String,
        /// The configured one.
        configured: String,
    },
    /// The wallet could not be unlocked.
    #[error("unlocking wallet {wallet}: {source}")]
    Locked {
        /// The wallet.
        wallet: String,
        /// The reason.
        source: WalletError,
    },
    /// The key is not that of the wallet's address.
    #[error("wallet {wallet}: its key belongs to an address other than {address}")]
    WrongKey {
        /// The wallet.
        wallet: String,
        /// The address it states.
        address: String,
    },
}

/// A wallet as it is stored on disk.
#[derive(Debug)]
pub enum LockedWallet {
    /// A keystore file, and its password.
    File(Wallet, Arc<Password>),
    /// An entry of a vault. The vault's password was checked; its seeds are sealed.
    Vault(Arc<OpenVault>),
}

/// A wallet's place in the keyring: locked until it is used for the first time.
#[derive(Debug)]
pub struct Slot {
    wallet: Arc<str>,
    address: Address,
    locked: LockedWallet,
    key: Mutex<Option<Arc<Unlocked>>>,
}

/// The keys of a wallet. Both zero themselves when dropped.
struct Unlocked {
    signing: SigningKey,
    decryption: DecryptionKey,
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unlocked")
    }
}

/// The wallets that may sign, locked until first used. The set changes while the signer runs.
#[derive(Debug)]
pub struct Keyring {
    chain_id: ChainId,
    slots: RwLock<HashMap<AgentId, Arc<Slot>>>,
}

impl Keyring {
    /// An empty keyring for a chain.
    pub fn new(chain_id: ChainId) -> Self {
        Self {
            chain_id,
            slots: RwLock::default(),
        }
    }

    /// Adds a wallet, replacing its agent's previous one.
    pub fn put(&self, agent: AgentId, slot: Arc<Slot>) {
        self.slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(agent, slot);
    }

    /// Removes a wallet: it signs no more, and its key is zeroed once nothing uses it.
    pub fn remove(&self, agent: AgentId) {
        self.slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&agent);
    }

    fn slot(&self, agent: AgentId) -> Result<Arc<Slot>, SignError> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .get(&agent)
            .cloned()
            .ok_or(SignError::NotHosted(agent))
    }

    /// Signs transactions of one wallet; all or none.
    ///
    /// # Errors
    /// The first reason why one cannot be signed.
    pub fn sign(
        &self,
        agent: AgentId,
        transactions: Vec<Transaction>,
    ) -> Result<Vec<SignedTransaction>, SignError> {
        let slot = self.slot(agent)?;
        for transaction in &transactions {
            if transaction.from != slot.address {
                return Err(SignError::OtherWallet {
                    from: transaction.from.to_string(),
                    wallet: slot.address.to_string(),
                });
            }
            if transaction.chain_id != self.chain_id {
                return Err(SignError::OtherChain {
                    found: transaction.chain_id.to_string(),
                    configured: self.chain_id.to_string(),
                });
            }
        }
        let key = slot.unlock()?;
        Ok(transactions
            .into_iter()
            .map(|transaction| transaction.sign(&key.signing))
            .collect())
    }

    /// Signs a document as a wallet.
    ///
    /// # Errors
    /// The wallet cannot be unlocked.
    pub fn sign_document(
        &self,
        agent: AgentId,
        document: &[u8],
    ) -> Result<DocumentSignature, SignError> {
        self.slot(agent)?.sign_document(document)
    }

    /// The public keys of a wallet, which is unlocked to get them.
    ///
    /// # Errors
    /// The wallet cannot be unlocked.
    pub fn public_keys(&self, agent: AgentId) -> Result<(PublicKey, EncryptionKey), SignError> {
        let slot = self.slot(agent)?;
        let key = slot.unlock()?;
        Ok((key.signing.public_key(), key.decryption.encryption_key()))
    }

    /// The content of a sealed message to a wallet; the inner error says why it does not open.
    ///
    /// # Errors
    /// The wallet cannot be unlocked.
    pub fn open(
        &self,
        agent: AgentId,
        stored: &StoredTransaction,
        authenticity: Authenticity,
    ) -> Result<Result<Payload, String>, SignError> {
        let slot = self.slot(agent)?;
        let Payload::Command(command) = stored.envelope().payload else {
            return Ok(Err("it is no sealed message".to_owned()));
        };
        let sealed = match KnownCommand::read(&command) {
            Ok(Some(KnownCommand::Sealed(sealed))) => sealed,
            Ok(_) => return Ok(Err("it is no sealed message".to_owned())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        // Before the wallet is unlocked: anyone can send an unverified message.
        if authenticity != Authenticity::Verified {
            return Ok(Err(OpenError::NotVerified(authenticity).to_string()));
        }
        let key = slot.unlock()?;
        let opened = sealing::open(
            &sealed,
            &key.decryption,
            Binding::from(stored),
            authenticity,
        );
        Ok(opened.map_err(|error| error.to_string()))
    }
}

impl Slot {
    /// A wallet at its address, locked.
    pub fn new(wallet: Arc<str>, address: Address, locked: LockedWallet) -> Self {
        Self {
            wallet,
            address,
            locked,
            key: Mutex::new(None),
        }
    }

    /// Whether it is a file of its own, whose password is checked by unlocking it.
    pub const fn is_file(&self) -> bool {
        matches!(self.locked, LockedWallet::File(..))
    }

    /// The wallet's public key; the wallet is unlocked to get it.
    ///
    /// # Errors
    /// It cannot be unlocked.
    pub fn public_key(&self) -> Result<PublicKey, SignError> {
        Ok(self.unlock()?.signing.public_key())
    }

    /// Signs a document as the wallet. The key's id in the header is the wallet's address.
    ///
    /// # Errors
    /// It cannot be unlocked.
    pub fn sign_document(&self, document: &[u8]) -> Result<DocumentSignature, SignError> {
        let key = self.unlock()?;
        let algorithm = key.signing.jws_algorithm();
        let header = serde_json::json!({ "alg": algorithm, "kid": self.address, "typ": "JOSE" });
        let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        let text = format!("{protected}.{}", BASE64_URL_SAFE_NO_PAD.encode(document));
        let signature = key.signing.sign_jws(text.as_bytes());
        Ok(DocumentSignature {
            protected,
            signature: BASE64_URL_SAFE_NO_PAD.encode(signature),
        })
    }

    fn unlock(&self) -> Result<Arc<Unlocked>, SignError> {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = key.as_ref() {
            return Ok(Arc::clone(key));
        }
        let failed = |source| SignError::Locked {
            wallet: self.wallet.to_string(),
            source,
        };
        let seed = match &self.locked {
            LockedWallet::File(wallet, password) => wallet.unlock(password).map_err(failed)?.seed,
            LockedWallet::Vault(vault) => vault.seed(&self.wallet).map_err(failed)?,
        };
        let unlocked = Arc::new(Unlocked {
            signing: SigningKey::from_seed(&seed),
            decryption: DecryptionKey::from_seed(&seed),
        });
        if !self.address.matches(&unlocked.signing.public_key()) {
            return Err(SignError::WrongKey {
                wallet: self.wallet.to_string(),
                address: self.address.to_string(),
            });
        }
        *key = Some(Arc::clone(&unlocked));
        Ok(unlocked)
    }
}

/// The actor; several of them share the keyring.
#[derive(Clone, Debug)]
pub struct Signer {
    keyring: Arc<Keyring>,
}

impl Signer {
    /// Starts the signer's threads.
    pub fn start(keyring: Arc<Keyring>) -> Addr<Self> {
        SyncArbiter::start(THREADS, move || Self {
            keyring: Arc::clone(&keyring),
        })
    }
}

impl Actor for Signer {
    type Context = SyncContext<Self>;
}

impl Handler<Sign> for Signer {
    type Result = Result<Vec<SignedTransaction>, SignError>;

    fn handle(&mut self, sign: Sign, _: &mut Self::Context) -> Self::Result {
        self.keyring.sign(sign.agent, sign.transactions)
    }
}

impl Handler<PublicKeys> for Signer {
    type Result = Result<(PublicKey, EncryptionKey), SignError>;

    fn handle(&mut self, ask: PublicKeys, _: &mut Self::Context) -> Self::Result {
        self.keyring.public_keys(ask.agent)
    }
}

impl Handler<SignDocument> for Signer {
    type Result = MessageResult<SignDocument>;

    fn handle(&mut self, sign: SignDocument, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.keyring.sign_document(sign.agent, &sign.document))
    }
}

impl Handler<OpenSealed> for Signer {
    type Result = Result<Result<Payload, String>, SignError>;

    fn handle(&mut self, open: OpenSealed, _: &mut Self::Context) -> Self::Result {
        self.keyring
            .open(open.agent, &open.stored, open.authenticity)
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::{Dialect, Json, KeyType, Number, Seed};

    use super::*;
    use crate::wallet::WalletStore;

    fn address(byte: u8) -> Address {
        Address::from_public_key(&Seed::from_bytes([byte; 32]).public_key())
    }

    fn transaction(from: u8, chain: &str) -> Transaction {
        Transaction {
            dialect: Dialect::April2026,
            from: address(from),
            to: address(9),
            amount: Number::from(0_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(1_u64),
            payload: Json::string("hello"),
            chain_id: chain.parse().unwrap(),
        }
    }

    /// A keyring for one wallet, of the seed 1.
    fn keyring(dir: &std::path::Path) -> Keyring {
        let store = WalletStore::new(Some(dir.to_owned()), None);
        let password = Password::new("p".into());
        let seed = Seed::from_bytes([1; 32]);
        store
            .add(&"one".parse().unwrap(), &seed, &address(1), &password)
            .unwrap();
        let wallet = store.find("one").unwrap();
        let keyring = Keyring::new("ait-devnet".parse().unwrap());
        let locked = LockedWallet::File(wallet, Arc::new(password));
        let slot = Slot::new("one".into(), address(1), locked);
        keyring.put(AgentId(1), Arc::new(slot));
        keyring
    }

    /// What a wallet of either type signs, whoever has its public key verifies.
    #[test]
    fn documents_are_signed_with_keys_of_both_types() {
        for (key_type, algorithm) in [(KeyType::Ed25519, "EdDSA"), (KeyType::Secp256k1, "ES256K")] {
            let dir = tempfile::tempdir().unwrap();
            let store = WalletStore::new(Some(dir.path().to_owned()), None);
            let password = Password::new("p".into());
            let seed = Seed::new([1; 32], key_type).unwrap();
            let key = seed.public_key();
            let address = Address::from_public_key(&key);
            store
                .add(&"one".parse().unwrap(), &seed, &address, &password)
                .unwrap();
            let locked = LockedWallet::File(store.find("one").unwrap(), Arc::new(password));
            let slot = Slot::new("one".into(), address.clone(), locked);
            let signed = slot.sign_document(b"{}").unwrap();
            let header = BASE64_URL_SAFE_NO_PAD.decode(&signed.protected).unwrap();
            let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
            assert_eq!(header["alg"], algorithm);
            assert_eq!(header["kid"], address.as_str());
            let text = format!(
                "{}.{}",
                signed.protected,
                BASE64_URL_SAFE_NO_PAD.encode("{}")
            );
            let signature = BASE64_URL_SAFE_NO_PAD.decode(&signed.signature).unwrap();
            assert!(key.verify_jws(algorithm, text.as_bytes(), &signature));
            assert!(!key.verify_jws("none", text.as_bytes(), &signature));
            assert!(!key.verify_jws(algorithm, b"other", &signature));
        }
    }

    #[test]
    fn it_signs_for_its_wallet_and_its_chain_alone() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(dir.path());
        let sign = |agent, one| keyring.sign(AgentId(agent), vec![one]);
        assert!(sign(1, transaction(1, "ait-devnet")).is_ok());
        assert!(matches!(
            sign(1, transaction(2, "ait-devnet")),
            Err(SignError::OtherWallet { .. })
        ));
        assert!(matches!(
            sign(1, transaction(1, "ait-mainnet")),
            Err(SignError::OtherChain { .. })
        ));
        assert!(matches!(
            sign(2, transaction(1, "ait-devnet")),
            Err(SignError::NotHosted(AgentId(2)))
        ));
        // A transaction that may not be signed prevents signing the others.
        let both = vec![transaction(1, "ait-devnet"), transaction(2, "ait-devnet")];
        assert!(keyring.sign(AgentId(1), both).is_err());
    }
}
