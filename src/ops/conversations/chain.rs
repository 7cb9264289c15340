//! Messages of any address, read from the chain.

use std::collections::VecDeque;
use std::sync::Arc;

use agentry_chain::{BlockWalk, Interest, NodeClient, NodeError};
use agentry_protocol::{Address, Authenticity, BlockHeight};

use super::super::search::{self, Downward, Follow, Found};
use super::{Direction, MessageEntry, MessageFilter, MessageList};
use crate::config::Config;
use crate::runtime::classify::examine_under;

/// Reads the messages of an address from the chain.
#[derive(Debug)]
pub struct ChainMessages<'a> {
    node: NodeClient,
    filter: MessageFilter,
    config: &'a Config,
    /// Reads the blocks that follow.
    follow: Option<Follow>,
}

impl<'a> ChainMessages<'a> {
    /// A reader that has read nothing yet.
    pub const fn new(node: NodeClient, filter: MessageFilter, config: &'a Config) -> Self {
        Self {
            node,
            filter,
            config,
            follow: None,
        }
    }

    /// The newest messages: from the node's database if one is configured, else by reading back
    /// from the chain's head until there are enough. `progress` learns how many blocks are read, and
    /// of how many; in the end, all of them.
    ///
    /// # Errors
    /// The node cannot be queried.
    pub async fn newest(
        &mut self,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<MessageList, NodeError> {
        let Some(head) = self.node.head().await? else {
            return Ok(MessageList {
                messages: Vec::new(),
                more: false,
            });
        };
        let enough = self.filter.limit;
        let mut found: VecDeque<Found> = VecDeque::new();
        let (interest, mut has_older) = (Arc::new(Of(self.filter.agent.clone())), false);
        let in_db = search::in_db(&self.config.chain, BlockHeight(0), interest, |one| {
            if self.wants(&one) && one.height <= head.height {
                found.push_back(one);
                if found.len() > enough {
                    found.pop_front();
                    has_older = true;
                }
            }
        });
        let through = in_db.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the node's database could not be read; reading over RPC");
            None
        });
        let lowest = match through {
            Some(through) => through.next(),
            None => {
                found.clear();
                BlockHeight(0)
            }
        };
        let blocks = (head.height.0 + 1).saturating_sub(lowest.0);
        let mut read = 0;
        progress(read, blocks);
        let mut walk = BlockWalk::new(&self.node);
        let mut downward = Downward::new(head.height, lowest);
        let mut newer: Vec<Found> = Vec::new();
        while newer.len() < enough
            && let Some((from, to)) = downward.next(&walk)
        {
            let wanted = |one: &Found| self.wants(one);
            let mut stretch = search::stretch(&mut walk, from, to, wanted).await?;
            stretch.append(&mut newer);
            newer = stretch;
            read += to.0 - from.0 + 1;
            progress(read, blocks);
        }
        progress(blocks, blocks);
        if let Some(missing) = search::missing(&walk) {
            tracing::warn!("{missing}");
        }
        if let Some(left) = downward.left().filter(|_| newer.len() < enough) {
            tracing::warn!(
                "the blocks through {left} were not read within a minute; set [chain] db to read \
                 the node's database instead"
            );
        }
        let found: Vec<Found> = found.into_iter().chain(newer).collect();
        let skipped = found.len().saturating_sub(enough);
        let messages = found.iter().skip(skipped).map(|one| self.entry(one));
        let list = MessageList {
            messages: messages.collect(),
            more: has_older || skipped > 0 || downward.left().is_some(),
        };
        self.follow = Some(Follow::new(self.node.clone(), head.height.next()));
        Ok(list)
    }

    /// Waits for the messages that follow the newest; `None` if there is no chain to follow.
    ///
    /// # Errors
    /// The node cannot be queried, for a reason that is not temporary.
    pub async fn next(&mut self) -> Result<Option<Vec<MessageEntry>>, NodeError> {
        let Some(mut follow) = self.follow.take() else {
            return Ok(None);
        };
        follow.wait().await;
        let found = follow.look(|one| self.wants(one)).await?;
        self.follow = Some(follow);
        Ok(Some(found.iter().map(|one| self.entry(one)).collect()))
    }

    fn entry(&self, found: &Found) -> MessageEntry {
        MessageEntry::of_chain(found, &self.filter.agent, self.authenticity(found))
    }

    fn wants(&self, found: &Found) -> bool {
        let stored = &found.stored;
        let MessageFilter {
            agent,
            from,
            thread,
            direction,
            ..
        } = &self.filter;
        let forged = *direction == Direction::Forged;
        let concerns = ((direction.receives() || forged) && stored.to == *agent)
            || (direction.sends() && stored.from == *agent);
        if !concerns || from.as_ref().is_some_and(|from| stored.from != *from) {
            return false;
        }
        let envelope = stored.envelope();
        let of_thread = || envelope.header().and_then(|header| header.thread.as_ref());
        if thread
            .as_ref()
            .is_some_and(|thread| of_thread() != Some(thread))
        {
            return false;
        }
        // Forged messages are kept apart.
        (self.authenticity(found) == Authenticity::Forged) == forged
    }

    /// Verifies the sender with the key in the header, or with that of a contact.
    fn authenticity(&self, found: &Found) -> Authenticity {
        let stored = &found.stored;
        let mut contacts = self.config.contacts.iter();
        let contact = contacts.find(|contact| contact.address == stored.from);
        let known_key = contact.and_then(|contact| contact.public_key);
        examine_under(stored, &self.config.chain.id, known_key).authenticity()
    }
}

/// The interest in what an address sent or received.
struct Of(Address);

impl Interest for Of {
    fn wants(&self, from: &str, to: &str) -> bool {
        from == self.0.as_str() || to == self.0.as_str()
    }
}
