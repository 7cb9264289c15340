//! The contract of a behaviour: the laws that every behaviour keeps.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use agentry_protocol::Address;
use serde_json::{Map, Value, json};

use super::{Agent, MessageBuilder, Simulation};
use crate::{AnyBehaviour, Behaviour, BuildError, Registry};

mod history;
mod hostile;
mod laws;
mod peers;

/// The environment variable with the seed of the only random history to run.
const SEED: &str = "AGENTRY_SEED";

type Prepare = Arc<dyn Fn(&mut Simulation) + Send + Sync>;
type Beside = Arc<dyn Fn(Agent) -> Agent + Send + Sync>;

/// A behaviour and the parameters of its contract test. Run the test with [`check`](Self::check)
/// or [`assert_behaviour_contract`].
#[derive(Clone)]
pub struct Contract {
    kind: &'static str,
    registry: Registry,
    settings: Value,
    folder: PathBuf,
    samples: Vec<MessageBuilder>,
    /// Messages that strangers may post.
    strange: Arc<[MessageBuilder]>,
    prepare: Option<Prepare>,
    beside: Option<Beside>,
    conversational: bool,
    state_limit: usize,
    histories: u64,
}

impl Contract {
    /// The contract of a behaviour without settings, tested with messages of all kinds that agentry
    /// knows.
    pub fn of<B: Behaviour>() -> Self {
        Self {
            kind: B::KIND,
            registry: Registry::new().with::<B>(),
            settings: json!({}),
            folder: PathBuf::new(),
            samples: hostile::common(),
            strange: hostile::hostile().into(),
            prepare: None,
            beside: None,
            conversational: false,
            state_limit: 256 << 10,
            histories: 24,
        }
    }

    /// Sets the behaviour's settings: the keys in agents.toml besides `kind`.
    #[must_use]
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the kinds of the binary, for a behaviour that uses executors. The behaviour itself must
    /// be among them.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Sets the folder of agents.toml.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Adds messages that the behaviour acts on to the common ones. A message without a sender
    /// comes from one of the peers `ann`, `ben` and `cid`. These peers also answer messages at
    /// random, unless [`prepare`](Self::prepare) gives them a script.
    #[must_use]
    pub fn samples(mut self, samples: impl IntoIterator<Item = MessageBuilder>) -> Self {
        self.samples.splice(0..0, samples);
        self
    }

    /// Sets a function that prepares every simulation before it begins: cards, names, scripts of
    /// peers, plans for tasks. It must do the same each time.
    #[must_use]
    pub fn prepare(mut self, prepare: impl Fn(&mut Simulation) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Arc::new(prepare));
        self
    }

    /// Adds behaviours to the agent, after the one under test.
    #[must_use]
    pub fn beside(mut self, beside: impl Fn(Agent) -> Agent + Send + Sync + 'static) -> Self {
        self.beside = Some(Arc::new(beside));
        self
    }

    /// Declares that the behaviour converses: two of its kind may answer each other without end.
    /// The runtime slows such a conversation by the rate limit and ends it by the budget.
    #[must_use]
    pub const fn conversational(mut self) -> Self {
        self.conversational = true;
        self
    }

    /// Sets the largest state after a long history, in bytes of JSON. Default: 256 KiB.
    #[must_use]
    pub const fn state_limit(mut self, bytes: usize) -> Self {
        self.state_limit = bytes;
        self
    }

    /// Sets the number of random histories, with seeds from 1. Default: 24.
    #[must_use]
    pub const fn histories(mut self, histories: u64) -> Self {
        self.histories = histories;
        self
    }

    /// Tests the behaviour against every law.
    ///
    /// 1. Its kind is well formed, its commands and capabilities fit on a card, and an unknown key
    ///    is refused.
    /// 2. Whether it accepts or watches a message depends on the message only, whatever a stranger
    ///    posts.
    /// 3. No handler panics or returns an impossible effect.
    /// 4. It does not answer acknowledgments.
    /// 5. Two instances stop answering each other, unless it is
    ///    [conversational](Self::conversational).
    /// 6. Its state stays within the [limit](Self::state_limit).
    /// 7. Crashes, restarts, duplicates, losses and reorganisations change nothing: the final
    ///    state, messages sent, settlements and tasks are those of the same history without them.
    ///
    /// With `AGENTRY_SEED` in the environment, the only random history is the one with that seed.
    ///
    /// # Errors
    /// The first law that the behaviour breaks.
    pub async fn check(&self) -> Result<(), Breach> {
        laws::form(self)?;
        laws::acceptance(self)?;
        laws::hostility(self).await?;
        if !self.conversational {
            laws::end(self).await?;
        }
        laws::memory(self).await?;
        let seeds = match std::env::var(SEED).ok().map(|seed| seed.parse::<u64>()) {
            Some(Ok(seed)) => vec![seed],
            Some(Err(error)) => {
                return Err(Breach::new(
                    "the seed",
                    format!("{SEED} is not a number: {error}"),
                ));
            }
            None => (1..=self.histories).collect(),
        };
        let mut runs = 0;
        for seed in seeds {
            let tried = history::compare(self, seed).await;
            runs += tried.map_err(|breach| Breach {
                seed: Some(seed),
                ..breach
            })?;
        }
        if runs == 0 {
            return Err(Breach::new(
                "a handler runs",
                "no message of any history reached a handler; pass messages that the behaviour \
                 accepts to Contract::samples",
            ));
        }
        Ok(())
    }

    fn build(&self, settings: Map<String, Value>) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
        self.registry.build(self.kind, settings, &self.folder)
    }

    fn keys(&self) -> Map<String, Value> {
        self.settings.as_object().cloned().unwrap_or_default()
    }

    fn agent(&self, name: &str) -> Agent {
        let agent = Agent::named(name).with_kind(
            &self.registry,
            self.kind,
            self.kind,
            self.settings.clone(),
            &self.folder,
        );
        // Otherwise answers without end would end.
        let agent = agent.max_hops(u32::MAX);
        match &self.beside {
            Some(beside) => beside(agent),
            None => agent,
        }
    }

    fn prepared(&self, seed: u64) -> Simulation {
        let mut chain = Simulation::new(seed);
        if let Some(prepare) = &self.prepare {
            prepare(&mut chain);
        }
        chain
    }

    fn sample(&self, index: usize, from: &Address) -> MessageBuilder {
        let sample = self.samples.get(index % self.samples.len().max(1));
        let sample = sample.cloned();
        sample
            .unwrap_or_else(|| MessageBuilder::text("hello"))
            .or_from(from)
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("kind", &self.kind)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A law that a behaviour breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the behaviour breaks the law {law:?}: {detail}{}",
    seed.map(|seed| format!(" (AGENTRY_SEED={seed} repeats this history)")).unwrap_or_default()
)]
pub struct Breach {
    /// The law.
    pub law: &'static str,
    /// How the behaviour breaks it.
    pub detail: String,
    /// The seed of the history that breaks it, if that is a random one.
    pub seed: Option<u64>,
}

impl Breach {
    fn new(law: &'static str, detail: impl Into<String>) -> Self {
        Self {
            law,
            detail: detail.into(),
            seed: None,
        }
    }
}

/// Tests a behaviour against the [laws](Contract::check) that the runtime and other agents rely
/// on.
///
/// ```
/// # use agentry_sdk::{Behaviour, BehaviourError, ConfigureError, Context, Effects, Message, Setup};
/// use agentry_sdk::testing::{Contract, MessageBuilder, assert_behaviour_contract, block_on};
///
/// # #[derive(Debug)]
/// # struct Echo;
/// # #[derive(Debug, serde::Deserialize)]
/// # #[serde(deny_unknown_fields)]
/// # struct NoSettings {}
/// # impl Behaviour for Echo {
/// #     const KIND: &'static str = "echo";
/// #     type Settings = NoSettings;
/// #     fn configure(_: NoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
/// #         Ok(Echo)
/// #     }
/// #     fn accepts(&self, message: &Message) -> bool {
/// #         message.text().is_some_and(|text| text.starts_with("echo ")) && !message.is_answer()
/// #     }
/// #     async fn on_message(&self, message: &Message, _: &Context) -> Result<Effects, BehaviourError> {
/// #         let text = message.text().unwrap_or_default();
/// #         Ok(Effects::none().reply(text.trim_start_matches("echo ")))
/// #     }
/// # }
/// block_on(assert_behaviour_contract(
///     Contract::of::<Echo>().samples([MessageBuilder::text("echo hello")]),
/// ));
/// ```
///
/// # Panics
/// If the behaviour breaks a law. The message names the law, how it is broken, and the seed that
/// repeats it.
pub async fn assert_behaviour_contract(contract: Contract) {
    if let Err(breach) = contract.check().await {
        panic!("behaviour {}: {breach}", contract.kind);
    }
}

/// The output of a future, or the message of its panic.
async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(
        move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
        },
    )
    .await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("no message"))
}
