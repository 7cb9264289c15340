//! Where clients are told of tasks, and what they were told.

use agentry_protocol::{ContentHash, Timestamp};

use super::row::{self, push::Index};
use super::{Refusal, State, next};
use crate::push::{MOST, MOST_OF_TASK, MOST_OF_TOKEN, Push};
use crate::rows::AgentId;
use crate::token::TokenName;

impl State {
    /// Adds a receiver. The same one is the same row; another one with its id replaces it.
    pub(super) fn add_push(&mut self, push: &Push) -> Result<(), Refusal> {
        if self.tokens.get(&push.owner).is_none() {
            return Err(Refusal::NoToken(push.owner.clone()));
        }
        if self.agents.get(&push.agent).is_none() {
            return Err(Refusal::UnknownAgent(push.agent));
        }
        let id = Index::Id(push.owner.clone(), push.task.clone(), push.id.clone());
        match self.pushes.find(&id) {
            Some(known) if known.push.is_same(push) => return Ok(()),
            Some(known) => {
                self.pushes.remove(&known.number);
            }
            None => {
                let of_token = self.pushes_of(&push.owner);
                let of_task = of_token.iter().filter(|row| row.push.task == push.task);
                let is_full = of_task.count() >= MOST_OF_TASK || of_token.len() >= MOST_OF_TOKEN;
                if is_full || self.open_numbers().count() >= MOST {
                    return Err(Refusal::Full {
                        reason: format!(
                            "there are as many receivers of push notifications, of the token {} or \
                             in all, as there may be",
                            push.owner
                        ),
                    });
                }
            }
        }
        let number = next(&mut self.facts.ids.push);
        self.pushes.put(row::Push {
            number,
            push: push.clone(),
            told: None,
            failures: 0,
            due_at: None,
        });
        Ok(())
    }

    /// The receivers of a token.
    fn pushes_of(&self, owner: &TokenName) -> Vec<std::sync::Arc<row::Push>> {
        let first = Index::Id(owner.clone(), String::new(), String::new());
        let rows = self.pushes.range(first..);
        rows.take_while(|row| row.push.owner == *owner).collect()
    }

    fn open_numbers(&self) -> impl Iterator<Item = i64> {
        let first = Index::Open(AgentId(i64::MIN), i64::MIN);
        self.pushes.entries(first..).map(|(_, number)| number)
    }

    /// All receivers, by agent.
    pub fn open_pushes(&self) -> Vec<row::Push> {
        let open = self.open_numbers();
        let rows = open.filter_map(|number| self.pushes.get(&number));
        rows.map(|row| row::Push::clone(&row)).collect()
    }

    /// A receiver has been told.
    pub(super) fn push_told(&mut self, number: i64, told: ContentHash) {
        self.pushes.change(&number, |row| {
            row.told = Some(told);
            row.failures = 0;
            row.due_at = None;
        });
    }

    /// A receiver was not reached, for the `failures`th time in a row.
    pub(super) fn push_failed(&mut self, number: i64, failures: u32, due_at: Timestamp) {
        self.pushes.change(&number, |row| {
            if row.failures.checked_add(1) == Some(failures) {
                row.failures = failures;
                row.due_at = Some(due_at);
            }
        });
    }

    /// A token is no longer valid, and its holder is told of nothing.
    pub(super) fn revoke_token(&mut self, name: &TokenName) -> bool {
        for row in self.pushes_of(name) {
            self.pushes.remove(&row.number);
        }
        self.tokens.remove(name).is_some()
    }
}
