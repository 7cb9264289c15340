//! Messages of a hosted agent, read from the store.

use std::collections::BTreeSet;
use std::path::Path;

use agentry_core::rows::OutboxState;
use agentry_protocol::Address;
use agentry_store::Reader;
use agentry_store::list::talk::{self, Place, Selection, Told};

use super::super::super::Failure;
use super::super::said::{self, Said};
use super::line::Line;
use super::{Direction, MessagesArgs, POLL, Printer};

/// Reads the messages of one hosted agent.
pub(super) struct Hosted<'a> {
    pub(super) db: &'a Reader,
    pub(super) store: &'a Path,
    pub(super) args: &'a MessagesArgs,
    pub(super) address: &'a Address,
    pub(super) from: Option<&'a Address>,
    pub(super) printer: &'a Printer<'a>,
}

/// The last row that was read.
#[derive(Default)]
struct Read {
    inbox: i64,
    forged: i64,
    outbox: i64,
    /// Sent messages that are not in a block yet: each is printed once it is mined or has failed.
    open: BTreeSet<i64>,
}

impl Hosted<'_> {
    pub(super) async fn print(&self) -> Result<(), Failure> {
        let mut read = Read::default();
        let limit = usize::try_from(self.args.limit).unwrap_or(usize::MAX);
        let mut version = talk::version(self.db)?;
        // One more than asked for shows whether there are older ones.
        let mut told = self.unprinted(&mut read, limit.saturating_add(1))?;
        let older = told.len().saturating_sub(limit);
        let mut lines = Vec::new();
        for one in told.split_off(older) {
            lines.push(self.line(one).await);
        }
        self.printer.list(lines, older > 0, self.address)?;
        if !self.args.follow {
            return Ok(());
        }
        loop {
            loop {
                tokio::time::sleep(POLL).await;
                let now = talk::version(self.db)?;
                if now != version {
                    version = now;
                    break;
                }
            }
            for one in self.unprinted(&mut read, usize::MAX)? {
                self.printer.line(self.line(one).await)?;
            }
        }
    }

    /// Messages not yet printed, in the chain's order.
    fn unprinted(&self, read: &mut Read, limit: usize) -> Result<Vec<Told>, Failure> {
        // All queries read the same snapshot.
        let _moment = self.db.snapshot()?;
        let selection = |after| Selection {
            agent: self.address.to_string(),
            from: self.from.map(ToString::to_string),
            thread: self.args.thread.as_ref().map(ToString::to_string),
            after,
            limit,
        };
        let mut told = Vec::new();
        let highest = |rows: &[Told], before: i64| {
            rows.iter().fold(before, |highest, one| match one.place {
                Place::Inbox(row) | Place::Forged(row) | Place::Outbox(row) => highest.max(row),
            })
        };
        if self.args.forged {
            let rows = talk::forged(self.db, &selection(read.forged))?;
            read.forged = highest(&rows, read.forged);
            told.extend(rows);
        } else if self.args.direction() != Direction::Sent {
            let rows = talk::received(self.db, &selection(read.inbox))?;
            read.inbox = highest(&rows, read.inbox);
            told.extend(rows);
        }
        // A message from somebody else was not sent by this agent.
        let ours = self.from.is_none_or(|from| from == self.address);
        if !self.args.forged && ours && self.args.direction() != Direction::Received {
            let mut rows = talk::sent(self.db, &selection(read.outbox))?;
            read.outbox = highest(&rows, read.outbox);
            for row in &read.open {
                rows.extend(talk::sent_at(self.db, *row)?);
            }
            read.open.clear();
            if self.args.follow {
                rows.retain(|one| {
                    let settled = is_settled(one);
                    if let (Place::Outbox(row), false) = (one.place, settled) {
                        read.open.insert(row);
                    }
                    settled
                });
            }
            told.extend(rows);
        }
        told.sort_by_key(Told::turn);
        Ok(told)
    }

    async fn line(&self, told: Told) -> Line {
        let mut said = told.payload.as_ref().map(Said::read);
        if let (Some(said), Place::Inbox(row)) = (&mut said, told.place)
            && said.sealed
        {
            let opened = said::opened(self.store, row).await;
            said.open(opened.as_ref().map_err(String::as_str));
        }
        Line::of_store(told, said)
    }
}

/// Whether a sent message is in a block or has failed.
fn is_settled(told: &Told) -> bool {
    let settled = [OutboxState::Mined, OutboxState::Final, OutboxState::Failed];
    settled.iter().any(|state| told.state == state.as_str())
}
