//! Signing queued drafts when there is room.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::nonce::Sequential;
use agentry_core::rows::{Charge, Draft, Prepared};
use agentry_core::state::drafts::QueueTurn;
use agentry_core::state::row::Outgoing;
use agentry_core::{AgentId, Commit, OutboxId, State};
use agentry_protocol::{Address, Nonce};
use agentry_store::{StoreError, read};
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep};

use super::budget::Admission;
use super::money::LowBudget;
use super::submit::Paid;
use super::{MAX_JOBS, Work};
use crate::runtime::signer::{Sign, SignError};

/// How many drafts are prepared in one commit.
pub(super) const PAGE: usize = 128;

/// How long a wallet that cannot be unlocked is left alone.
const UNSIGNABLE_PAUSE: Duration = Duration::from_secs(30);

/// The pause after the store or the node refused.
const PAUSE: Duration = Duration::from_millis(500);

/// How often the clock is checked: the most by which the start of a day is noticed late.
const TICK: Duration = Duration::from_secs(1);

/// How often expired drafts are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// A pass through the queued drafts.
#[derive(Debug, Default)]
struct Pass {
    /// How far it has come.
    turn: QueueTurn,
    /// Some drafts that waited for a budget were released in it; there may be more.
    released: bool,
    /// Some drafts were skipped that have expired by the local clock alone, which may be corrected.
    doubted: bool,
}

/// A draft that is charged and has its nonce.
#[derive(Debug)]
pub(super) struct Charged {
    pub(super) draft: Draft,
    pub(super) charge: Charge,
    pub(super) nonce: Nonce,
}

/// Charged drafts, by wallet, each with its row.
type Rows = BTreeMap<AgentId, Vec<(OutboxId, Charged)>>;

impl Work {
    /// Signs queued drafts when there is room, and checks the clock: each day has its own budget.
    pub(super) async fn sign_queued(self: Rc<Self>) {
        let mut pass = Pass::default();
        let mut ticks = every(TICK);
        let mut expiries = every(EXPIRE_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let now = self.shared.clock.local();
                    self.state().tick(now);
                    self.tell_low_budgets().await;
                }
                _ = expiries.tick() => {
                    self.expire_queued().await;
                    if std::mem::take(&mut pass.doubted) {
                        self.state().queued();
                    }
                }
                () = self.may_sign.notified() => {}
            }
            if let Err(error) = self.sign_page(&mut pass).await {
                tracing::error!(%error, "cannot prepare queued transactions");
                sleep(PAUSE).await;
                let mut state = self.state();
                state.queued();
                // It may have included drafts that waited for a budget and could not be released.
                state.money.release();
                self.may_sign.notify_one();
            }
        }
    }

    /// Releases drafts for which there is a budget again, or else prepares a page of queued drafts,
    /// if there may be some and there is room.
    async fn sign_page(&self, pass: &mut Pass) -> Result<(), StoreError> {
        let release = self.state().money.may_release();
        let is_wanted = release || self.state().is_queued;
        let has_room = self.state().has_room(MAX_JOBS / 2);
        if !is_wanted || !has_room || self.shared.is_stopping() {
            return Ok(());
        }
        // There is more to do afterwards.
        self.may_sign.notify_one();
        let now = self.shared.clock.local();
        let missing = self.state().money.ledger.missing(now);
        if let Some(since) = missing {
            let spending = self.shared.store.read(move |db| read::spending(db, since));
            let spending = spending.await?;
            self.state().money.ledger.extend(since, spending);
        }
        if release {
            return self.release(pass).await;
        }
        self.expire_queued().await;
        let turn = pass.turn.clone();
        let one_each = self.state().nonces.follows_counter();
        let passed_over = self.state().passed_over();
        let page = self
            .shared
            .store
            .query(move |state| state.queued(&turn, one_each, &passed_over, PAGE));
        let drafts = page.await?;
        if drafts.is_empty() {
            self.state().queue_ended();
            pass.turn.ended();
            if std::mem::take(&mut pass.released) {
                self.state().money.release();
            }
            return Ok(());
        }
        pass.turn.read(&drafts);
        let counters = match one_each {
            true => Some(self.counters(&drafts).await),
            false => None,
        };
        let (charged, held) = self.charge(drafts, counters, pass);
        let mut signed = Vec::new();
        for (agent, rows) in charged {
            let (ids, drafts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            signed.extend(ids.into_iter().zip(self.sign(agent, drafts).await));
        }
        if !signed.is_empty() {
            self.prepare(signed).await?;
        }
        if !held.is_empty() {
            self.shared.store.commit(Commit::Hold { held }).await?;
        }
        Ok(())
    }

    /// Tells operators of budgets that are low.
    async fn tell_low_budgets(&self) {
        let untold = self.state().money.untold();
        for LowBudget { agent, day, reason } in untold {
            let at = self.shared.clock.now();
            let low = Commit::BudgetLow {
                agent,
                day,
                reason,
                at,
            };
            if let Err(error) = self.shared.store.commit(low).await {
                tracing::error!(%error, "cannot store that a budget is low");
            }
        }
    }

    /// Queries the chain for the counters of the wallets of these drafts; wallets
    /// that have a transaction in flight get none.
    async fn counters(&self, drafts: &[Arc<Outgoing>]) -> HashMap<AgentId, Nonce> {
        let mut busy = self.state().outstanding();
        let mut counters = HashMap::new();
        for agent in drafts.iter().map(|draft| draft.agent) {
            let hosted = self.registry.get(agent);
            let Some(hosted) = hosted.filter(|_| busy.insert(agent)) else {
                continue;
            };
            let Some(counter) = self.counter(agent, &hosted.address).await else {
                // The others are not asked for, either.
                self.state().queued();
                sleep(PAUSE).await;
                break;
            };
            counters.insert(agent, counter);
        }
        counters
    }

    /// The counter that the next nonce of a wallet follows; none, if the chain cannot be queried.
    async fn counter(&self, agent: AgentId, address: &Address) -> Option<Nonce> {
        let counter = match self.settings.node.account(address).await {
            Ok(account) => self.state().counter(agent, &account),
            Err(error) => {
                tracing::debug!(%error, "cannot query an account's counter");
                return None;
            }
        };
        let last_mined = move |state: &State| state.last_mined_nonce(agent, counter);
        match self.shared.store.query(last_mined).await {
            Ok(last_mined) => Some(Sequential::floor(counter, last_mined)),
            Err(error) => {
                tracing::error!(%error, "cannot read the last mined nonce");
                None
            }
        }
    }

    /// Charges drafts to their budgets and gives them nonces: under `sequential` from
    /// `counters`, one for each wallet. Returns also the drafts that are held, each with the reason.
    fn charge(
        &self,
        drafts: Vec<Arc<Outgoing>>,
        mut counters: Option<HashMap<AgentId, Nonce>>,
        pass: &mut Pass,
    ) -> (Rows, Vec<(OutboxId, String)>) {
        let now = self.shared.clock.local();
        let (mut charged, mut held) = (Rows::new(), Vec::new());
        let mut state = self.state();
        for row in drafts {
            let (id, agent, draft) = (row.id, row.agent, row.draft());
            // Drafts past their expiry are expired once that is certain.
            if draft.expires_at.is_some_and(|at| at < now) {
                pass.doubted = true;
                continue;
            }
            let charge = match state.money.pay(agent, &draft, now) {
                Admission::Paid(charge) => charge,
                Admission::Short(short) => {
                    let reason = state.money.reason(agent, &draft, short, now);
                    state.money.holding.insert(agent);
                    held.push((id, reason));
                    continue;
                }
                // The clock was set back since: the spending is known at the next pass.
                Admission::Unknown if self.registry.get(agent).is_some() => {
                    state.queued();
                    continue;
                }
                Admission::Unknown => continue,
            };
            let floor = match &mut counters {
                Some(counters) => counters.remove(&agent),
                None => Some(Nonce::at(now)),
            };
            let Some(floor) = floor else {
                state.money.refund(&charge);
                continue;
            };
            let nonce = state.nonces.next(agent, floor);
            let draft = Charged {
                draft,
                charge,
                nonce,
            };
            charged.entry(agent).or_default().push((id, draft));
        }
        (charged, held)
    }

    /// Signs charged drafts of one wallet; all or none. If the wallet cannot sign, the charges are
    /// refunded, and it is tried again later.
    pub(super) async fn sign(&self, agent: AgentId, drafts: Vec<Charged>) -> Vec<Paid> {
        let since = self.state().since();
        let hosted = self.registry.get(agent);
        let (mut transactions, mut paid) = (Vec::new(), Vec::new());
        for one in drafts {
            paid.push((one.nonce, one.charge));
            if let Some(hosted) = &hosted {
                let (from, chain) = (hosted.address.clone(), self.settings.chain.clone());
                transactions.push(one.draft.transaction(from, chain, one.nonce));
            }
        }
        let sign = Sign {
            agent,
            transactions,
        };
        let signed = match self.signer.send(sign).await {
            Ok(signed) if hosted.is_some() => signed,
            Ok(_) | Err(_) => Err(SignError::NotHosted(agent)),
        };
        match signed {
            Ok(signed) => {
                let rows = paid.into_iter().zip(signed);
                let prepared = rows.map(|((nonce, charge), signed)| {
                    let prepared = Prepared {
                        nonce,
                        hash: signed.hash(),
                        digest: signed.digest(),
                        body: signed.body(),
                        since,
                        day: charge.day,
                    };
                    (prepared, charge)
                });
                prepared.collect()
            }
            Err(error) => {
                let name = hosted.as_ref().map(|hosted| &hosted.config.name);
                tracing::error!(agent.name = name, %error, "a wallet cannot sign; its queued messages wait");
                let mut state = self.state();
                let until = Instant::now() + UNSIGNABLE_PAUSE;
                state.unsignable.insert(agent, until);
                for (_, charge) in paid {
                    state.money.refund(&charge);
                }
                Vec::new()
            }
        }
    }

    /// Has signed bytes stored, and then posted.
    async fn prepare(&self, signed: Vec<(OutboxId, Paid)>) -> Result<(), StoreError> {
        let prepared = signed.iter().map(|(id, (one, _))| (*id, one.clone()));
        let prepare = Commit::Prepare {
            prepared: prepared.collect(),
            at: self.shared.clock.now(),
        };
        let stored = self.shared.store.commit(prepare).await;
        let signed = signed.into_iter().map(|(_, one)| Some(one));
        self.stored(signed.collect(), &stored, (None, None));
        self.wake(stored?.due).await;
        Ok(())
    }

    /// Releases drafts that waited for a budget which suffices by now.
    async fn release(&self, pass: &mut Pass) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let now = self.shared.clock.local();
        let agents = self.state().money.releasing(now);
        let mut ids = Vec::new();
        for agent in agents {
            let held = store.query(move |state| state.held(agent)).await?;
            ids.extend(self.state().money.affordable(agent, &held, now));
        }
        if ids.is_empty() {
            return Ok(());
        }
        let changes = store.commit(Commit::Release { ids }).await?;
        let holding = store.query(State::agents_held).await?;
        let mut state = self.state();
        state.money.holding = holding;
        if changes.is_applied() {
            pass.released = true;
            state.queued();
        }
        Ok(())
    }

    /// Expires queued drafts that are past their expiry, if there are any.
    async fn expire_queued(&self) {
        let (store, at) = (&self.shared.store, self.shared.clock.confirmed());
        let expire = async {
            if store.query(move |state| state.has_expired(at)).await? {
                store.commit(Commit::ExpireQueued { at }).await.map(Some)
            } else {
                Ok(None)
            }
        };
        match expire.await {
            Ok(Some(changes)) => {
                tracing::info!(
                    transactions = changes.rows,
                    "queued messages expired before they could be sent"
                );
                self.shared.metrics.transactions_expired(changes.rows);
                self.wake(changes.due).await;
            }
            Ok(None) => {}
            Err::<_, StoreError>(error) => {
                tracing::error!(%error, "cannot expire queued messages");
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
