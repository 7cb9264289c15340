//! The tokens of those who may call the runtime from outside.

use agentry_protocol::{Amount, Timestamp};

use super::row::{self, outbox};
use super::{Refusal, State};
use crate::rows::Draft;
use crate::token::{Token, TokenName};

impl State {
    /// Adds a token. The same token is the same row.
    pub(super) fn create_token(&mut self, token: &Token) -> Result<(), Refusal> {
        if let Some(budget) = token.daily_budget.filter(|budget| *budget > Amount::MAX) {
            return Err(Refusal::Amount(budget));
        }
        let secret = row::token::Index::Secret(token.secret);
        let same_secret = || self.tokens.find(&secret);
        match self.tokens.get(&token.name).or_else(same_secret) {
            Some(known) if known.token == *token => Ok(()),
            Some(known) => Err(Refusal::SameToken(known.token.name.clone())),
            None => {
                self.tokens.put(row::Token {
                    token: token.clone(),
                    day: 0,
                    spent: Amount::ZERO,
                });
                Ok(())
            }
        }
    }

    /// Charges a draft to the budget of a token. One that was requested before is paid for. What is
    /// never sent is not refunded: a holder cannot make the runtime work for nothing.
    pub(super) fn charge_token(
        &mut self,
        name: &TokenName,
        draft: &Draft,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let origin = outbox::Index::Origin(draft.origin.clone());
        if self.outbox.find(&origin).is_some() {
            return Ok(());
        }
        let row = self.tokens.get(name);
        let row = row.ok_or_else(|| Refusal::NoToken(name.clone()))?;
        let day = at.day();
        let before = if row.day == day {
            row.spent
        } else {
            Amount::ZERO
        };
        let cost = draft.cost();
        let after = before.saturating_add(cost);
        if let Some(daily) = row.token.daily_budget
            && after > daily
        {
            return Err(Refusal::TokenBudget {
                name: name.clone(),
                daily,
                spent: before,
                cost,
            });
        }
        self.tokens.change(name, |row| {
            row.day = day;
            row.spent = after.min(Amount::MAX);
        });
        Ok(())
    }
}
