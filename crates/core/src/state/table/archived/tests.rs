//! What uses most, over an archive that does not have the last changes yet.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;

use agentry_protocol::Address;

use super::*;

const AGENT: AgentId = AgentId(1);
const KIND: Kind = Kind::Message;

fn sender(name: &str) -> Cause {
    Cause::Sender(Standing::Listed, Address::from_chain(name).unwrap())
}

/// A row that uses so many bytes.
#[derive(Clone, Debug, PartialEq)]
struct Item(Cause, u64);

impl Row for Item {
    type Key = Cause;
    type Index = Infallible;

    fn key(&self) -> Cause {
        self.0.clone()
    }

    fn indexes(&self) -> Vec<Infallible> {
        Vec::new()
    }

    fn uses(&self) -> Vec<Used> {
        vec![Used {
            agent: AGENT,
            kind: KIND,
            cause: self.0.clone(),
            bytes: self.1,
        }]
    }
}

#[derive(Debug, Default)]
struct Items(Mutex<BTreeMap<Cause, u64>>);

impl Archive<Item> for Items {
    fn get(&self, key: &Cause) -> Result<Option<Item>, ArchiveError> {
        let bytes = self.0.lock().unwrap().get(key).copied();
        Ok(bytes.map(|bytes| Item(key.clone(), bytes)))
    }

    fn open(&self, _: &mut dyn FnMut(Result<Item, ArchiveError>)) -> Result<(), ArchiveError> {
        Ok(())
    }

    fn find(&self, entry: &Infallible) -> Result<Option<Cause>, ArchiveError> {
        match *entry {}
    }

    fn first(&self, _: &Ends<Infallible>, limit: usize) -> Result<Vec<Cause>, ArchiveError> {
        let items = self.0.lock().unwrap();
        Ok(items.keys().take(limit).cloned().collect())
    }

    fn last(&self, _: &Ends<Infallible>) -> Result<Option<Cause>, ArchiveError> {
        Ok(self.0.lock().unwrap().keys().next_back().cloned())
    }

    fn write(&self, before: Option<&Item>, after: Option<&Item>) -> Result<(), ArchiveError> {
        let mut items = self.0.lock().unwrap();
        if let Some(Item(cause, _)) = before {
            items.remove(cause);
        }
        if let Some(Item(cause, bytes)) = after {
            items.insert(cause.clone(), *bytes);
        }
        Ok(())
    }
}

impl Shares for Items {
    fn used(&self, _: AgentId, _: Kind, share: &Share) -> Result<Volume, ArchiveError> {
        let items = self.0.lock().unwrap();
        let of_share = items.iter().filter(|(cause, _)| match share {
            Share::One(one) => one == *cause,
            Share::All(standing) => cause.standing() == *standing,
        });
        let mut amount = Volume::default();
        of_share.for_each(|(_, bytes)| amount.add(*bytes));
        Ok(amount)
    }

    fn most(
        &self,
        _: AgentId,
        _: Kind,
        _: Standing,
        limit: usize,
    ) -> Result<Vec<(Cause, u64)>, ArchiveError> {
        let mut items: Vec<_> = self.0.lock().unwrap().clone().into_iter().collect();
        items.sort_by_key(|(cause, bytes)| (Reverse(*bytes), cause.clone()));
        items.truncate(limit);
        Ok(items)
    }

    fn set_used(&self, _: AgentId, _: Kind, _: &Share, _: Volume) -> Result<(), ArchiveError> {
        Ok(())
    }
}

#[test]
fn what_changed_counts_before_it_is_written() {
    let archived = Archived::new(Box::new(Items::default()));
    let most = || archived.most(AGENT, KIND, Standing::Listed);
    let set = |name: &str, bytes: Option<u64>| {
        let row = bytes.map(|bytes| Arc::new(Item(sender(name), bytes)));
        archived.set(&sender(name), row);
    };
    assert_eq!(most(), None);
    for (name, bytes) in [("ann", 10), ("ben", 20), ("cid", 30)] {
        set(name, Some(bytes));
    }
    for is_written in [false, true] {
        assert_eq!(most(), Some(sender("cid")), "{is_written}");
        archived.write();
    }
    // The two that the archive has first are others' now.
    set("cid", None);
    set("ben", Some(5));
    assert_eq!(most(), Some(sender("ann")));
    set("ben", Some(10));
    assert_eq!(most(), Some(sender("ann")), "of several, the first");
    set("ben", Some(11));
    assert_eq!(most(), Some(sender("ben")));
    archived.write();
    assert_eq!(most(), Some(sender("ben")));
}
