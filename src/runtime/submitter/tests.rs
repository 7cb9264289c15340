//! The submitter with a real store and a real node, under budgets.

mod busy;
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::{NodeClient, NodeOptions};
use agentry_core::commit::HostedAgent;
use agentry_core::rows::{DAY_MS, Draft, ReceiptRequest, Spent, day_of};
use agentry_core::{Cause, Commit, OutboxId};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{Address, BlockHeight, ChainId, Json, Seed, SigningKey, genesis_hash};
use agentry_store::list::{self, Filter, OutboxItem};
use agentry_store::{Reader, Store};
use tokio::sync::watch;

use super::*;
use crate::config::{AgentConfig, CommonConfig};
use crate::runtime::catch_up::CatchUp;
use crate::runtime::clock::Clock;
use crate::runtime::directory::Directory;
use crate::runtime::environment::RuntimeEnvironment;
use crate::runtime::host::InHand;
use crate::runtime::metrics::Metrics;
use crate::runtime::rates::Rates;
use crate::runtime::registry::Hosted;
use crate::runtime::router::WakeAgents;
use crate::runtime::signer::SignError;
use crate::runtime::tasks::Pool;
use crate::runtime::{Confirmed, Spans};

/// How long an immediate change may take.
const PATIENCE: Duration = Duration::from_secs(60);

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
struct Stage {
    _dir: tempfile::TempDir,
    devnet: Devnet,
    shared: Shared,
    registry: AgentRegistry,
    policy: NoncePolicy,
    pen: Addr<Pen>,
    woken: Arc<std::sync::Mutex<Vec<AgentId>>>,
    _stop: watch::Sender<bool>,
}

impl Stage {
    async fn set(budgets: &[u64], node: DevnetConfig, policy: NoncePolicy) -> Self {
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
        let today = clock.local_ms() % DAY_MS;
        clock.shift(i64::try_from(DAY_MS / 2).unwrap() - i64::try_from(today).unwrap());
        clock.resume(clock.local_ms());
        let registry = AgentRegistry::default();
        let directory = Directory::load(&store, Vec::new()).await.unwrap();
        let environment = RuntimeEnvironment::new(
            store.clone(),
            directory.clone(),
            registry.clone(),
            clock.clone(),
            "0",
            0,
        );
        let (stop, stopping) = watch::channel(false);
        let shared = Shared {
            store,
            clock,
            metrics: Arc::new(Metrics::new()),
            workers: tokio::runtime::Handle::current(),
            stopping,
            confirmed: Confirmed::default(),
            spans: Spans::default(),
            in_hand: InHand::default(),
            directory,
            environment: Arc::new(environment),
            pool: Pool::default(),
            rates: Rates::default(),
            catch_up: CatchUp::default(),
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
    fn allow(&self, budgets: &[u64]) {
        let hosted = budgets.iter().zip(1..).map(|(budget, id)| {
            let id = AgentId(id);
            Arc::new(Hosted {
                id,
                address: address(id),
                public_key: Some(key(id).public_key()),
                config: Arc::new(AgentConfig {
                    name: format!("agent-{id}"),
                    wallet: format!("agent-{id}"),
                    common: CommonConfig {
                        fee: 10,
                        time_limit: Duration::from_secs(1),
                        attempts: 1,
                        per_sender_rate: None,
                        max_wait: Duration::from_secs(1),
                        daily_budget: *budget,
                    },
                    behaviours: Vec::new(),
                }),
            })
        });
        self.registry.replace(hosted);
    }

    fn settings(&self) -> SubmitterSettings {
        SubmitterSettings {
            chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
            node: NodeClient::new(&self.devnet.url(), NodeOptions::default()).unwrap(),
            mempool: None,
            genesis: genesis_hash(&"ait-devnet".parse().unwrap()),
            node_is_known: true,
            policy: self.policy,
            final_depth: 10,
        }
    }

    /// Starts a submitter, as after a restart of the process.
    async fn submitter(&self) -> Addr<Submitter> {
        self.submitter_with(self.settings()).await
    }

    async fn submitter_with(&self, settings: SubmitterSettings) -> Addr<Submitter> {
        let (shared, registry) = (self.shared.clone(), self.registry.clone());
        let submitter = Submitter::load(shared, registry, settings, self.pen.clone().recipient())
            .await
            .unwrap()
            .start();
        let wake = Bell(Arc::clone(&self.woken)).start().recipient();
        submitter.send(Connect { wake }).await.unwrap();
        submitter
    }

    /// A draft of an agent's, to itself.
    fn draft(&self, agent: AgentId, origin: &str, cause: Cause) -> Draft {
        Draft {
            cause,
            ..Draft::new(origin.to_owned(), address(agent), 10, Json::string(origin))
        }
    }

    /// Does what an agent does: asks for nonces, stores, and reports what was stored.
    async fn send(&self, submitter: &Addr<Submitter>, agent: AgentId, draft: Draft) -> OutboxId {
        let drafts = vec![draft.clone()];
        let mut prepared = submitter.send(Allot { agent, drafts }).await.unwrap();
        let prepared = prepared.pop().unwrap();
        let costs = vec![draft.cost()];
        let commit = Commit::Send {
            agent,
            draft,
            prepared: prepared.clone(),
            at: self.shared.clock.now_ms(),
        };
        let rows = self.shared.store.commit(commit).await.unwrap().sends;
        let id = rows[0].id;
        let stored = Stored {
            agent,
            rows,
            bodies: vec![prepared],
            costs,
            recharged: Vec::new(),
            reopened: Vec::new(),
            span: tracing::Span::none(),
        };
        submitter.send(stored).await.unwrap();
        id
    }

    async fn rows(&self) -> Vec<OutboxItem> {
        let filter = Filter {
            limit: 1_000,
            ..Filter::default()
        };
        let read = move |db: &Reader| list::outbox(db, &filter);
        self.shared.store.read(read).await.unwrap()
    }

    /// The states of all rows, held ones as `held`.
    async fn states(&self) -> Vec<String> {
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
    async fn until(&self, wanted: &[&str]) {
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

    async fn spent(&self, agent: AgentId) -> Spent {
        let day = day_of(self.shared.clock.local_ms());
        let read = move |db: &Reader| read::spent(db, agent, day);
        self.shared.store.read(read).await.unwrap()
    }

    fn shift_days(&self, days: i64) {
        self.shared
            .clock
            .shift(days * i64::try_from(DAY_MS).unwrap());
    }
}

/// The signed bytes of a draft that need not be queued, as soon as no queued draft goes first.
async fn at_once(submitter: &Addr<Submitter>, agent: AgentId, draft: Draft) -> Prepared {
    let began = Instant::now();
    loop {
        let drafts = vec![draft.clone()];
        let mut prepared = submitter.send(Allot { agent, drafts }).await.unwrap();
        if let Some(prepared) = prepared.pop().unwrap() {
            return prepared;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "the draft is not signed immediately"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const ONE: AgentId = AgentId(1);
const TWO: AgentId = AgentId(2);

fn on_stage<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    System::new().block_on(test());
}

async fn usual(budgets: &[u64]) -> Stage {
    Stage::set(budgets, DevnetConfig::default(), NoncePolicy::Timestamp).await
}

#[test]
fn drafts_over_budget_wait_for_the_next_day_and_delay_no_others() {
    on_stage(async || {
        let stage = usual(&[25, 1_000]).await;
        let submitter = stage.submitter().await;
        for index in 0..4 {
            let draft = stage.draft(ONE, &format!("one/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        stage.until(&["accepted", "accepted", "held", "held"]).await;
        let reason = stage.rows().await[2].reason.clone().unwrap();
        assert!(reason.contains("20 of 25"), "{reason}");
        // Another wallet's drafts are sent, and immediately: only held drafts wait.
        at_once(&submitter, TWO, stage.draft(TWO, "two/0", Cause::Own)).await;
        assert_eq!(stage.spent(ONE).await.all, 20);

        stage.shift_days(1);
        stage.until(&["accepted"; 4]).await;
        assert_eq!(stage.spent(ONE).await.all, 20);
        // The clock steps back: that day's budget is spent already.
        stage.shift_days(-1);
        let draft = stage.draft(ONE, "one/4", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        stage
            .until(&["accepted", "accepted", "accepted", "accepted", "held"])
            .await;
        assert_eq!(stage.spent(ONE).await.all, 20);
    });
}

#[test]
fn answers_to_unverified_messages_cost_a_tenth_and_delay_nothing() {
    on_stage(async || {
        let stage = usual(&[200]).await;
        let submitter = stage.submitter().await;
        for index in 0..4 {
            let draft = stage.draft(ONE, &format!("unverified/{index}"), Cause::Unverified);
            stage.send(&submitter, ONE, draft).await;
        }
        stage.until(&["accepted", "accepted", "held", "held"]).await;
        for index in 0..18 {
            let draft = stage.draft(ONE, &format!("verified/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        let mut wanted = vec!["accepted", "accepted", "held", "held"];
        wanted.extend(["accepted"; 18]);
        stage.until(&wanted).await;
        let spent = Spent {
            all: 200,
            unverified: 20,
            ..Spent::default()
        };
        assert_eq!(stage.spent(ONE).await, spent);
        let draft = stage.draft(ONE, "verified/18", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        wanted.push("held");
        stage.until(&wanted).await;
    });
}

#[test]
fn a_restart_neither_loses_nor_repeats_spending() {
    on_stage(async || {
        let stage = usual(&[20]).await;
        let submitter = stage.submitter().await;
        for index in 0..3 {
            let draft = stage.draft(ONE, &format!("one/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        stage.until(&["accepted", "accepted", "held"]).await;
        drop(submitter);
        let submitter = stage.submitter().await;
        let draft = stage.draft(ONE, "one/3", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        stage.until(&["accepted", "accepted", "held", "held"]).await;
        // The operator raises the budget: one of the two can be paid for.
        stage.allow(&[35]);
        submitter.send(LookAtQueue::default()).await.unwrap();
        stage
            .until(&["accepted", "accepted", "accepted", "held"])
            .await;
        assert_eq!(stage.spent(ONE).await.all, 30);
    });
}

#[test]
fn many_held_drafts_are_released_gradually() {
    on_stage(async || {
        let stage = usual(&[10]).await;
        let submitter = stage.submitter().await;
        let count = 3 * sign::PAGE;
        for index in 0..count {
            let draft = stage.draft(ONE, &format!("one/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        let mut wanted = vec!["accepted"];
        wanted.extend(std::iter::repeat_n("held", count - 1));
        stage.until(&wanted).await;
        stage.allow(&[10 * count as u64]);
        submitter.send(LookAtQueue::default()).await.unwrap();
        stage.until(&vec!["accepted"; count]).await;
        assert_eq!(stage.spent(ONE).await.all, 10 * count as u64);
    });
}

#[test]
fn a_charge_that_is_not_stored_or_fails_is_refunded() {
    on_stage(async || {
        let node = DevnetConfig {
            min_fee: 20,
            ..DevnetConfig::default()
        };
        let stage = Stage::set(&[20], node, NoncePolicy::Timestamp).await;
        let submitter = stage.submitter().await;
        let agent = ONE;
        let dear = || Draft {
            fee: 20,
            ..stage.draft(ONE, "dear", Cause::Own)
        };
        let allot = async || {
            let drafts = vec![dear()];
            let mut prepared = submitter.send(Allot { agent, drafts }).await.unwrap();
            prepared.pop().unwrap()
        };
        // The commit that held it was void.
        let first = at_once(&submitter, ONE, dear()).await;
        assert!(allot().await.is_none(), "the money is reserved");
        let stored = Stored {
            agent,
            rows: Vec::new(),
            bodies: vec![Some(first)],
            costs: vec![20],
            recharged: Vec::new(),
            reopened: Vec::new(),
            span: tracing::Span::none(),
        };
        submitter.send(stored).await.unwrap();
        let again = allot().await;
        assert!(again.is_some(), "the money is refunded");
        let stored = Stored {
            agent,
            rows: Vec::new(),
            bodies: vec![again],
            costs: vec![20],
            recharged: Vec::new(),
            reopened: Vec::new(),
            span: tracing::Span::none(),
        };
        submitter.send(stored).await.unwrap();
        // The node refuses these: each is paid for, fails, and its refund pays for the next.
        let asked = Draft {
            receipt: Some(ReceiptRequest {
                behaviour: Some("pong".to_owned()),
                label: Some("label".to_owned()),
                wanted: None,
                within_ms: 0,
                resends: 0,
            }),
            ..stage.draft(ONE, "cheap/0", Cause::Own)
        };
        stage.send(&submitter, ONE, asked).await;
        for index in 1..5 {
            let cheap = stage.draft(ONE, &format!("cheap/{index}"), Cause::Own);
            stage.send(&submitter, ONE, cheap).await;
        }
        stage.until(&["failed"; 5]).await;
        stage.send(&submitter, ONE, dear()).await;
        stage
            .until(&["failed", "failed", "failed", "failed", "failed", "accepted"])
            .await;
        assert_eq!(stage.spent(ONE).await.all, 20);
        assert!(
            stage.woken.lock().unwrap().contains(&ONE),
            "the behaviour is told that its message was not sent"
        );
    });
}

#[test]
fn an_expired_draft_is_not_sent() {
    on_stage(async || {
        let stage = usual(&[10]).await;
        let submitter = stage.submitter().await;
        let now = stage.shared.clock.confirmed_ms();
        let over = Draft {
            expires_at: Some(now - 1),
            ..stage.draft(ONE, "over", Cause::Own)
        };
        stage.send(&submitter, ONE, over).await;
        stage.until(&["failed"]).await;
        let draft = stage.draft(ONE, "in time", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        stage.until(&["failed", "accepted"]).await;
        // Held until it expires; it is not charged on the next day.
        let soon = Draft {
            expires_at: Some(stage.shared.clock.now_ms() + 60_000),
            ..stage.draft(ONE, "soon", Cause::Own)
        };
        stage.send(&submitter, ONE, soon).await;
        stage.until(&["failed", "accepted", "held"]).await;
        stage.shared.clock.pass(DAY_MS);
        stage.until(&["failed", "accepted", "failed"]).await;
        assert_eq!(stage.spent(ONE).await.all, 0);
    });
}

#[test]
fn a_draft_that_has_expired_by_a_wrong_clock_alone_waits_for_the_right_time() {
    on_stage(async || {
        let stage = usual(&[100]).await;
        let submitter = stage.submitter().await;
        let draft = Draft {
            expires_at: Some(stage.shared.clock.now_ms() + 3_600_000),
            ..stage.draft(ONE, "soon", Cause::Own)
        };
        stage.shift_days(1);
        stage.send(&submitter, ONE, draft).await;
        // It was examined: the draft queued behind it is sent.
        let other = stage.draft(ONE, "other", Cause::Own);
        stage.send(&submitter, ONE, other).await;
        stage.until(&["queued", "accepted"]).await;
        stage.shift_days(-1);
        stage.until(&["accepted", "accepted"]).await;
    });
}

#[test]
fn budgets_hold_under_sequential_nonces_too() {
    on_stage(async || {
        let node = DevnetConfig {
            account_nonces: agentry_devnet::NoncePolicy::Sequential,
            ..DevnetConfig::default()
        };
        let stage = Stage::set(&[10, 10], node, NoncePolicy::Sequential).await;
        let submitter = stage.submitter().await;
        let dear = Draft {
            fee: 50,
            ..stage.draft(ONE, "dear", Cause::Own)
        };
        stage.send(&submitter, ONE, dear).await;
        let cheap = stage.draft(ONE, "cheap", Cause::Own);
        stage.send(&submitter, ONE, cheap).await;
        let other = stage.draft(TWO, "other", Cause::Own);
        stage.send(&submitter, TWO, other).await;
        stage.until(&["held", "accepted", "accepted"]).await;
        let reason = stage.rows().await[0].reason.clone().unwrap();
        assert!(reason.contains("larger budget"), "{reason}");
        assert_eq!(stage.spent(ONE).await.all, 10);
    });
}

#[test]
fn a_draft_dropped_while_it_waits_is_not_charged() {
    on_stage(async || {
        let stage = usual(&[0]).await;
        let submitter = stage.submitter().await;
        let id = stage
            .send(&submitter, ONE, stage.draft(ONE, "one", Cause::Own))
            .await;
        stage.until(&["held"]).await;
        let drop = Commit::Drop {
            target: agentry_core::commit::QueueTarget::Outbox(id),
            at: 1,
        };
        stage.shared.store.commit(drop).await.unwrap();
        stage.allow(&[100]);
        submitter.send(LookAtQueue::default()).await.unwrap();
        stage
            .send(&submitter, ONE, stage.draft(ONE, "two", Cause::Own))
            .await;
        stage.until(&["failed", "accepted"]).await;
        assert_eq!(stage.spent(ONE).await.all, 10);
    });
}

#[test]
fn a_nonce_that_the_chain_shows_is_not_reused() {
    on_stage(async || {
        let stage = usual(&[1_000]).await;
        let submitter = stage.submitter().await;
        let first = at_once(&submitter, ONE, stage.draft(ONE, "one", Cause::Own)).await;
        let ahead = first.nonce + 40 * i64::try_from(DAY_MS).unwrap();
        let news = ChainNews {
            nonces: vec![(ONE, ahead)],
            ..ChainNews::default()
        };
        submitter.send(news).await.unwrap();
        let next = at_once(&submitter, ONE, stage.draft(ONE, "two", Cause::Own)).await;
        assert_eq!(next.nonce, ahead + 1);
    });
}

#[test]
fn a_transaction_counts_as_accepted_once_however_that_becomes_known() {
    on_stage(async || {
        let stage = usual(&[1_000]).await;
        let submitter = stage.submitter().await;
        let accepted = || stage.shared.metrics.accepted_count();
        let mined = async |id| {
            let hash = stage.rows().await.pop().unwrap().transaction.unwrap();
            let news = ChainNews {
                mined: vec![(id, hash.parse().unwrap())],
                ..ChainNews::default()
            };
            submitter.send(news).await.unwrap();
        };
        stage.devnet.faults().set("lose-answer=1".parse().unwrap());
        let draft = stage.draft(ONE, "one", Cause::Own);
        let id = stage.send(&submitter, ONE, draft).await;
        stage.until(&["accepted"]).await;
        assert_eq!(accepted(), 0, "it may be accepted");
        mined(id).await;
        assert_eq!(accepted(), 1);

        stage.devnet.faults().clear("lose-answer");
        let draft = stage.draft(ONE, "two", Cause::Own);
        let id = stage.send(&submitter, ONE, draft).await;
        stage.until(&["accepted", "accepted"]).await;
        assert_eq!(accepted(), 2);
        mined(id).await;
        assert_eq!(accepted(), 2);
    });
}

#[test]
fn nothing_is_signed_before_the_chain_is_read() {
    on_stage(async || {
        let mut stage = usual(&[1_000]).await;
        stage.shared.catch_up = CatchUp::to(BlockHeight(7), OutboxId(0));
        let submitter = stage.submitter().await;
        let draft = stage.draft(ONE, "one", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        let drafts = vec![stage.draft(ONE, "two", Cause::Own)];
        let allot = Allot { agent: ONE, drafts };
        assert_eq!(submitter.send(allot).await.unwrap(), [None]);
        stage.until(&["queued"]).await;
        stage
            .shared
            .catch_up
            .read(Some(BlockHeight(7)), false, false);
        stage.until(&["accepted"]).await;
    });
}

#[test]
fn nothing_is_posted_to_a_node_of_another_chain() {
    on_stage(async || {
        let mut stage = usual(&[1_000]).await;
        let other = Devnet::start(DevnetConfig {
            dir: stage._dir.path().join("other"),
            chain_id: "ait-other".parse().unwrap(),
            block_time: Duration::from_millis(50),
            ..DevnetConfig::default()
        })
        .unwrap();
        let right = std::mem::replace(&mut stage.devnet, other);
        let settings = SubmitterSettings {
            node_is_known: false,
            ..stage.settings()
        };
        let submitter = stage.submitter_with(settings).await;
        let draft = stage.draft(ONE, "one", Cause::Own);
        stage.send(&submitter, ONE, draft).await;
        let node = NodeClient::new(&stage.devnet.url(), NodeOptions::default()).unwrap();
        let began = Instant::now();
        while node.head().await.unwrap().unwrap().height < BlockHeight(30) {
            assert!(began.elapsed() < PATIENCE, "the node makes no blocks");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(stage.states().await, ["queued"]);
        assert!(!stage.shared.metrics.condition().node_up);
        drop(submitter);
        stage.devnet = right;
        let settings = SubmitterSettings {
            node_is_known: false,
            ..stage.settings()
        };
        let _submitter = stage.submitter_with(settings).await;
        stage.until(&["accepted"]).await;
        assert!(stage.shared.metrics.condition().node_up);
    });
}
