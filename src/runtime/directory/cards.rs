//! The cards of a process, which its shards share: each shard reads the same ones from the chain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agentry_protocol::Address;
use agentry_sdk::Card;

/// How many cards that nobody has any more are kept at least, before they are looked for.
const SPARE: usize = 1_024;

/// Cards, each in memory once. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Cards(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    cards: HashMap<Address, Weak<Card>>,
    /// How many there may be until those are looked for that nobody has any more.
    most: usize,
}

impl Cards {
    /// The card that another shard has, if it is the same; otherwise this one.
    pub(super) fn share(&self, card: Card) -> Arc<Card> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { cards, most } = &mut *inner;
        let held = cards.get(&card.address).and_then(Weak::upgrade);
        if let Some(held) = held.filter(|held| **held == card) {
            return held;
        }
        let card = Arc::new(card);
        cards.insert(card.address.clone(), Arc::downgrade(&card));
        if cards.len() > *most {
            cards.retain(|_, card| card.strong_count() > 0);
            *most = 2 * cards.len() + SPARE;
        }
        card
    }
}
