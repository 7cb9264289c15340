//! The laws that every behaviour keeps.

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

/// The environment variable that says which history alone is tried.
const SEED: &str = "AGENTRY_SEED";

type Prepare = Arc<dyn Fn(&mut Simulation) + Send + Sync>;
type Beside = Arc<dyn Fn(Agent) -> Agent + Send + Sync>;

/// A behaviour, and what must be known of it to try it out; then [`check`](Self::check) or
/// [`assert_behaviour_contract`].
#[derive(Clone)]
pub struct Contract {
    kind: &'static str,
    registry: Registry,
    settings: Value,
    folder: PathBuf,
    samples: Vec<MessageBuilder>,
    /// What strangers post.
    strange: Arc<[MessageBuilder]>,
    prepare: Option<Prepare>,
    beside: Option<Beside>,
    conversational: bool,
    state_limit: usize,
    histories: u64,
}

impl Contract {
    /// Of a behaviour without settings, on messages of all kinds that agentry knows.
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

    /// With these settings: what agents.toml holds besides `kind`.
    #[must_use]
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// In a binary with these kinds: for a behaviour that looks for executors. The behaviour
    /// itself must be among them.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// With an agents.toml in this folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Besides the common ones, messages that the behaviour acts on. Without a sender of their own
    /// they come from the peers `ann`, `ben` and `cid`, who also answer, by chance, what they are
    /// sent, as far as [`prepare`](Self::prepare) gives them no script.
    #[must_use]
    pub fn samples(mut self, samples: impl IntoIterator<Item = MessageBuilder>) -> Self {
        self.samples.splice(0..0, samples);
        self
    }

    /// Does this to every simulation before it begins: cards, names, scripts of peers, plans for
    /// tasks. It must do the same each time.
    #[must_use]
    pub fn prepare(mut self, prepare: impl Fn(&mut Simulation) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Arc::new(prepare));
        self
    }

    /// Adds behaviours to the agent, behind the one that is tried.
    #[must_use]
    pub fn beside(mut self, beside: impl Fn(Agent) -> Agent + Send + Sync + 'static) -> Self {
        self.beside = Some(Arc::new(beside));
        self
    }

    /// It means to converse: two of them may answer each other without end. The runtime slows
    /// them by the rate and ends them by the budget.
    #[must_use]
    pub const fn conversational(mut self) -> Self {
        self.conversational = true;
        self
    }

    /// What it may remember after a long history, in bytes of JSON. Default: 256 KiB.
    #[must_use]
    pub const fn state_limit(mut self, bytes: usize) -> Self {
        self.state_limit = bytes;
        self
    }

    /// How many random histories are tried, with the seeds from 1. Default: 24.
    #[must_use]
    pub const fn histories(mut self, histories: u64) -> Self {
        self.histories = histories;
        self
    }

    /// Tries the behaviour on every law.
    ///
    /// 1. Its kind is well formed, its commands and capabilities fit on a card, and a key that it
    ///    does not know is refused.
    /// 2. What it accepts and watches depends on the message alone, whatever a stranger posts.
    /// 3. No handler panics, and none asks for what cannot be.
    /// 4. It does not answer acknowledgments.
    /// 5. Two of it come to an end with each other, unless it is
    ///    [conversational](Self::conversational).
    /// 6. What it remembers stays within [bounds](Self::state_limit).
    /// 7. Crashes, restarts, repetitions, losses and reorganisations change nothing: state,
    ///    messages sent, settlements and tasks are in the end those of the same history without
    ///    them.
    ///
    /// With `AGENTRY_SEED` in the environment, of the random histories that one alone is tried.
    ///
    /// # Errors
    /// The first law that it breaks.
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
                    format!("{SEED} is no number: {error}"),
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
                "something is tried",
                "no message of any history reached a handler; give Contract::samples messages \
                 that it acts on",
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
    "the law {law:?} is broken: {detail}{}",
    seed.map(|seed| format!(" (AGENTRY_SEED={seed} repeats it alone)")).unwrap_or_default()
)]
pub struct Breach {
    /// Which law.
    pub law: &'static str,
    /// How.
    pub detail: String,
    /// The seed of the history that showed it, if it was a random one.
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

/// Tries a behaviour on the [laws](Contract::check) that the runtime and other agents count on.
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
/// It breaks one; the text says which, how, and what seed repeats it.
pub async fn assert_behaviour_contract(contract: Contract) {
    if let Err(breach) = contract.check().await {
        panic!("behaviour {}: {breach}", contract.kind);
    }
}

/// The end of a future, or what it panicked with.
async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(
        move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(words(&*panic))),
        },
    )
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without words"))
}
