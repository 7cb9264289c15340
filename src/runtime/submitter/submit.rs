//! Commits of agents: what they send is signed at once where nothing has to wait, stored, and
//! posted.

use actix::prelude::*;
use agentry_core::rows::{Charge, Prepared};
use agentry_core::{AgentId, Changes, Commit, SendResult};
use agentry_protocol::{Nonce, Timestamp};
use agentry_store::{Applied, Enqueued, Store, StoreError};
use tokio::sync::oneshot;

use super::budget::Admission;
use super::sign::Charged;
use super::{MAX_JOBS, Work};
use crate::runtime::kill::{self, Point};

/// Signed bytes, and what a budget has paid for them.
pub(super) type Paid = (Prepared, Charge);

/// Has a commit of an agent stored, and what it adds to the outbox sent.
#[derive(Debug)]
pub struct Submit {
    /// The row of the sending wallet.
    pub agent: AgentId,
    /// The commit. None of its drafts is signed yet.
    pub commit: Commit,
    /// What the commit waits for.
    pub queueing: Queueing,
    /// When the message was seen that the drafts follow from at once, if they do.
    pub seen_at: Option<Timestamp>,
    /// The span of what the drafts follow from.
    pub span: tracing::Span,
}

impl Message for Submit {
    type Result = Result<Changes, StoreError>;
}

/// What a commit waits for before it is stored.
#[derive(Debug)]
pub enum Queueing {
    /// Nothing: if the system refuses to write, that is an error.
    AtOnce,
    /// Until the system accepts it.
    Waits,
    /// The same, and until the commits before it in a [`Sequence`] are passed to the store.
    Behind(Link),
}

/// Commits that are stored in the order in which they were begun. One that was not applied makes
/// those behind it stale.
#[derive(Debug, Default)]
pub struct Sequence(Option<oneshot::Receiver<Applied>>);

impl Sequence {
    /// The place of the next commit.
    pub fn link(&mut self) -> Link {
        let (pass, passed) = oneshot::channel();
        Link {
            previous: self.0.replace(passed),
            pass,
        }
    }
}

/// The place of a commit in a sequence.
#[derive(Debug)]
pub struct Link {
    previous: Option<oneshot::Receiver<Applied>>,
    pass: oneshot::Sender<Applied>,
}

impl Link {
    async fn enqueue(self, store: &Store, commit: Commit) -> Result<Enqueued, StoreError> {
        let after = match self.previous {
            // What never reached the store was not applied.
            Some(previous) => Some(previous.await.unwrap_or_default()),
            None => None,
        };
        let enqueued = store.enqueue(commit, after).await?;
        // There may be no commit behind this one.
        let _ = self.pass.send(enqueued.applied());
        Ok(enqueued)
    }
}

/// Stores agents' commits, and has what they send signed and posted.
#[derive(Clone, Debug)]
pub struct Outbox {
    store: Store,
    submitter: Recipient<Submit>,
}

impl Outbox {
    /// Commits to this store, through its submitter.
    pub fn new(store: Store, submitter: Recipient<Submit>) -> Self {
        Self { store, submitter }
    }

    /// Has a commit stored. Those of its drafts that can be signed at once are, and are posted once
    /// they are stored; the others are queued. The submitter does all of this even if its caller
    /// stops waiting.
    ///
    /// # Errors
    /// Nothing was stored, and nothing is sent. If the runtime is stopping, it may be stored
    /// nevertheless: then the next start sends it.
    pub async fn commit(&self, mut submit: Submit) -> Result<Changes, StoreError> {
        if submit.commit.sends_mut().is_empty() {
            return store(&self.store, submit.commit, submit.queueing).await;
        }
        let stored = self.submitter.send(submit).await;
        stored.unwrap_or(Err(StoreError::Closed))
    }
}

async fn store(store: &Store, commit: Commit, queueing: Queueing) -> Result<Changes, StoreError> {
    kill::pass(Point::BeforeCommit);
    let stored = match queueing {
        Queueing::AtOnce => store.commit_now(commit).await,
        Queueing::Waits => store.commit(commit).await,
        Queueing::Behind(link) => match link.enqueue(store, commit).await {
            Ok(enqueued) => enqueued.stored().await,
            Err(error) => Err(error),
        },
    };
    kill::pass(Point::AfterCommit);
    stored
}

impl Work {
    /// Signs what can be signed at once, and stores it.
    pub(super) async fn submit(&self, submit: Submit) -> Result<Changes, StoreError> {
        let Submit {
            agent,
            mut commit,
            queueing,
            seen_at,
            span,
        } = submit;
        self.state().money.unstored += 1;
        let signed = self.sign_at_once(agent, &mut commit).await;
        let stored = store(&self.shared.store, commit, queueing).await;
        self.stored(signed, &stored, (seen_at, Some(&span)));
        self.state().money.unstored -= 1;
        stored
    }

    /// Signs those of a commit's drafts that need not be queued.
    pub(super) async fn sign_at_once(
        &self,
        agent: AgentId,
        commit: &mut Commit,
    ) -> Vec<Option<Paid>> {
        let mut sends = commit.sends_mut();
        let mut signed = vec![None; sends.len()];
        if !self.may_sign_at_once(agent) {
            return signed;
        }
        let now = self.shared.clock.local();
        let (mut places, mut charged) = (Vec::new(), Vec::new());
        for (place, (draft, _)) in sends.iter().enumerate() {
            let mut state = self.state();
            // An expired draft is queued, and expired from there. One that waits for an operator is
            // signed when it is approved.
            let is_over = draft.expires_at.is_some_and(|at| at < now);
            let waits = is_over || draft.unapproved;
            if !waits && let Admission::Paid(charge) = state.money.pay(agent, draft, now) {
                let (draft, nonce) = ((*draft).clone(), state.nonces.next(agent, Nonce::at(now)));
                places.push(place);
                charged.push(Charged {
                    draft,
                    charge,
                    nonce,
                });
            }
        }
        if !charged.is_empty() {
            for (place, one) in places.into_iter().zip(self.sign(agent, charged).await) {
                *sends[place].1 = Some(one.0.clone());
                signed[place] = Some(one);
            }
        }
        signed
    }

    /// Whether a wallet's drafts can be signed at once. Drafts that were queued earlier go first; a
    /// counter has to be queried.
    fn may_sign_at_once(&self, agent: AgentId) -> bool {
        let state = self.state();
        !state.nonces.follows_counter()
            && state.has_room(MAX_JOBS)
            && !state.is_queued
            && !state.unsignable.contains_key(&agent)
            && !state.unfunded.contains(&agent)
    }

    /// A commit is stored, or it is not: posts what was signed, or refunds it. The commit's drafts
    /// are given in order, `None` for those that were not signed.
    pub(super) fn stored(
        &self,
        signed: Vec<Option<Paid>>,
        stored: &Result<Changes, StoreError>,
        (seen_at, span): (Option<Timestamp>, Option<&tracing::Span>),
    ) {
        let mut state = self.state();
        let mut sends = [].iter();
        if let Ok(changes) = stored {
            state.recognised(changes.recharged.clone(), changes.reopened.clone());
            sends = changes.sends.iter();
        }
        for one in signed {
            let send = sends.next();
            if let (Some(seen_at), Some(SendResult::Stored(id))) = (seen_at, send) {
                state.answers.asked(*id, seen_at);
            }
            match (one, send) {
                // It is paid for, if it was signed.
                (_, Some(SendResult::OnChain(_))) => {}
                (Some((prepared, charge)), Some(SendResult::Stored(id))) => {
                    state.dispatch(*id, prepared, charge, span);
                }
                // It is stored with other bytes, or was dropped or expired meanwhile, or nothing is
                // stored.
                (Some((_, charge)), Some(SendResult::Known(_)) | None) => {
                    state.money.refund(&charge);
                }
                (None, Some(_)) => state.queued(),
                (None, None) => {}
            }
        }
        self.may_post.notify_one();
        self.may_sign.notify_one();
    }
}
