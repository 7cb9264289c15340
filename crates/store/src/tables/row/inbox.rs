//! The messages to hosted wallets.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentry_core::Standing;
use agentry_core::rows::{AgentId, InboxId, InboxState};
use agentry_core::state::row::inbox::{Forged, ForgedIndex, Index, Message};
use agentry_protocol::{Address, BlockHeight, MessageDigest, TransactionHash};
use rusqlite::{Connection, Result, params};

use crate::read::authenticity;
use crate::tables::archive::{Entry, Stored};
use crate::tables::columns::{Cell, Columns};
use crate::watch::RowChange;

/// A text that is shared, not parsed: it was checked when it was stored.
fn shared(text: &str) -> std::result::Result<Arc<str>, std::convert::Infallible> {
    Ok(text.into())
}

impl Stored for Message {
    const TABLE: &'static str = "inbox";
    const OPEN: &'static str = "state = 'waiting'";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "agent",
        "digest",
        "hash",
        "sender",
        "height",
        "stored",
        "authenticity",
        "standing",
        "state",
        "seq",
        "attempts",
        "due_at",
        "reason",
        "seen_at",
        "settled_at",
        "identity",
        "re",
        "thread",
        "expires_at",
        "priority",
        "rejected",
    ];
    const MORE: &'static str =
        ", (SELECT json_group_array(behaviour) FROM progress WHERE progress.inbox = inbox.id)";

    fn told(before: Option<&Self>, after: Option<&Self>) -> Option<RowChange> {
        let after = after?;
        let is_same = before.is_some_and(|before| before.state == after.state);
        (!is_same).then(|| RowChange::Message {
            id: after.id,
            agent: after.agent,
            from: after.sender.clone(),
            authenticity: after.authenticity,
            transaction: after.hash,
            re: after.re,
            thread: after.thread.clone(),
            state: after.state,
            is_new: before.is_none(),
            reason: after.reason.clone(),
        })
    }

    fn read_key(columns: &mut Columns<'_>) -> Result<InboxId> {
        columns.id().map(InboxId)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: InboxId(columns.id()?),
            agent: AgentId(columns.id()?),
            digest: columns.bytes(MessageDigest::from_bytes)?,
            hash: columns.bytes(TransactionHash::from_bytes)?,
            sender: columns.text(Address::from_chain)?,
            height: columns.optional_whole()?.map(BlockHeight),
            stored: columns.text(shared)?,
            authenticity: columns.word(authenticity)?,
            standing: columns.word(Standing::parse)?,
            state: columns.word(InboxState::parse)?,
            seq: columns.id()?,
            attempts: columns.count()?,
            due_at: columns.time()?,
            reason: columns.optional_string()?,
            seen_at: columns.time()?,
            settled_at: columns.optional_time()?,
            identity: columns.string()?,
            re: columns.optional_bytes(TransactionHash::from_bytes)?,
            thread: columns.optional_string()?,
            expires_at: columns.optional_time()?,
            urgent: columns.flag()?,
            rejected: columns.optional_string()?,
            done: columns.text(|done| serde_json::from_str::<BTreeSet<String>>(done))?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            self.id.0.into(),
            self.agent.0.into(),
            Cell::Bytes(self.digest.as_bytes()),
            Cell::Bytes(self.hash.as_bytes()),
            self.sender.as_str().into(),
            Cell::some(self.height, |height| Cell::whole(height.0)),
            (&*self.stored).into(),
            self.authenticity.as_str().into(),
            self.standing.as_str().into(),
            self.state.as_str().into(),
            self.seq.into(),
            self.attempts.into(),
            self.due_at.into(),
            self.reason.as_deref().into(),
            self.seen_at.into(),
            self.settled_at.into(),
            self.identity.as_str().into(),
            Cell::some(self.re.as_ref(), |re| Cell::Bytes(re.as_bytes())),
            self.thread.as_deref().into(),
            self.expires_at.into(),
            Cell::flag(self.urgent),
            self.rejected.as_deref().into(),
        ]
    }

    fn key_cells(key: &InboxId) -> Vec<Cell<'_>> {
        vec![key.0.into()]
    }

    fn entry(entry: &Index) -> Option<Entry<'_>> {
        let (condition, columns, cells): (_, &'static [&'static str], _) = match entry {
            Index::Identity(agent, sender, identity) => (
                "",
                &["agent", "sender", "identity"],
                vec![
                    agent.0.into(),
                    sender.as_str().into(),
                    identity.as_str().into(),
                ],
            ),
            Index::Digest(agent, digest) => (
                "",
                &["agent", "digest"],
                vec![agent.0.into(), Cell::Bytes(digest.as_bytes())],
            ),
            Index::Height(height, id) => (
                "",
                &["height", "id"],
                vec![Cell::whole(height.0), id.0.into()],
            ),
            Index::Arrived(agent, id) => (
                "state = 'waiting'",
                &["agent", "id"],
                vec![agent.0.into(), id.0.into()],
            ),
            Index::Dead(agent, id) => (
                "state = 'dead'",
                &["agent", "id"],
                vec![agent.0.into(), id.0.into()],
            ),
            Index::Settled(at, id) => (
                "settled_at IS NOT NULL",
                &["settled_at", "id"],
                vec![(*at).into(), id.0.into()],
            ),
            Index::Prunable(agent, standing, sender, at, id) => (
                "settled_at IS NOT NULL AND stored <> ''",
                &["agent", "standing", "sender", "settled_at", "id"],
                vec![
                    agent.0.into(),
                    (*standing).into(),
                    sender.as_str().into(),
                    (*at).into(),
                    id.0.into(),
                ],
            ),
            Index::Returned(seq, id) => (
                "height IS NOT NULL AND seq % 1048576 <> 0",
                &["seq", "id"],
                vec![(*seq).into(), id.0.into()],
            ),
            Index::Waiting(..) | Index::Untried(..) | Index::Answers(..) => return None,
        };
        Some(Entry::new(condition, columns, cells))
    }

    /// The behaviours that have handled it are in a table of their own.
    fn write_more(db: &Connection, before: Option<&Self>, after: Option<&Self>) -> Result<()> {
        let Some(after) = after else {
            // SQLite deletes them with the message.
            return Ok(());
        };
        let none = BTreeSet::new();
        let before = before.map_or(&none, |before| &before.done);
        for behaviour in before.difference(&after.done) {
            db.prepare_cached("DELETE FROM progress WHERE inbox = ?1 AND behaviour = ?2")?
                .execute(params![after.id.0, behaviour])?;
        }
        for behaviour in after.done.difference(before) {
            db.prepare_cached("INSERT INTO progress (inbox, behaviour) VALUES (?1, ?2)")?
                .execute(params![after.id.0, behaviour])?;
        }
        Ok(())
    }
}

impl Stored for Forged {
    const TABLE: &'static str = "forged";
    const COLUMNS: &'static [&'static str] = &[
        "agent", "hash", "sender", "height", "stored", "seen_at", "rowid",
    ];
    const KEYS: usize = 2;

    fn read_key(columns: &mut Columns<'_>) -> Result<Self::Key> {
        Ok((
            AgentId(columns.id()?),
            columns.bytes(TransactionHash::from_bytes)?,
        ))
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            agent: AgentId(columns.id()?),
            hash: columns.bytes(TransactionHash::from_bytes)?,
            sender: columns.text(Address::from_chain)?,
            height: BlockHeight(columns.whole()?),
            stored: columns.text(shared)?,
            seen_at: columns.time()?,
            order: columns.id()?,
        })
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            self.agent.0.into(),
            Cell::Bytes(self.hash.as_bytes()),
            self.sender.as_str().into(),
            Cell::whole(self.height.0),
            (&*self.stored).into(),
            self.seen_at.into(),
            self.order.into(),
        ]
    }

    fn key_cells((agent, hash): &(AgentId, TransactionHash)) -> Vec<Cell<'_>> {
        vec![agent.0.into(), Cell::Bytes(hash.as_bytes())]
    }

    fn entry(entry: &ForgedIndex) -> Option<Entry<'_>> {
        let (columns, cells): (&'static [&'static str], _) = match entry {
            ForgedIndex::Seen(at, order) => {
                (&["seen_at", "rowid"], vec![(*at).into(), (*order).into()])
            }
            ForgedIndex::Oldest(agent, at, order) => (
                &["agent", "seen_at", "rowid"],
                vec![agent.0.into(), (*at).into(), (*order).into()],
            ),
        };
        Some(Entry::new("", columns, cells))
    }
}
