//! [`Seen`]: messages that were seen pending, with a signature that was right.
//!
//! Where the chain keeps no signatures, that of a transaction can be seen only while it is pending. A
//! message that carries none of its own was sent by its sender if its transaction was seen then, and the
//! signature was verified. What was not seen, or so long ago that it is forgotten, is not verified: the
//! ring forgets in the safe direction only.

use std::collections::{HashSet, VecDeque};

use agentry_protocol::{MessageDigest, StoredTransaction};

/// A ring of the digests of messages that were seen pending and verified. A digest covers sender,
/// recipient, chain, nonce and payload, so it stands for the mined message, too, and for every spelling
/// of its signature.
#[derive(Debug, Clone)]
pub struct Seen {
    capacity: usize,
    digests: HashSet<MessageDigest>,
    /// The oldest first.
    order: VecDeque<MessageDigest>,
}

impl Default for Seen {
    fn default() -> Self {
        Self::new(Self::CAPACITY)
    }
}

impl Seen {
    /// How many messages are remembered by default: what a node mines in more than a minute.
    pub const CAPACITY: usize = 4_096;

    /// An empty ring for this many messages, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            digests: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    /// A transaction is pending. True: its signature is its sender's, now or when it was seen before.
    ///
    /// Where the chain keeps signatures nothing is remembered, and this is always false: there a mined
    /// transaction shows by itself who signed it.
    pub fn see(&mut self, pending: &StoredTransaction) -> bool {
        if pending.dialect.keeps_signatures() {
            return false;
        }
        let digest = pending.digest();
        if self.digests.contains(&digest) {
            return true;
        }
        let signer = pending.recovered();
        if !signer.is_some_and(|key| pending.from.matches(&key)) {
            return false;
        }
        if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
        self.order.push_back(digest);
        self.digests.insert(digest);
        true
    }

    /// Whether this message was seen pending with a signature of its sender.
    #[must_use]
    pub fn has(&self, digest: &MessageDigest) -> bool {
        self.digests.contains(digest)
    }

    /// How many messages are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::{Address, Dialect, Json, KeyType, Limits, Nonce, Seed, SigningKey};
    use agentry_protocol::{Transaction, json::Number};

    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(&Seed::new([byte; 32], KeyType::Secp256k1).unwrap())
    }

    /// A plain message as the mempool shows it.
    fn pending(nonce: u64, signer: &SigningKey) -> StoredTransaction {
        let transaction = Transaction {
            dialect: Dialect::August2026,
            from: Address::from_public_key(&key(1).public_key()),
            to: Address::from_public_key(&key(2).public_key()),
            amount: Number::from(0),
            fee: Number::from(0),
            nonce: Number::from(nonce),
            payload: Json::string("hello"),
            chain_id: "ait-test".parse().unwrap(),
        };
        let body = transaction.sign(signer).body();
        StoredTransaction::read(Dialect::August2026, body.as_bytes(), Limits::default()).unwrap()
    }

    #[test]
    fn a_message_seen_pending_is_known_when_it_is_mined() {
        let mut seen = Seen::new(2);
        let mut first = pending(Nonce::new(0).get(), &key(1));
        assert!(!seen.has(&first.digest()) && seen.is_empty());
        assert!(seen.see(&first) && seen.see(&first));
        assert_eq!(seen.len(), 1);
        // As the chain shows it, and with the signature spelled in another way.
        let spelled = first.signature.take().unwrap();
        assert!(seen.has(&first.digest()));
        first.signature = Some(format!("0x{}", spelled.to_uppercase()));
        assert!(seen.see(&first) && seen.has(&first.digest()));
        // The oldest is forgotten.
        assert!(seen.see(&pending(1, &key(1))) && seen.see(&pending(2, &key(1))));
        assert_eq!(seen.len(), 2);
        assert!(!seen.has(&first.digest()));
    }

    #[test]
    fn what_its_sender_has_not_signed_is_not_remembered() {
        let mut seen = Seen::default();
        let forged = pending(0, &key(3));
        let mut unsigned = pending(0, &key(1));
        unsigned.signature = None;
        let mut changed = pending(0, &key(1));
        changed.payload = Json::string("goodbye");
        for other in [forged, unsigned, changed] {
            assert!(!seen.see(&other), "{other:?}");
        }
        assert!(seen.is_empty());
        assert!(seen.see(&pending(0, &key(1))), "a forgery hides no message");
    }
}
