//! The messages of all agents, as they come, and messages that are typed.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;

use agentry_protocol::{Address, Json};
use agentry_store::{Reader, StoreError, read};

use crate::config::Config;
use crate::ops::conversations::hosted::HostedMessages;
use crate::ops::conversations::{Direction, MessageEntry, MessageFilter};
use crate::ops::names::Names;
use crate::ops::send::{SendRequest, random_key};
use crate::ops::who;
use crate::runtime::control::Client;

/// How many transactions are remembered: a message between two agents here is a message of both.
const REMEMBERED: usize = 10_000;

/// The messages of all hosted agents.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    db: &'a Reader,
    store: PathBuf,
    config: &'a Config,
    agents: Vec<(Agent, HostedMessages<'a>)>,
    names: Names<'a>,
    shown: HashSet<String>,
    order: VecDeque<String>,
}

/// A hosted agent.
#[derive(Clone, Debug)]
struct Agent {
    name: String,
    address: Address,
}

impl<'a> Talk<'a> {
    /// The messages from now on.
    pub(super) async fn new(db: &'a Reader, config: &'a Config) -> Result<Self, StoreError> {
        let mut talk = Self {
            db,
            store: config.store.path.clone(),
            config,
            agents: Vec::new(),
            names: Names::new(config, Some(db))?,
            shown: HashSet::new(),
            order: VecDeque::new(),
        };
        talk.look_for_agents().await?;
        Ok(talk)
    }

    /// Follows agents that are hosted since the last call.
    async fn look_for_agents(&mut self) -> Result<(), StoreError> {
        let before = self.agents.len();
        for found in read::agents(self.db)? {
            if self
                .agents
                .iter()
                .any(|(known, _)| known.address == found.address)
            {
                continue;
            }
            let filter = MessageFilter {
                agent: found.address.clone(),
                from: None,
                direction: Direction::Both,
                thread: None,
                limit: 0,
            };
            let mut messages = HostedMessages::new(self.db, &self.store, filter, true);
            // What was before is not shown.
            messages.newest().await?;
            let agent = Agent {
                name: found.name,
                address: found.address,
            };
            self.agents.push((agent, messages));
        }
        if self.agents.len() > before {
            self.names = Names::new(self.config, Some(self.db))?;
        }
        Ok(())
    }

    /// The messages since the last call, each once.
    pub(super) async fn next(&mut self) -> Result<Vec<MessageEntry>, StoreError> {
        self.look_for_agents().await?;
        let mut found = Vec::new();
        for (_, messages) in &mut self.agents {
            found.extend(messages.fresh().await?);
        }
        found.sort_by_key(|entry| (entry.height, entry.seen_at));
        let mut entries = Vec::new();
        for entry in found {
            if let Some(transaction) = &entry.transaction {
                if !self.shown.insert(transaction.clone()) {
                    continue;
                }
                self.order.push_back(transaction.clone());
                if self.order.len() > REMEMBERED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.shown.remove(&oldest);
                }
            }
            entries.push(entry.named(&self.names));
        }
        Ok(entries)
    }

    /// Sends what was typed: `TEXT`, or `@NAME TEXT`.
    pub(super) async fn send(
        &self,
        client: &Client,
        from: Option<&str>,
        to: Option<&str>,
        line: &str,
    ) -> Result<(), String> {
        let line = line.trim();
        let (to, text) = match line.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
            Some((name, text)) => (Some(name), text.trim()),
            None => (to, line),
        };
        let from = from.ok_or("no agent sends what you type: add one without behaviours")?;
        let to = to.ok_or("no agent gets what you type: write `@NAME TEXT`")?;
        let hosted = self.agents.iter().find(|(agent, _)| agent.name == to);
        let address = match hosted {
            Some((agent, _)) => agent.address.clone(),
            None => who::resolve(to, self.config).map_err(|error| error.to_string())?,
        };
        let key = random_key().map_err(|error| error.to_string())?;
        let request = SendRequest::new(address, Json::string(text.to_owned()), key);
        let sent = client.send(from, request).await;
        sent.map(|_| ()).map_err(|error| error.to_string())
    }
}
