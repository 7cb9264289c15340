//! Timers and pending acknowledgments, by the time they are due.

use std::collections::{BTreeMap, HashMap};

use agentry_protocol::TransactionHash;
use agentry_sdk::SentMessage;
use serde_json::Value;

use agentry_core::AgentId;

/// Something that is due at a time.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) agent: AgentId,
    pub(super) behaviour: String,
    pub(super) due_ms: u64,
    pub(super) what: What,
}

/// What happens when an item is due.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A timer fires.
    Timer { name: String, data: Value },
    /// A message was not acknowledged in time.
    Overdue(Box<Awaited>),
}

/// A message whose acknowledgment is pending.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    pub(super) sent: SentMessage,
    pub(super) transaction: TransactionHash,
    /// The time limit after each transmission, in milliseconds.
    pub(super) within_ms: u64,
    pub(super) resends_left: u32,
    /// Whether its sender asked for an acknowledgment that it was acted on.
    pub(super) done: bool,
}

/// The key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Timer(AgentId, String, String),
    Overdue(AgentId, TransactionHash),
}

/// All pending items.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// By time, then in insertion order.
    items: BTreeMap<(u64, u64), Item>,
    places: HashMap<Key, (u64, u64)>,
    next: u64,
}

impl Agenda {
    /// Inserts an item and replaces the one with the same key.
    pub(super) fn put(&mut self, item: Item) {
        let key = key(&item);
        self.remove(&key);
        let place = (item.due_ms, self.next);
        self.next += 1;
        self.places.insert(key, place);
        self.items.insert(place, item);
    }

    /// Removes a timer.
    pub(super) fn unschedule(&mut self, agent: AgentId, behaviour: &str, name: &str) {
        self.remove(&Key::Timer(agent, behaviour.to_owned(), name.to_owned()));
    }

    /// Removes and returns the item of the message that a transaction carried, if its
    /// acknowledgment is pending.
    pub(super) fn answered(
        &mut self,
        agent: AgentId,
        transaction: TransactionHash,
    ) -> Option<(Item, Awaited)> {
        let item = self.remove(&Key::Overdue(agent, transaction))?;
        match &item.what {
            What::Overdue(awaited) => {
                let awaited = Awaited::clone(awaited);
                Some((item, awaited))
            }
            What::Timer { .. } => None,
        }
    }

    /// Removes and returns the next item that is due by that time.
    pub(super) fn pop(&mut self, by_ms: u64) -> Option<Item> {
        let entry = self.items.first_entry()?;
        if entry.key().0 > by_ms {
            return None;
        }
        let item = entry.remove();
        self.places.remove(&key(&item));
        Some(item)
    }

    fn remove(&mut self, key: &Key) -> Option<Item> {
        self.items.remove(&self.places.remove(key)?)
    }
}

fn key(item: &Item) -> Key {
    match &item.what {
        What::Timer { name, .. } => Key::Timer(item.agent, item.behaviour.clone(), name.clone()),
        What::Overdue(awaited) => Key::Overdue(item.agent, awaited.transaction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(name: &str, due_ms: u64) -> Item {
        Item {
            agent: AgentId(1),
            behaviour: "b".to_owned(),
            due_ms,
            what: What::Timer {
                name: name.to_owned(),
                data: Value::Null,
            },
        }
    }

    fn popped(agenda: &mut Agenda, by_ms: u64) -> Vec<u64> {
        std::iter::from_fn(|| agenda.pop(by_ms))
            .map(|item| item.due_ms)
            .collect()
    }

    #[test]
    fn items_are_due_in_order_and_once() {
        let mut agenda = Agenda::default();
        for (name, due) in [("a", 30), ("b", 10), ("c", 20), ("b", 25), ("d", 10)] {
            agenda.put(timer(name, due));
        }
        agenda.unschedule(AgentId(1), "b", "d");
        assert_eq!(popped(&mut agenda, 24), [20]);
        assert_eq!(popped(&mut agenda, 100), [25, 30]);
        assert!(agenda.places.is_empty());
    }
}
