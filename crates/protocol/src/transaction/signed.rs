//! A signed transaction, as a wallet posts it.

use super::{StoredTransaction, Transaction, TransactionError};
use crate::dialect::DIALECT;
use crate::hash::{MessageDigest, TransactionHash};
use crate::json::{Json, Limits};
use crate::key::{PublicKey, Signature, SigningKey};

/// A transaction with its signature, which is stored before the first POST and then posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTransaction {
    transaction: Transaction,
    signature: Signature,
    public_key: PublicKey,
}

impl SignedTransaction {
    pub(super) fn new(
        transaction: Transaction,
        signature: Signature,
        public_key: PublicKey,
    ) -> Self {
        Self {
            transaction,
            signature,
            public_key,
        }
    }

    /// Signs as the older client does, over seven keys: for compatibility with nodes and for tests.
    pub fn sign_seven_keys(transaction: Transaction, key: &SigningKey) -> Self {
        let signature = key.sign(transaction.signing_text_seven_keys().as_bytes());
        Self::new(transaction, signature, key.public_key())
    }

    /// The transaction that was signed.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The key that verifies the signature.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The body to post: compact canonical JSON of the eight keys, `signature` and `public_key`.
    pub fn body(&self) -> String {
        DIALECT.body(self.transaction.fields(), &self.signature, &self.public_key)
    }

    /// Reads a body back. All ten keys must be there; others are ignored. The signature is read,
    /// not verified: [`StoredTransaction::verify`] does that.
    ///
    /// # Errors
    /// [`TransactionError`] names the key that is missing or wrong.
    pub fn from_body(text: &[u8], limits: Limits) -> Result<Self, TransactionError> {
        let json = Json::parse(text, limits)?;
        let (transaction, signature, public_key) = DIALECT.read_body(json.root())?;
        Ok(Self::new(transaction, signature, public_key))
    }

    /// Restores the posted transaction from the form that a node keeps and the public key, which
    /// the node leaves out. The signature is read, not verified.
    ///
    /// # Errors
    /// [`TransactionError`]: the chain id or the signature is not as a wallet writes it.
    pub fn from_stored(
        stored: &StoredTransaction,
        public_key: PublicKey,
    ) -> Result<Self, TransactionError> {
        let signature = stored.signature.as_deref();
        let signature = signature.ok_or(TransactionError::Missing { field: "signature" })?;
        let transaction = Transaction {
            from: stored.from.clone(),
            to: stored.to.clone(),
            amount: stored.amount.clone(),
            fee: stored.fee.clone(),
            nonce: stored.nonce.clone(),
            payload: stored.payload.clone(),
            chain_id: stored.chain_id.parse()?,
        };
        Ok(Self::new(transaction, signature.parse()?, public_key))
    }

    /// The form of it that a node keeps.
    pub fn stored(&self) -> StoredTransaction {
        let Transaction {
            from,
            to,
            amount,
            fee,
            nonce,
            payload,
            chain_id,
        } = self.transaction.clone();
        StoredTransaction {
            chain_id: chain_id.as_str().to_owned(),
            from,
            to,
            amount,
            fee,
            nonce,
            payload,
            signature: Some(self.signature.to_string()),
        }
    }

    /// The hash by which a node identifies it.
    pub fn hash(&self) -> TransactionHash {
        self.stored().hash()
    }

    /// The identity of the message; see [`Transaction::digest`].
    pub fn digest(&self) -> MessageDigest {
        self.transaction.digest()
    }
}
