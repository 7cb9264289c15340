//! Immediate nonces and signatures, where nothing has to wait.

use actix::prelude::*;
use agentry_core::rows::{Charge, Prepared, day_of};

use super::budget::Admission;
use super::messages::{Allot, Stored};
use super::{Submitter, sign_queue};
use crate::config::NoncePolicy;

impl Handler<Allot> for Submitter {
    type Result = ResponseActFuture<Self, Vec<Option<Prepared>>>;

    fn handle(&mut self, allot: Allot, _: &mut Self::Context) -> Self::Result {
        let count = allot.drafts.len();
        let queue_all = vec![None; count];
        // Drafts that were queued earlier go first; under `sequential` the chain has to be queried.
        let at_once = self.settings.policy == NoncePolicy::Timestamp
            && self.has_room()
            && !self.sign_queue.is_pending()
            && !self.unsignable.contains_key(&allot.agent)
            && !self.unfunded.contains(&allot.agent);
        if !at_once {
            return Box::pin(actix::fut::ready(queue_all));
        }
        let agent = allot.agent;
        let now = self.shared.clock.local_ms();
        let mut transactions = Vec::with_capacity(count);
        // What was paid for each draft; none, if it has to wait.
        let mut charges: Vec<Option<Charge>> = Vec::with_capacity(count);
        for draft in allot.drafts {
            // An expired draft is queued, and expired from there.
            let over = draft.expires_at.is_some_and(|at| at < now);
            let paid = (!over).then(|| self.pay(agent, &draft, now));
            let Some(Admission::Paid(charge)) = paid else {
                charges.push(None);
                continue;
            };
            let nonce = self.nonces.next(agent, now);
            match self.transaction(agent, draft, nonce) {
                Some(transaction) => {
                    transactions.push((nonce, transaction));
                    charges.push(Some(charge));
                }
                None => {
                    self.refund(&charge);
                    charges.push(None);
                }
            }
        }
        if transactions.is_empty() {
            return Box::pin(actix::fut::ready(queue_all));
        }
        let time = (self.since(), day_of(now));
        Box::pin(
            sign_queue::sign(self.signer.clone(), agent, transactions, time)
                .into_actor(self)
                .map(move |signed, submitter, ctx| match signed {
                    Ok(prepared) => submitter.reserve(charges, prepared),
                    Err(error) => {
                        for charge in charges.into_iter().flatten() {
                            submitter.refund(&charge);
                        }
                        submitter.cannot_sign(agent, &error, ctx);
                        queue_all
                    }
                }),
        )
    }
}

impl Handler<Stored> for Submitter {
    type Result = ();

    fn handle(&mut self, stored: Stored, ctx: &mut Self::Context) {
        self.recognised(&stored.recharged, &stored.reopened);
        let mut rows = stored.rows.into_iter();
        for (prepared, cost) in stored.bodies.into_iter().zip(stored.costs) {
            let row = rows.next();
            let Some(prepared) = prepared else {
                if row.is_some_and(|row| !row.standing) {
                    self.sign_queue.note();
                }
                continue;
            };
            let charge = self.reserved.remove(&prepared.digest);
            match row {
                // It is paid for, and the chain has it.
                Some(row) if row.standing => {}
                Some(row) if row.fresh => {
                    let paid = (cost, charge);
                    self.dispatch(stored.agent, row.id, prepared, paid, stored.span.clone());
                }
                // The store has it already, with other bytes, or stored nothing.
                _ => charge.into_iter().for_each(|charge| self.refund(&charge)),
            }
        }
        self.pump(ctx);
        self.start_signing(ctx);
    }
}
