//! The transactions that hosted wallets send, and what is known about their delivery.

use agentry_core::rows::{AgentId, InboxId, OutboxId, OutboxState, ReceiptState};
use agentry_core::state::row::outbox::{Index, Outgoing, Signed, Tracking};
use agentry_protocol::{
    Address, Amount, BlockHash, BlockHeight, MessageDigest, Nonce, TransactionHash,
};
use rusqlite::Result;

use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};
use crate::watch::RowChange;

impl Stored for Outgoing {
    const TABLE: &'static str = "outbox";
    const OPEN: &'static str = "(state = 'queued' OR state = 'prepared' OR state = 'accepted')";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "agent",
        "origin",
        "inbox",
        "recipient",
        "amount",
        "fee",
        "state",
        "reason",
        "payload",
        "body",
        "nonce",
        "hash",
        "digest",
        "since",
        "posts",
        "posted_at",
        "height",
        "block_hash",
        "created_at",
        "prepared_at",
        "accepted_at",
        "mined_at",
        "settled_at",
        "message_id",
        "resend_of",
        "expires_at",
        "budget_day",
        "held",
        "unapproved",
        "standing",
        "sender",
    ];

    fn told(before: Option<&Self>, after: Option<&Self>) -> Option<RowChange> {
        let after = after?;
        let is_same = before.is_some_and(|before| before.state == after.state);
        (!is_same).then(|| RowChange::Transaction {
            id: after.id,
            agent: after.agent,
            to: after.recipient.clone(),
            transaction: after.signed.as_ref().map(|signed| signed.hash),
            resend_of: after.resend_of,
            state: after.state,
            reason: after.reason.clone(),
        })
    }

    fn read_key(columns: &mut Columns<'_>) -> Result<OutboxId> {
        columns.id().map(OutboxId)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: OutboxId(columns.id()?),
            agent: AgentId(columns.id()?),
            origin: columns.string()?,
            inbox: columns.optional_id()?.map(InboxId),
            recipient: columns.text(Address::from_chain)?,
            amount: Amount(columns.whole()?),
            fee: Amount(columns.whole()?),
            state: columns.word(OutboxState::parse)?,
            reason: columns.optional_string()?,
            payload: columns.payload()?,
            signed: signed(columns)?,
            since: columns.optional_whole()?.map(BlockHeight),
            posts: columns.count()?,
            posted_at: columns.optional_time()?,
            block: {
                let height = columns.optional_whole()?.map(BlockHeight);
                let hash = columns.optional_bytes(BlockHash::from_bytes)?;
                height.map(|height| (height, hash))
            },
            created_at: columns.time()?,
            prepared_at: columns.optional_time()?,
            accepted_at: columns.optional_time()?,
            mined_at: columns.optional_time()?,
            settled_at: columns.optional_time()?,
            message_id: columns.message_id()?,
            resend_of: columns.optional_id()?.map(OutboxId),
            expires_at: columns.optional_time()?,
            budget_day: columns.optional_whole()?,
            held: columns.flag()?,
            unapproved: columns.flag()?,
            cause: columns.cause()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        let (standing, sender) = self.cause.words();
        let signed = self.signed.as_ref();
        let block_hash = self.block.as_ref().and_then(|(_, hash)| hash.as_ref());
        vec![
            self.id.0.into(),
            self.agent.0.into(),
            self.origin.as_str().into(),
            self.inbox.map(|inbox| inbox.0).into(),
            self.recipient.as_str().into(),
            Cell::whole(self.amount.0),
            Cell::whole(self.fee.0),
            self.state.as_str().into(),
            self.reason.as_deref().into(),
            match signed {
                Some(_) => Cell::Null,
                None => Cell::Text(self.payload.to_compact().into()),
            },
            signed.map(|signed| &*signed.body).into(),
            signed.map(|signed| signed.nonce).into(),
            Cell::some(signed, |signed| Cell::Bytes(signed.hash.as_bytes())),
            Cell::some(signed, |signed| Cell::Bytes(signed.digest.as_bytes())),
            Cell::some(self.since, |height| Cell::whole(height.0)),
            self.posts.into(),
            self.posted_at.into(),
            Cell::some(self.block, |(height, _)| Cell::whole(height.0)),
            Cell::some(block_hash, |hash| Cell::Bytes(hash.as_bytes())),
            self.created_at.into(),
            self.prepared_at.into(),
            self.accepted_at.into(),
            self.mined_at.into(),
            self.settled_at.into(),
            Cell::some(self.message_id.as_ref(), |id| Cell::Bytes(id.as_bytes())),
            self.resend_of.map(|outbox| outbox.0).into(),
            self.expires_at.into(),
            Cell::some(self.budget_day, Cell::whole),
            Cell::flag(self.held),
            Cell::flag(self.unapproved),
            standing.into(),
            sender.into(),
        ]
    }

    fn key_cells(key: &OutboxId) -> Vec<Cell<'_>> {
        vec![key.0.into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (condition, columns, cells): (_, &'static [&'static str], _) = match entry {
            Index::Origin(origin) => ("", &["origin"], vec![origin.as_str().into()]),
            Index::Hash(hash, id) => (
                "hash IS NOT NULL",
                &["hash", "id"],
                vec![Cell::Bytes(hash.as_bytes()), id.0.into()],
            ),
            Index::Digest(digest) => (
                "digest IS NOT NULL",
                &["digest"],
                vec![Cell::Bytes(digest.as_bytes())],
            ),
            Index::Queued(..) | Index::Held(..) | Index::Expiry(..) | Index::Open(..) => {
                return None;
            }
            Index::Nonce(agent, nonce, id) => (
                "state IN ('mined', 'final')",
                &["agent", "nonce", "id"],
                vec![agent.0.into(), (*nonce).into(), id.0.into()],
            ),
            Index::Final(height, id) => (
                "state = 'final'",
                &["height", "id"],
                vec![Cell::whole(height.0), id.0.into()],
            ),
            Index::Mined(height, id) => (
                "state = 'mined'",
                &["height", "id"],
                vec![Cell::whole(height.0), id.0.into()],
            ),
            Index::Since(height, id) => (
                "since IS NOT NULL AND state <> 'final'",
                &["since", "id"],
                vec![Cell::whole(height.0), id.0.into()],
            ),
            Index::Inbox(inbox, id) => (
                "inbox IS NOT NULL",
                &["inbox", "id"],
                vec![inbox.0.into(), id.0.into()],
            ),
            Index::Resend(first, id) => (
                "resend_of IS NOT NULL",
                &["resend_of", "id"],
                vec![first.0.into(), id.0.into()],
            ),
            Index::Failed(agent, id) => (
                "state = 'failed'",
                &["agent", "id"],
                vec![agent.0.into(), id.0.into()],
            ),
            Index::Settled(at, id) => (
                "settled_at IS NOT NULL",
                &["settled_at", "id"],
                vec![(*at).into(), id.0.into()],
            ),
            Index::Prunable(agent, standing, sender, state, at, id) => (
                "settled_at IS NOT NULL",
                &["agent", "standing", "sender", "state", "settled_at", "id"],
                vec![
                    agent.0.into(),
                    (*standing).into(),
                    sender.as_str().into(),
                    (*state).into(),
                    (*at).into(),
                    id.0.into(),
                ],
            ),
        };
        Some(Entry::new(condition, columns, cells))
    }
}

/// The columns of what was signed: all of them are set, or none.
fn signed(columns: &mut Columns<'_>) -> Result<Option<Signed>> {
    let body = columns.optional_string()?;
    let nonce = columns.optional_whole()?.map(Nonce::new);
    let hash = columns.optional_bytes(TransactionHash::from_bytes)?;
    let digest = columns.optional_bytes(MessageDigest::from_bytes)?;
    match (nonce, hash, digest, body) {
        (None, None, None, None) => Ok(None),
        (Some(nonce), Some(hash), Some(digest), Some(body)) => Ok(Some(Signed {
            nonce,
            hash,
            digest,
            body: body.into(),
        })),
        _ => Err(columns.wrong("does not belong to the body, the nonce and the hash")),
    }
}

impl Stored for Tracking {
    const TABLE: &'static str = "receipt";
    const OPEN: &'static str = "due_at IS NOT NULL";
    const COLUMNS: &'static [&'static str] = &[
        "outbox",
        "agent",
        "behaviour",
        "label",
        "wanted",
        "state",
        "detail",
        "within_ms",
        "resends_left",
        "mined",
        "due_at",
        "changed_at",
    ];

    fn told(before: Option<&Self>, after: Option<&Self>) -> Option<RowChange> {
        let (before, after) = (before?, after?);
        (before.state != after.state).then(|| RowChange::Receipt {
            outbox: after.outbox,
            agent: after.agent,
            state: after.state,
            detail: after.detail.clone(),
        })
    }

    fn read_key(columns: &mut Columns<'_>) -> Result<OutboxId> {
        columns.id().map(OutboxId)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            outbox: OutboxId(columns.id()?),
            agent: AgentId(columns.id()?),
            behaviour: columns.optional_string()?,
            label: columns.optional_string()?,
            wanted: columns.optional_string()?,
            state: columns.word(ReceiptState::parse)?,
            detail: columns.optional_string()?,
            within_ms: columns.whole()?,
            resends_left: columns.count()?,
            mined: columns.flag()?,
            due_at: columns.optional_time()?,
            changed_at: columns.time()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            self.outbox.0.into(),
            self.agent.0.into(),
            self.behaviour.as_deref().into(),
            self.label.as_deref().into(),
            self.wanted.as_deref().into(),
            self.state.as_str().into(),
            self.detail.as_deref().into(),
            Cell::whole(self.within_ms),
            self.resends_left.into(),
            Cell::flag(self.mined),
            self.due_at.into(),
            self.changed_at.into(),
        ]
    }

    fn key_cells(key: &OutboxId) -> Vec<Cell<'_>> {
        vec![key.0.into()]
    }

    fn entry(_: &Self::Index) -> Option<Entry<'_>> {
        None
    }
}
