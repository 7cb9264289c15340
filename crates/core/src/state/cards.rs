//! The directory: announcements and withdrawals of cards.
//!
//! The latest row of each address counts: the one with the highest (height, id). Earlier rows are
//! kept until a later one is final, so that a reorganisation restores the earlier card. A
//! withdrawal is a row without a card. Expired rows are kept for another 30 days: an older
//! announcement that is read later, from a part of the chain that was not read before, must not
//! count again.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use agentry_protocol::command::CARD_MAX_AHEAD_MS;
use agentry_protocol::{Address, BlockHeight, Timestamp};

use super::row::{Card, card};
use super::{State, next};
use crate::commit::{CardSeen, Changes};

/// The maximum number of addresses in the directory.
const MAX_ADDRESSES: u64 = 100_000;

impl State {
    /// Stores the announcement or withdrawal of a card.
    pub(super) fn card_seen(&mut self, seen: &CardSeen, changes: &mut Changes) {
        let by_hash = card::Index::Hash(seen.address.clone(), seen.hash);
        match self
            .cards
            .find(&by_hash)
            .map(|known| (known.id, known.height))
        {
            Some((_, height)) if height == seen.height => return,
            Some((id, _)) => {
                self.cards.change(&id, |row| row.height = seen.height);
            }
            None => {
                let id = next(&mut self.facts.ids.card);
                self.add_card(Card {
                    id,
                    address: seen.address.clone(),
                    hash: seen.hash,
                    height: seen.height,
                    public_key: seen.public_key,
                    card: seen.card.clone(),
                    expires_at: seen.expires_at,
                    announced_at: seen.announced_at,
                });
            }
        }
        // Only the last announcement in a block counts: a reorganisation removes all of them or
        // none. This also keeps the order right when a block is read again whose earlier rows are
        // gone.
        let at = |id| card::Index::Latest(seen.address.clone(), seen.height, id);
        let others: Vec<_> = self
            .cards
            .range(at(i64::MIN)..=at(i64::MAX))
            .filter(|row| row.hash != seen.hash)
            .map(|row| row.id)
            .collect();
        for id in others {
            self.remove_card(id);
        }
        changes.cards.push(seen.address.clone());
    }

    /// Deletes the announcements in withdrawn blocks.
    pub(super) fn withdraw_cards(&mut self, above: Option<BlockHeight>, changes: &mut Changes) {
        if self.facts.cards_final > above {
            self.facts.cards_final = above;
        }
        self.delete_cards(above, BlockHeight(u64::MAX), changes);
    }

    /// Deletes the announcements above one block, in blocks up to another.
    pub(super) fn delete_cards(
        &mut self,
        above: Option<BlockHeight>,
        through: BlockHeight,
        changes: &mut Changes,
    ) {
        for id in self.cards_between(above, through) {
            let removed = self.remove_card(id);
            changes.cards.extend(removed.map(|row| row.address.clone()));
        }
    }

    fn cards_between(&self, above: Option<BlockHeight>, through: BlockHeight) -> Vec<i64> {
        let from = card::Index::Height(above.unwrap_or_default(), i64::MIN);
        let to = card::Index::Height(through, i64::MAX);
        if from > to {
            return Vec::new();
        }
        self.cards
            .range(from..=to)
            .filter(|row| Some(row.height) > above)
            .map(|row| row.id)
            .collect()
    }

    /// Deletes the announcements that were superseded in a final block, and those beyond the limit.
    /// Called after announcements were added or blocks became final.
    ///
    /// It deletes no superseded announcement during a directory backfill: what the backfill has
    /// read may be stored after the head has moved on, and may come from a fork that no longer
    /// exists. The backfill notices that only when it reads on, and until then nothing that it read
    /// counts as final.
    pub(super) fn tidy_cards(&mut self, through: Option<BlockHeight>, changes: &mut Changes) {
        let known_final = self.facts.cards_final;
        // The backfill knows of fewer final blocks than the watcher of the head.
        let through = through.max(known_final);
        if let (Some(through), None) = (through, &self.facts.directory_progress) {
            let became_final = self.cards_between(known_final, through);
            if !became_final.is_empty() {
                self.facts.cards_final = Some(through);
            }
            let became_final = became_final.iter().filter_map(|id| self.cards.get(id));
            let addresses: BTreeSet<Address> = became_final
                .map(|row| row.address.clone())
                .chain(changes.cards.iter().cloned())
                .collect();
            for address in addresses {
                self.delete_superseded(&address, through);
            }
        }
        if !changes.cards.is_empty() {
            self.bound_cards(MAX_ADDRESSES, changes);
        }
    }

    /// Deletes the announcements of an address before the latest final one.
    fn delete_superseded(&mut self, address: &Address, through: BlockHeight) {
        let at = |height, id| card::Index::Latest(address.clone(), height, id);
        let up_to = at(BlockHeight(0), i64::MIN)..=at(through, i64::MAX);
        let mut older: Vec<_> = self.cards.range(up_to).map(|row| row.id).collect();
        older.pop();
        for id in older {
            self.remove_card(id);
        }
    }

    /// Deletes the addresses whose latest announcements are the oldest, so that at most `most`
    /// stay.
    fn bound_cards(&mut self, most: u64, changes: &mut Changes) {
        let excess = self.facts.addresses.saturating_sub(most);
        if excess == 0 {
            return;
        }
        let at = |height, id| card::Index::Height(BlockHeight(height), id);
        let all = self.cards.range(at(0, i64::MIN)..=at(u64::MAX, i64::MAX));
        let latest = |address: &Address| self.cards.last(Self::announcements(address));
        let oldest: Vec<_> = all
            .filter(|row| latest(&row.address).is_some_and(|latest| latest.id == row.id))
            .map(|row| row.address.clone())
            .take(usize::try_from(excess).unwrap_or(usize::MAX))
            .collect();
        for address in oldest {
            let all = self.cards.range(Self::announcements(&address));
            let all: Vec<_> = all.map(|row| row.id).collect();
            for id in all {
                self.remove_card(id);
            }
            changes.cards.push(address);
        }
    }

    /// All announcements of an address, the latest one last.
    fn announcements(address: &Address) -> RangeInclusive<card::Index> {
        let at = |height, id| card::Index::Latest(address.clone(), BlockHeight(height), id);
        at(0, i64::MIN)..=at(u64::MAX, i64::MAX)
    }

    /// Whether an address has a row in the directory.
    fn has_card(&self, address: &Address) -> bool {
        let mut all = self.cards.range(Self::announcements(address));
        all.next().is_some()
    }

    fn add_card(&mut self, card: Card) {
        if !self.has_card(&card.address) {
            self.facts.addresses += 1;
        }
        self.cards.put(card);
    }

    fn remove_card(&mut self, id: i64) -> Option<Arc<Card>> {
        let removed = self.cards.remove(&id)?;
        if !self.has_card(&removed.address) {
            self.facts.addresses -= 1;
        }
        Some(removed)
    }

    /// Deletes rows that expired so long ago that no earlier announcement can still count.
    pub(super) fn prune_cards(&mut self, at: Timestamp, changes: &mut Changes) {
        let before = at.minus_ms(CARD_MAX_AHEAD_MS);
        let from = card::Index::Expires(Timestamp::EPOCH, i64::MIN);
        let to = card::Index::Expires(before, i64::MIN);
        let expired: Vec<_> = self
            .cards
            .range(from..to)
            .filter(|row| row.announced_at < before)
            .map(|row| row.id)
            .collect();
        changes.rows += expired.len();
        for id in expired {
            let removed = self.remove_card(id);
            changes.cards.extend(removed.map(|row| row.address.clone()));
        }
    }
}
