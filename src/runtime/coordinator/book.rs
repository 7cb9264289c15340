//! What is known of the announced agents, and the messages from their inboxes: in memory, bounded. The
//! coordinator keeps the messages, so they are found again after a restart.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentry_protocol::{Address, Timestamp};

use super::listing::{InboxMessage, Listing};
use crate::ops::coordinator::{AnnouncedAgent, CoordinatorMessage};

/// How many messages of an agent are kept: the newest.
const KEPT: usize = 100;

/// How many bytes all messages may have together.
const KEPT_BYTES: usize = 32 << 20;

/// What a message takes beside its texts, in bytes, about.
const OVERHEAD: usize = 300;

/// What can be wrong with an agent's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentCall {
    /// Registering it, and keeping it alive.
    Alive,
    /// Reading its inbox.
    Inbox,
}

/// What is known of the announced agents.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<BookPages>);

#[derive(Debug, Default)]
struct BookPages {
    agents: BTreeMap<Address, AgentPage>,
    /// Of all messages together.
    bytes: usize,
    /// Why no agent can be announced now.
    trouble: Option<String>,
}

#[derive(Debug, Default)]
struct AgentPage {
    name: String,
    is_registered: bool,
    registered_at: Option<Timestamp>,
    heartbeat_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
    unreadable: u64,
    alive_trouble: Option<String>,
    inbox_trouble: Option<String>,
    /// The one found last is the last.
    messages: VecDeque<(Timestamp, InboxMessage)>,
    bytes: usize,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, BookPages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of an agent, if it is announced.
    fn change(&self, address: &Address, change: impl FnOnce(&mut AgentPage)) {
        if let Some(page) = self.pages().agents.get_mut(address) {
            change(page);
        }
    }

    /// An agent is announced, under this name.
    pub(super) fn enter(&self, address: &Address, name: &str) {
        let mut pages = self.pages();
        let page = pages.agents.entry(address.clone()).or_default();
        name.clone_into(&mut page.name);
    }

    /// An agent is not announced any more.
    pub(super) fn leave(&self, address: &Address) {
        let mut pages = self.pages();
        if let Some(page) = pages.agents.remove(address) {
            pages.bytes = pages.bytes.saturating_sub(page.bytes);
        }
    }

    /// An agent was registered, or is not any more (`None`).
    pub(super) fn registered(&self, address: &Address, at: Option<Timestamp>) {
        self.change(address, |page| {
            page.is_registered = at.is_some();
            if at.is_some() {
                page.registered_at = at;
                page.heartbeat_at = at;
                page.alive_trouble = None;
            }
        });
    }

    /// An agent was kept alive.
    pub(super) fn beaten(&self, address: &Address, at: Timestamp) {
        self.change(address, |page| {
            page.heartbeat_at = Some(at);
            page.alive_trouble = None;
        });
    }

    /// How many agents are registered.
    pub(super) fn count(&self) -> usize {
        let pages = self.pages();
        pages
            .agents
            .values()
            .filter(|page| page.is_registered)
            .count()
    }

    /// A call for an agent has failed.
    pub(super) fn failed(&self, address: &Address, call: AgentCall, reason: String) {
        self.change(address, |page| match call {
            AgentCall::Alive => page.alive_trouble = Some(reason),
            AgentCall::Inbox => page.inbox_trouble = Some(reason),
        });
    }

    /// Whether a call for any agent has failed the last time.
    pub(super) fn any_failed(&self) -> bool {
        let pages = self.pages();
        let has = |page: &AgentPage| page.alive_trouble.is_some() || page.inbox_trouble.is_some();
        pages.agents.values().any(has)
    }

    /// Why no agent can be announced now, if that is so. Returns whether that is a change.
    pub(super) fn trouble(&self, reason: Option<String>) -> bool {
        let mut pages = self.pages();
        let is_change = pages.trouble.is_some() != reason.is_some();
        pages.trouble = reason;
        is_change
    }

    /// An inbox was read. Keeps the messages that are not kept yet, apart from those in `seen`; returns
    /// how many of these the coordinator has not marked as read.
    pub(super) fn read(
        &self,
        address: &Address,
        at: Timestamp,
        listing: Listing,
        is_seen: impl Fn(&InboxMessage) -> bool,
    ) -> u64 {
        let mut pages = self.pages();
        let Some(page) = pages.agents.get_mut(address) else {
            return 0;
        };
        page.read_at = Some(at);
        page.inbox_trouble = None;
        page.unreadable = listing.unreadable;
        let kept = page.messages.iter();
        let mut kept: HashSet<_> = kept.map(|(_, message)| message.identity).collect();
        let before = page.bytes;
        let mut unread = 0;
        // The newest is the first there.
        for message in listing.messages.into_iter().rev() {
            if is_seen(&message) || !kept.insert(message.identity) {
                continue;
            }
            unread += u64::from(!message.is_read);
            page.bytes += size(&message);
            page.messages.push_back((at, message));
            if page.messages.len() > KEPT {
                page.drop_oldest();
            }
        }
        let after = page.bytes;
        pages.bytes = (pages.bytes + after).saturating_sub(before);
        pages.make_room();
        unread
    }

    /// The agents whose addresses are wanted.
    pub(super) fn agents(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<AnnouncedAgent> {
        let pages = self.pages();
        let wanted = pages.agents.iter();
        let wanted = wanted.filter(|(address, _)| is_wanted(address.as_str()));
        wanted
            .map(|(address, page)| {
                let reasons = [&pages.trouble, &page.alive_trouble, &page.inbox_trouble];
                AnnouncedAgent {
                    agent: page.name.clone(),
                    address: address.to_string(),
                    registered: page.is_registered,
                    registered_at: page.registered_at,
                    heartbeat_at: page.heartbeat_at,
                    read_at: page.read_at,
                    messages: page.messages.len(),
                    unreadable: page.unreadable,
                    reason: reasons.into_iter().flatten().next().cloned(),
                }
            })
            .collect()
    }

    /// The messages to the agents whose addresses are wanted; of one agent, the one found last first.
    pub(super) fn messages(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<CoordinatorMessage> {
        let pages = self.pages();
        let wanted = pages.agents.iter();
        let wanted = wanted.filter(|(address, _)| is_wanted(address.as_str()));
        let shown = |(address, page): (&Address, &AgentPage)| {
            let (agent, address) = (page.name.clone(), address.to_string());
            let messages = page.messages.iter().rev();
            let shown = messages.map(move |(at, heard)| CoordinatorMessage {
                agent: agent.clone(),
                address: address.clone(),
                id: heard.id.clone(),
                from: heard.from.clone(),
                verified: false,
                kind: heard.kind.clone(),
                priority: heard.priority.clone(),
                sent: heard.sent.clone(),
                received_at: *at,
                content: heard.content.clone(),
                cut: heard.is_cut,
            });
            shown.collect::<Vec<_>>()
        };
        wanted.flat_map(shown).collect()
    }
}

impl BookPages {
    /// Drops messages until all together are within the limit: the oldest of whoever has the most.
    fn make_room(&mut self) {
        while self.bytes > KEPT_BYTES {
            let fullest = self.agents.values_mut().max_by_key(|page| page.bytes);
            let Some(dropped) = fullest.and_then(AgentPage::drop_oldest) else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(dropped);
        }
    }
}

impl AgentPage {
    /// Returns its size, if there was one.
    fn drop_oldest(&mut self) -> Option<usize> {
        let (_, message) = self.messages.pop_front()?;
        let size = size(&message);
        self.bytes = self.bytes.saturating_sub(size);
        Some(size)
    }
}

/// How much memory a message takes, about.
fn size(message: &InboxMessage) -> usize {
    let InboxMessage {
        id,
        from,
        kind,
        priority,
        sent,
        content,
        ..
    } = message;
    let optional = [id, kind, priority, sent, content].into_iter().flatten();
    OVERHEAD + from.len() + optional.map(String::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use agentry_protocol::{ContentHash, Seed};

    use super::super::listing::CONTENT_MAX;
    use super::*;

    fn address(byte: u8) -> Address {
        Address::from_public_key(&Seed::from_bytes([byte; 32]).public_key())
    }

    fn message(id: usize, length: usize) -> InboxMessage {
        InboxMessage {
            identity: ContentHash::of(&id.to_be_bytes()),
            id: Some(id.to_string()),
            from: "x".to_owned(),
            kind: None,
            priority: None,
            sent: None,
            content: Some("x".repeat(length)),
            is_cut: false,
            is_read: id.is_multiple_of(2),
        }
    }

    /// A listing of these, the last first.
    fn listing(ids: std::ops::Range<usize>, length: usize) -> Listing {
        Listing {
            messages: ids.rev().map(|id| message(id, length)).collect(),
            unreadable: 1,
        }
    }

    fn ids(book: &Book, wanted: &Address) -> Vec<usize> {
        let messages = book.messages(|address| address == wanted.as_str());
        let ids = messages.into_iter().map(|message| message.id.unwrap());
        ids.map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn a_message_is_kept_once_and_the_newest_are_kept() {
        let (book, one) = (Book::default(), address(1));
        let at = Timestamp::new(1);
        assert_eq!(book.read(&one, at, listing(0..4, 1), |_| false), 0);
        book.enter(&one, "one");
        assert_eq!(book.read(&one, at, listing(0..4, 1), |_| false), 2);
        assert_eq!(book.read(&one, at, listing(1..6, 1), |_| false), 1);
        assert_eq!(ids(&book, &one), [5, 4, 3, 2, 1, 0]);
        book.read(&one, at, listing(6..9, 1), |heard| {
            heard.id.as_deref() == Some("7")
        });
        assert_eq!(ids(&book, &one)[..2], [8, 6]);
        for start in (10..400).step_by(50) {
            book.read(&one, at, listing(start..start + 50, 1), |_| false);
        }
        let kept = ids(&book, &one);
        assert_eq!((kept.len(), kept[0]), (KEPT, 409));
        book.leave(&one);
        assert!(ids(&book, &one).is_empty());
        assert_eq!(book.pages().bytes, 0);
    }

    #[test]
    fn a_flood_of_one_agent_displaces_no_message_of_another() {
        let book = Book::default();
        let at = Timestamp::new(1);
        let quiet = address(1);
        book.enter(&quiet, "quiet");
        book.read(&quiet, at, listing(0..3, 1), |_| false);
        for byte in 2..60 {
            let flooded = address(byte);
            book.enter(&flooded, "flooded");
            book.read(&flooded, at, listing(0..KEPT, CONTENT_MAX), |_| false);
        }
        let pages = book.pages();
        assert!(pages.bytes <= KEPT_BYTES);
        let sum: usize = pages.agents.values().map(|page| page.bytes).sum();
        assert_eq!(sum, pages.bytes);
        assert_eq!(pages.agents[&quiet].messages.len(), 3);
    }
}
