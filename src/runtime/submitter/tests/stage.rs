//! A store, a node and hosted wallets for the submitter.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::{NodeClient, NodeOptions};
use agentry_core::commit::HostedAgent;
use agentry_core::rows::{Draft, Spent};
use agentry_core::{AgentId, Cause, Commit, OutboxId};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::timestamp::DAY_MS;
use agentry_protocol::{
    Address, Amount, BlockHeight, Chain, Dialect, Json, Seed, SigningKey, Timestamp, genesis_hash,
};
use agentry_store::list::{self, Filter, OutboxItem};
use agentry_store::{Reader, Store};
use tokio::sync::watch;

use super::super::*;
use crate::config::{AgentConfig, CommonConfig};
use crate::runtime::Confirmed;
use crate::runtime::catch_up::CatchUp;
use crate::runtime::clock::Clock;
use crate::runtime::directory::{Cards, Directory};
use crate::runtime::environment::RuntimeEnvironment;
use crate::runtime::host::InHand;
use crate::runtime::lease::Lease;
use crate::runtime::metrics::Metrics;
use crate::runtime::pending::SeenPending;
use crate::runtime::rates::Rates;
use crate::runtime::registry::Hosted;
use crate::runtime::router::WakeAgents;
use crate::runtime::signer::SignError;
use crate::runtime::tasks::Pool;
use crate::runtime::traces::Traces;

/// How long an immediate change may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

fn key(agent: AgentId) -> SigningKey {
    let byte = u8::try_from(agent.0).unwrap();
    SigningKey::from_seed(&Seed::from_bytes([byte; 32]))
}

fn address(agent: AgentId) -> Address {
    Address::from_public_key(&key(agent).public_key())
}

/// Signs every transaction it is given.
struct Pen;

impl Actor for Pen {
    type Context = Context<Self>;
}

impl Handler<Sign> for Pen {
    type Result = Result<Vec<agentry_protocol::SignedTransaction>, SignError>;

    fn handle(&mut self, sign: Sign, _: &mut Self::Context) -> Self::Result {
        let key = key(sign.agent);
        let signed = sign.transactions.into_iter().map(|one| one.sign(&key));
        Ok(signed.collect())
    }
}

/// Records which agents were woken.
#[derive(Default)]
struct Bell(Arc<std::sync::Mutex<Vec<AgentId>>>);

impl Actor for Bell {
    type Context = Context<Self>;
}

impl Handler<WakeAgents> for Bell {
    type Result = <WakeAgents as Message>::Result;

    fn handle(&mut self, wake: WakeAgents, _: &mut Self::Context) -> Self::Result {
        self.0.lock().unwrap().extend(wake.0);
    }
}

/// A store, a node, and hosted wallets with budgets.
pub(super) struct Stage {
    pub(super) _dir: tempfile::TempDir,
    pub(super) devnet: Devnet,
    pub(super) shared: Shared,
    pub(super) registry: AgentRegistry,
    pub(super) policy: NoncePolicy,
    pen: Addr<Pen>,
    pub(super) woken: Arc<std::sync::Mutex<Vec<AgentId>>>,
    _stop: watch::Sender<bool>,
}

impl Stage {
    pub(super) async fn set(budgets: &[u64], node: DevnetConfig, policy: NoncePolicy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agents: Vec<AgentId> = (1..).map(AgentId).take(budgets.len()).collect();
        let devnet = Devnet::start(DevnetConfig {
            dir: dir.path().join("node"),
            block_time: Duration::from_millis(50),
            allocations: agents.iter().map(|id| (address(*id), 1_000_000)).collect(),
            ..node
        })
        .unwrap();
        let store = Store::open(&dir.path().join("agentry.db")).unwrap();
        let rows = agents.iter().map(|id| HostedAgent {
            address: address(*id),
            name: format!("agent-{id}"),
            start_height: BlockHeight(0),
        });
        let host = Commit::Host {
            agents: rows.collect(),
        };
        assert_eq!(store.commit(host).await.unwrap().agents, agents);
        let clock = Clock::default();
        // At noon: no day ends during a test, unless the test moves the clock.
        let today = clock.local().get() % DAY_MS;
        clock.shift(i64::try_from(DAY_MS / 2).unwrap() - i64::try_from(today).unwrap());
        clock.resume(clock.local());
        let registry = AgentRegistry::default();
        let directory = Directory::load(&store, Vec::new(), &Cards::default())
            .await
            .unwrap();
        let environment = RuntimeEnvironment::new(
            store.clone(),
            directory.clone(),
            registry.clone(),
            clock.clone(),
            "0",
            Timestamp::EPOCH,
        );
        let (stop, stopping) = watch::channel(false);
        let shared = Shared {
            store,
            clock,
            metrics: Arc::new(Metrics::new()),
            workers: tokio::runtime::Handle::current(),
            stopping,
            confirmed: Confirmed::default(),
            in_hand: InHand::default(),
            directory,
            environment: Arc::new(environment),
            pool: Pool::default(),
            jobs: None,
            rates: Rates::default(),
            catch_up: CatchUp::default(),
            seen_pending: SeenPending::default(),
            traces: Traces::default(),
            lease: Lease::default(),
        };
        let stage = Self {
            _dir: dir,
            devnet,
            shared,
            registry,
            policy,
            pen: Pen.start(),
            woken: Arc::default(),
            _stop: stop,
        };
        stage.allow(budgets);
        stage
    }

    /// Gives the wallets these budgets.
    pub(super) fn allow(&self, budgets: &[u64]) {
        let hosted = budgets.iter().zip(1..).map(|(budget, id)| {
            let id = AgentId(id);
            Arc::new(Hosted {
                id,
                address: address(id),
                public_key: Some(key(id).public_key()),
                config: Arc::new(AgentConfig {
                    name: format!("agent-{id}"),
                    wallet: format!("agent-{id}").into(),
                    common: Arc::new(CommonConfig {
                        fee: Amount(10),
                        time_limit: Duration::from_secs(1),
                        attempts: 1,
                        per_sender_rate: None,
                        max_wait: Duration::from_secs(1),
                        daily_budget: Amount(*budget),
                        max_hops: 16,
                        approve: crate::config::approve::Approvals::NONE,
                        daily_tokens: None,
                    }),
                    behaviours: Arc::new([]),
                }),
            })
        });
        self.registry.replace(hosted);
    }

    pub(super) fn settings(&self) -> SubmitterSettings {
        SubmitterSettings {
            chain: Chain {
                id: "ait-devnet".parse().unwrap(),
                dialect: Dialect::April2026,
            },
            node: NodeClient::new(&self.devnet.url(), NodeOptions::default()).unwrap(),
            mempool: None,
            genesis: genesis_hash(&"ait-devnet".parse().unwrap()),
            node_is_known: true,
            policy: self.policy,
            final_depth: 10,
        }
    }

    /// Starts a submitter, as after a restart of the process.
    pub(super) async fn submitter(&self) -> Running {
        self.submitter_with(self.settings()).await
    }

    pub(super) async fn submitter_with(&self, settings: SubmitterSettings) -> Running {
        let (shared, registry) = (self.shared.clone(), self.registry.clone());
        let submitter = Submitter::load(shared, registry, settings, self.pen.clone().recipient())
            .await
            .unwrap();
        let work = Rc::clone(&submitter.0);
        let wake = Bell(Arc::clone(&self.woken)).start().recipient();
        let submitter = submitter.waking(wake).start();
        Running { submitter, work }
    }

    /// A draft of an agent's, to itself.
    pub(super) fn draft(&self, agent: AgentId, origin: &str, cause: Cause) -> Draft {
        Draft {
            cause,
            ..Draft::new(
                origin.to_owned(),
                address(agent),
                Amount(10),
                Json::string(origin),
            )
        }
    }

    /// A commit that sends a draft.
    pub(super) fn commit(&self, agent: AgentId, draft: Draft) -> Commit {
        Commit::Send {
            token: None,
            agent,
            draft,
            prepared: None,
            at: self.shared.clock.now(),
        }
    }

    /// Sends a draft, as agents do.
    pub(super) async fn send(&self, submitter: &Running, agent: AgentId, draft: Draft) -> OutboxId {
        let outbox = Outbox::new(
            self.shared.store.clone(),
            submitter.submitter.clone().recipient(),
        );
        let submit = Submit {
            agent,
            commit: self.commit(agent, draft),
            queueing: Queueing::Waits,
            seen_at: None,
            span: tracing::Span::none(),
        };
        outbox.commit(submit).await.unwrap().sends[0].id()
    }

    pub(super) async fn rows(&self) -> Vec<OutboxItem> {
        let filter = Filter {
            limit: 1_000,
            ..Filter::default()
        };
        let read = move |db: &Reader| list::outbox(db, &filter);
        self.shared.store.read(read).await.unwrap()
    }

    /// The states of all rows, held ones as `held`.
    pub(super) async fn states(&self) -> Vec<String> {
        let state = |item: OutboxItem| {
            if item.waits_for_budget {
                "held".to_owned()
            } else {
                item.state
            }
        };
        self.rows().await.into_iter().map(state).collect()
    }

    /// Waits until the rows have these states.
    pub(super) async fn until(&self, wanted: &[&str]) {
        let began = Instant::now();
        loop {
            let states = self.states().await;
            if states == wanted {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{states:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn spent(&self, agent: AgentId) -> Spent {
        let day = self.shared.clock.local().day();
        let read = move |db: &Reader| read::spent(db, agent, day);
        self.shared.store.read(read).await.unwrap()
    }

    pub(super) fn shift_days(&self, days: i64) {
        self.shared
            .clock
            .shift(days * i64::try_from(DAY_MS).unwrap());
    }
}

/// A submitter that was started.
pub(super) struct Running {
    submitter: Addr<Submitter>,
    work: Rc<Work>,
}

impl Deref for Running {
    type Target = Addr<Submitter>;

    fn deref(&self) -> &Self::Target {
        &self.submitter
    }
}

impl Running {
    /// Signs the draft of a commit that need not be queued, as soon as no queued draft goes first.
    pub(super) async fn sign_at_once(&self, agent: AgentId, mut commit: Commit) -> Signed {
        let began = Instant::now();
        loop {
            let mut signed = self.work.sign_at_once(agent, &mut commit).await;
            if let Some(signed) = signed.pop().unwrap() {
                return Signed { commit, signed };
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the draft is not signed immediately"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the draft of a commit need not be queued.
    pub(super) async fn signs_at_once(&self, agent: AgentId, mut commit: Commit) -> bool {
        let signed = self.work.sign_at_once(agent, &mut commit).await;
        signed.into_iter().all(|one| one.is_some())
    }

    /// Has a signed commit stored, or tries to.
    pub(super) async fn store(&self, signed: Signed) -> Result<Changes, StoreError> {
        let Signed { commit, signed } = signed;
        let stored = self.work.shared.store.commit(commit).await;
        self.work.stored(vec![Some(signed)], &stored, (None, None));
        stored
    }

    /// Whether the answer to a commit is still awaited.
    pub(super) fn is_storing(&self) -> bool {
        self.work.state().money.unstored > 0
    }
}

/// A commit whose draft is signed.
pub(super) struct Signed {
    commit: Commit,
    pub(super) signed: submit::Paid,
}

pub(super) const ONE: AgentId = AgentId(1);
pub(super) const TWO: AgentId = AgentId(2);

pub(super) fn on_stage<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    System::new().block_on(test());
}

pub(super) async fn usual(budgets: &[u64]) -> Stage {
    Stage::set(budgets, DevnetConfig::default(), NoncePolicy::Timestamp).await
}
