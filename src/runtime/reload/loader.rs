//! The configuration and the wallets of a process, as they were read last. Each shard of the process
//! applies what was read; a shard that begins to run here later begins with it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use agentry_devnet::Devnet;
use agentry_protocol::{Address, Dialect, PublicKey};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};

use super::{Refused, Reread, difference, is_meant, lines_of};
use crate::config::{Config, HostedAgent};
use crate::runtime::host::HostError;
use crate::runtime::host::prepare::{self, Candidate, ENDOWMENT, Part, Passwords, Survey};
use crate::runtime::registry::Neighbours;
use crate::runtime::signer::Slot;

/// A configuration, with the wallets that were found for it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration, as it was read.
    pub(crate) config: Arc<Config>,
    /// The wallets of all its agents.
    candidates: Vec<Candidate>,
    /// The same wallets as each shard of a cluster knows those of the others; none on one machine.
    pub(crate) neighbours: Arc<Neighbours>,
}

impl Loaded {
    /// A configuration with its wallets.
    pub(crate) fn new(config: Config, candidates: Vec<Candidate>) -> Self {
        let neighbours = match config.cluster {
            Some(_) => Neighbours::new(candidates.iter().map(|candidate| {
                let name = candidate.config.name.clone();
                (name, candidate.address.clone(), candidate.public_key)
            })),
            None => Neighbours::default(),
        };
        Self {
            config: Arc::new(config),
            candidates,
            neighbours: Arc::new(neighbours),
        }
    }

    /// How many agents there are.
    pub(crate) fn agents(&self) -> usize {
        self.candidates.len()
    }

    /// The wallets of a part of the agents; of all of them, on one machine.
    pub(crate) fn wallets_of(&self, part: Option<Part>) -> Vec<Candidate> {
        let is_in = |one: &&Candidate| part.is_none_or(|part| part.has(&one.address));
        self.candidates.iter().filter(is_in).cloned().collect()
    }

    /// The key of the wallet at an address.
    pub(crate) fn slot(&self, wallet: &Address) -> Option<&Arc<Slot>> {
        let mut all = self.candidates.iter();
        all.find(|one| one.address == *wallet).map(|one| &one.slot)
    }
}

/// Reads the configuration of a process again. Clones share what was read.
#[derive(Clone, Debug)]
pub(crate) struct Loader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reread: Option<Reread>,
    workers: Handle,
    /// The embedded node, if there is one. It ends with its process, whoever still has a loader.
    devnet: Option<Weak<Devnet>>,
    /// What is used by one reading at a time.
    passwords: Mutex<Passwords>,
    loaded: watch::Sender<Arc<Loaded>>,
}

impl Loader {
    /// A loader of a process that was started with this configuration, and these passwords.
    pub(crate) fn new(
        reread: Option<Reread>,
        workers: Handle,
        devnet: Option<&Arc<Devnet>>,
        passwords: Passwords,
        loaded: Loaded,
    ) -> Self {
        Self(Arc::new(Inner {
            reread,
            workers,
            devnet: devnet.map(Arc::downgrade),
            passwords: Mutex::new(passwords),
            loaded: watch::Sender::new(Arc::new(loaded)),
        }))
    }

    /// What was read last.
    pub(crate) fn now(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.loaded.borrow())
    }

    /// What was read last, as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Loaded>> {
        self.0.loaded.subscribe()
    }

    /// Reads the configuration, whenever that is asked for, until this is dropped. What is wrong with
    /// it is in the log. `reloaded` learns of each time that it was read.
    pub(crate) async fn heed(self, mut reload: watch::Receiver<u64>, reloaded: watch::Sender<u64>) {
        while reload.changed().await.is_ok() {
            let request = *reload.borrow_and_update();
            // Reported.
            drop(self.load(&[]).await);
            reloaded.send_replace(request);
        }
    }

    /// Reads the configuration again, and looks for the wallets. The behaviours of the agents and fleets
    /// in `restart` are to be restarted.
    ///
    /// # Errors
    /// Every reason why the configuration is not used. They are in the log, too.
    pub(crate) async fn load(&self, restart: &[String]) -> Result<Arc<Loaded>, Refused> {
        let read = self.read(restart).await;
        if let Err(Refused(reasons)) = &read {
            for reason in reasons {
                tracing::error!("the configuration cannot be applied: {reason}");
            }
            tracing::error!(
                reasons = reasons.len(),
                "the configuration was read and not applied; the runtime continues with the previous one"
            );
        }
        read
    }

    async fn read(&self, restart: &[String]) -> Result<Arc<Loaded>, Refused> {
        let mut passwords = self.0.passwords.lock().await;
        let before = self.now();
        let Some(reread) = self.0.reread.clone() else {
            return Err(Refused::because(
                "this runtime was not started from a file that could be read again",
            ));
        };
        let config = self
            .blocking(move || reread.read())
            .await?
            .map_err(|error| Refused(lines_of(&error)))?;
        let mut reasons = difference::needs_restart(&before.config, &config);
        passwords.search_again();
        let found = self.look(&config, &mut passwords).await?;
        reasons.extend(unknown(&found.candidates, restart));
        reasons.extend(found.errors.iter().map(ToString::to_string));
        if self.0.devnet.is_none() {
            let missing = found.missing.iter().map(prepare::no_wallet);
            reasons.extend(missing.map(|error| error.to_string()));
        }
        if !reasons.is_empty() {
            return Err(Refused(reasons));
        }
        let mut candidates = self.check_passwords(found.candidates, &before).await?;
        if !found.missing.is_empty() {
            let provided = self.provide(found.missing, &config, &mut passwords).await?;
            candidates.extend(provided);
        }
        let loaded = Arc::new(Loaded::new(config, candidates));
        // While nobody else reads: what was read last is told last.
        self.0.loaded.send_replace(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Has the embedded node create missing wallets and fund them.
    async fn provide(
        &self,
        missing: Vec<HostedAgent>,
        config: &Config,
        passwords: &mut Passwords,
    ) -> Result<Vec<Candidate>, Refused> {
        let mut of_missing = config.clone();
        of_missing.fleets.clear();
        let names: HashSet<&str> = missing.iter().map(|one| one.agent.name.as_str()).collect();
        of_missing
            .agents
            .retain(|agent| names.contains(agent.name.as_str()));
        let mut known = std::mem::take(passwords);
        let devnet = self.0.devnet.as_ref().and_then(Weak::upgrade);
        let dialect = config.chain.dialect;
        let (provided, known) = self
            .blocking(move || {
                let provided = provide(&missing, &mut known, dialect, devnet.as_deref());
                (provided, known)
            })
            .await?;
        *passwords = known;
        provided.map_err(Refused::because)?;
        let found = self.look(&of_missing, passwords).await?;
        match found.errors.first() {
            None => Ok(found.candidates),
            Some(error) => Err(Refused::because(error)),
        }
    }

    async fn look(&self, config: &Config, passwords: &mut Passwords) -> Result<Survey, Refused> {
        let (config, mut known) = (config.clone(), std::mem::take(passwords));
        let (found, known) = self
            .blocking(move || (prepare::survey(&config, &mut known), known))
            .await?;
        *passwords = known;
        Ok(found)
    }

    /// Checks the passwords of the wallets that are new. What the others' keys are is known.
    async fn check_passwords(
        &self,
        candidates: Vec<Candidate>,
        before: &Loaded,
    ) -> Result<Vec<Candidate>, Refused> {
        let known: HashMap<&Address, Option<PublicKey>> = before
            .candidates
            .iter()
            .map(|one| (&one.address, one.public_key))
            .collect();
        let is_known = |one: &Candidate| known.contains_key(&one.address);
        let (mut all, mut new): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_known);
        for one in &mut all {
            let key = known.get(&one.address).copied().flatten();
            one.public_key = one.public_key.or(key);
        }
        let (new, checked) = self
            .blocking(move || {
                let checked = prepare::check_passwords(&mut new);
                (new, checked)
            })
            .await?;
        match checked {
            Ok(()) => all.extend(new),
            Err(errors) => {
                return Err(Refused(errors.iter().map(ToString::to_string).collect()));
            }
        }
        Ok(all)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let work = self.0.workers.spawn_blocking(work);
        work.await
            .map_err(|_| Refused::because(HostError::Panicked))
    }
}

/// Creates wallets on the embedded node, and funds them.
fn provide(
    missing: &[HostedAgent],
    passwords: &mut Passwords,
    dialect: Dialect,
    devnet: Option<&Devnet>,
) -> Result<(), HostError> {
    for address in prepare::create_missing(missing, passwords, dialect)? {
        if let Some(devnet) = devnet {
            devnet.fund(&address, ENDOWMENT)?;
            tracing::info!(%address, amount = ENDOWMENT, "funded a new wallet");
        }
    }
    Ok(())
}

/// The reasons why agents and fleets cannot be restarted: there are none of these names.
fn unknown(candidates: &[Candidate], restart: &[String]) -> Vec<String> {
    let is_known = |name: &str| {
        let mut all = candidates.iter();
        all.any(|one| is_meant(name, &one.config.name))
    };
    let unknown = restart.iter().filter(|name| !is_known(name));
    unknown
        .map(|name| format!("no agent and no fleet is called {name:?}, so none can restart"))
        .collect()
}
