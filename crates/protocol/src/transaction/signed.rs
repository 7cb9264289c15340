//! A signed transaction, as a wallet posts it.

use std::borrow::Cow;

use super::{StoredTransaction, Transaction, TransactionError};
use crate::dialect::Dialect;
use crate::hash::{MessageDigest, TransactionHash};
use crate::json::{Json, JsonRef, Limits};
use crate::key::{PublicKey, Signature, SigningKey};

/// A transaction with its signature, which is stored before the first POST and then posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTransaction {
    transaction: Transaction,
    /// None: it was read from a chain that keeps none.
    signature: Option<Signature>,
    /// None: the dialect leaves it out of bodies, because it follows from the signature.
    public_key: Option<PublicKey>,
}

impl SignedTransaction {
    pub(crate) fn new(
        transaction: Transaction,
        signature: Option<Signature>,
        public_key: Option<PublicKey>,
    ) -> Self {
        Self {
            transaction,
            signature,
            public_key,
        }
    }

    /// Signs as one older client of April 2026 does, over seven keys: for compatibility with nodes and
    /// for tests.
    pub fn sign_seven_keys(transaction: Transaction, key: &SigningKey) -> Self {
        let signature = key.sign(transaction.signing_text_seven_keys().as_bytes());
        Self::new(transaction, Some(signature), Some(key.public_key()))
    }

    /// The transaction that was signed.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The signature. None: the transaction was read from a chain that keeps none.
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// The key that verifies the signature, if it is known or follows from it.
    pub fn public_key(&self) -> Option<PublicKey> {
        let recovered = || {
            let signature = self.signature?;
            signature.recover(self.transaction.signing_text().as_bytes())
        };
        self.public_key.or_else(recovered)
    }

    /// The message that it carries.
    pub fn message(&self) -> Cow<'_, Json> {
        self.transaction.dialect.message(&self.transaction.payload)
    }

    /// The message as it was drafted; see [`Dialect::draft`].
    pub fn draft(&self) -> Cow<'_, Json> {
        self.transaction.dialect.draft(&self.transaction.payload)
    }

    /// The message in a body that [`body`](Self::body) wrote, as it was drafted; `None` if it has no
    /// payload.
    pub fn draft_in(body: JsonRef<'_>) -> Option<Json> {
        let payload = body.get("payload")?.to_json();
        Some(Dialect::of_own(body).draft(&payload).into_owned())
    }

    /// The body to post; see [`Dialect::body`].
    pub fn body(&self) -> String {
        self.transaction.dialect.body(self)
    }

    /// Reads back a body that [`body`](Self::body) wrote; see [`Dialect::read_body`]. The signature is
    /// read, not verified.
    ///
    /// # Errors
    /// [`TransactionError`] names the key that is missing or wrong.
    pub fn from_body(text: &[u8], limits: Limits) -> Result<Self, TransactionError> {
        let json = Json::parse(text, limits)?;
        Dialect::of_own(json.root()).read_body(json.root())
    }

    /// Restores the posted transaction from the form that a node keeps, and the public key if it is
    /// known. The signature is read, not verified.
    ///
    /// # Errors
    /// [`TransactionError`]: the chain id or the signature is not as a wallet writes it, or one is missing
    /// that the chain keeps.
    pub fn from_stored(
        stored: &StoredTransaction,
        public_key: Option<PublicKey>,
    ) -> Result<Self, TransactionError> {
        let signature = stored.signature.as_deref();
        if signature.is_none() && stored.dialect.keeps_signatures() {
            return Err(TransactionError::Missing { field: "signature" });
        }
        let transaction = Transaction {
            dialect: stored.dialect,
            from: stored.from.clone(),
            to: stored.to.clone(),
            amount: stored.amount.clone(),
            fee: stored.fee.clone(),
            nonce: stored.nonce.clone(),
            payload: stored.payload.clone(),
            chain_id: stored.chain_id.parse()?,
        };
        let signature = match signature.map(str::parse) {
            // Spelled by somebody else: the node knows the transaction by other bytes than ours.
            Some(Err(_)) if !stored.dialect.keeps_signatures() => None,
            signature => signature.transpose()?,
        };
        Ok(Self::new(transaction, signature, public_key))
    }

    /// The form of it that a node keeps.
    pub fn stored(&self) -> StoredTransaction {
        let kind = self.transaction.fields().kind.to_owned().into();
        let Transaction {
            dialect,
            from,
            to,
            amount,
            fee,
            nonce,
            payload,
            chain_id,
        } = self.transaction.clone();
        StoredTransaction {
            dialect,
            kind,
            chain_id: chain_id.as_str().to_owned(),
            from,
            to,
            amount,
            fee,
            nonce,
            payload,
            signature: self.signature.map(|signature| signature.to_string()),
        }
    }

    /// The hash by which a node identifies it. Without a signature, no node knows it by this one.
    pub fn hash(&self) -> TransactionHash {
        self.stored().hash()
    }

    /// The identity of the message; see [`Transaction::digest`].
    pub fn digest(&self) -> MessageDigest {
        self.transaction.digest()
    }
}
