//! Immediate nonces and signatures, where nothing has to wait.

use agentry_core::AgentId;
use agentry_core::rows::Prepared;
use agentry_protocol::Nonce;

use super::budget::Admission;
use super::messages::{Allot, Stored};
use super::sign::Charged;
use super::{MAX_JOBS, Work};

impl Work {
    /// Signs those of an agent's drafts that need not be queued.
    pub(super) async fn allot(&self, allot: Allot) -> Vec<Option<Prepared>> {
        let agent = allot.agent;
        let mut prepared = vec![None; allot.drafts.len()];
        if !self.may_allot(agent) {
            return prepared;
        }
        let now = self.shared.clock.local_ms();
        let (mut drafts, mut places) = (Vec::new(), Vec::new());
        for (place, draft) in allot.drafts.into_iter().enumerate() {
            let mut state = self.state();
            // An expired draft is queued, and expired from there.
            let is_over = draft.expires_at.is_some_and(|at| at < now);
            if !is_over && let Admission::Paid(charge) = state.money.pay(agent, &draft, now) {
                let nonce = state.nonces.next(agent, Nonce::new(now));
                drafts.push(Charged {
                    draft,
                    charge,
                    nonce,
                });
                places.push(place);
            }
        }
        if drafts.is_empty() {
            return prepared;
        }
        let signed = self.sign(agent, drafts).await;
        for (place, (one, charge)) in places.into_iter().zip(signed) {
            self.state().money.reserve(&one, charge);
            prepared[place] = Some(one);
        }
        prepared
    }

    /// Whether a wallet's drafts can be signed immediately. Drafts that were queued earlier go
    /// first; a counter has to be queried.
    fn may_allot(&self, agent: AgentId) -> bool {
        let state = self.state();
        !state.nonces.follows_counter()
            && state.has_room(MAX_JOBS)
            && !state.is_queued
            && !state.unsignable.contains_key(&agent)
            && !state.unfunded.contains(&agent)
    }

    /// An agent has stored what it was allotted, or could not store it.
    pub(super) fn stored(&self, stored: Stored) {
        let mut state = self.state();
        state.recognised(stored.recharged, stored.reopened);
        let mut rows = stored.rows.into_iter();
        for (prepared, cost) in stored.bodies.into_iter().zip(stored.costs) {
            let row = rows.next();
            let Some(prepared) = prepared else {
                if row.is_some_and(|row| !row.standing) {
                    state.queued();
                }
                continue;
            };
            let charge = state.money.reserved(&prepared);
            match row {
                // It is paid for, and the chain has it.
                Some(row) if row.standing => {}
                Some(row) if row.fresh => {
                    let which = (stored.agent, row.id);
                    state.dispatch(which, prepared, cost, charge, stored.span.clone());
                }
                // The store has it already, with other bytes, or stored nothing.
                _ => charge.iter().for_each(|charge| state.money.refund(charge)),
            }
        }
        self.may_post.notify_one();
        self.may_sign.notify_one();
    }
}
