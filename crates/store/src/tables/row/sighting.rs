//! The transactions of hosted wallets on the chain that the outbox does not know.

use agentry_core::rows::{AgentId, OutboxId};
use agentry_core::state::row::sighting::{Index, Sighting};
use agentry_protocol::{
    Address, Amount, BlockHash, BlockHeight, ContentHash, MessageDigest, Nonce, TransactionHash,
};
use rusqlite::Result;

use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};

impl Stored for Sighting {
    const TABLE: &'static str = "sighting";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "agent",
        "digest",
        "hash",
        "nonce",
        "recipient",
        "amount",
        "fee",
        "kind",
        "content",
        "message_id",
        "re",
        "body",
        "height",
        "block_hash",
        "mark",
        "seen_at",
    ];

    fn read_key(columns: &mut Columns<'_>) -> Result<i64> {
        columns.id()
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: columns.id()?,
            agent: AgentId(columns.id()?),
            digest: columns.bytes(MessageDigest::from_bytes)?,
            hash: columns.bytes(TransactionHash::from_bytes)?,
            nonce: columns.optional_whole()?.map(Nonce::new),
            recipient: columns.text(Address::from_chain)?,
            amount: columns.optional_whole()?.map(Amount),
            fee: columns.optional_whole()?.map(Amount),
            kind: columns.string()?,
            content: columns.bytes(ContentHash::from_bytes)?,
            message_id: columns.message_id()?,
            re: columns.optional_bytes(TransactionHash::from_bytes)?,
            body: columns.string()?.into(),
            block: columns.optional_whole()?.map(BlockHeight),
            block_hash: columns.optional_bytes(BlockHash::from_bytes)?,
            mark: columns.optional_id()?.map(OutboxId),
            seen_at: columns.time()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        // A column is NULL if it cannot hold the number.
        let number =
            |value: Option<Amount>| value.and_then(|value| i64::try_from(value.0).ok()).into();
        vec![
            self.id.into(),
            self.agent.0.into(),
            Cell::Bytes(self.digest.as_bytes()),
            Cell::Bytes(self.hash.as_bytes()),
            self.nonce.into(),
            self.recipient.as_str().into(),
            number(self.amount),
            number(self.fee),
            self.kind.as_str().into(),
            Cell::Bytes(self.content.as_bytes()),
            Cell::some(self.message_id.as_ref(), |id| Cell::Bytes(id.as_bytes())),
            Cell::some(self.re.as_ref(), |re| Cell::Bytes(re.as_bytes())),
            (&*self.body).into(),
            Cell::some(self.block, |height| Cell::whole(height.0)),
            Cell::some(self.block_hash.as_ref(), |hash| {
                Cell::Bytes(hash.as_bytes())
            }),
            self.mark.map(|outbox| outbox.0).into(),
            self.seen_at.into(),
        ]
    }

    fn key_cells(key: &i64) -> Vec<Cell<'_>> {
        vec![(*key).into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (condition, columns, cells): (_, &'static [&'static str], _) = match entry {
            Index::Digest(agent, digest) => (
                "",
                &["agent", "digest"],
                vec![agent.0.into(), Cell::Bytes(digest.as_bytes())],
            ),
            Index::Hash(agent, hash, id) => (
                "",
                &["agent", "hash", "id"],
                vec![agent.0.into(), Cell::Bytes(hash.as_bytes()), (*id).into()],
            ),
            Index::Height(height, id) => (
                "",
                &["height", "id"],
                vec![Cell::whole(height.0), (*id).into()],
            ),
            Index::Nonce(agent, nonce, id) => (
                "height IS NOT NULL AND nonce IS NOT NULL",
                &["agent", "nonce", "id"],
                vec![agent.0.into(), (*nonce).into(), (*id).into()],
            ),
            Index::Seen(at, id) => ("", &["seen_at", "id"], vec![(*at).into(), (*id).into()]),
            Index::Message(agent, message, id) => (
                "message_id IS NOT NULL",
                &["agent", "message_id", "id"],
                vec![
                    agent.0.into(),
                    Cell::Bytes(message.as_bytes()),
                    (*id).into(),
                ],
            ),
            Index::Recipient(agent, recipient, id) => (
                "mark IS NOT NULL",
                &["agent", "recipient", "id"],
                vec![agent.0.into(), recipient.as_str().into(), (*id).into()],
            ),
            Index::Re(agent, re, id) => (
                "re IS NOT NULL AND mark IS NOT NULL",
                &["agent", "re", "id"],
                vec![agent.0.into(), Cell::Bytes(re.as_bytes()), (*id).into()],
            ),
        };
        Some(Entry::new(condition, columns, cells))
    }
}
