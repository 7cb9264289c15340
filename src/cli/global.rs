//! Options and context that every command shares.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use agentry_sdk::Registry;
use clap::Args;

use super::failure::{ExitCode, Failure};
use super::output::Output;
use super::runtime;
use crate::config::{Config, Overlay, Source};
use crate::ops::who;
use crate::runtime::cluster::copy::{self, Copies, CopyError, Wanted};

/// Options that every command accepts.
#[derive(Clone, Debug, Default, Args)]
pub struct GlobalArgs {
    /// The configuration file [default: agents.toml here, else the built-in one]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "AGENTRY_CONFIG"
    )]
    pub config: Option<PathBuf>,
    /// Sets a configuration value for this run, such as chain.rpc=http://127.0.0.1:8006
    #[arg(long = "set", global = true, value_name = "TABLE.KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// In a cluster: the shard that the command is about, if it names no agent
    #[arg(long, global = true, value_name = "NUMBER")]
    pub shard: Option<u16>,
    /// Prints JSON: one object on one line
    #[arg(long, global = true)]
    pub json: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("there is no `=`; write TABLE.KEY=VALUE".to_owned())?;
    if !key.contains('.') {
        return Err(format!(
            "{key:?} names no table; write TABLE.KEY=VALUE, such as chain.{key}={value}"
        ));
    }
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// What a command is about, which in a cluster decides on whose store it works.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// The agent of this name or address.
    Agent(&'a str),
    /// One store; in a cluster `--shard` names it.
    OneStore,
    /// Something that is the same in all stores.
    Anything,
    /// All stores.
    Everything,
}

impl<'a> About<'a> {
    /// An agent if one is named, else one store.
    pub fn named(agent: Option<&'a str>) -> Self {
        agent.map_or(Self::OneStore, Self::Agent)
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Cluster(error) => error.into(),
            CopyError::Store(error) => error.into(),
            CopyError::Host(error) => error.into(),
            CopyError::NoShard { .. } => Self::usage(error.to_string()),
            CopyError::Late(_) => Self::new(ExitCode::Temporary, error.to_string()),
        }
    }
}

/// The context in which a command runs.
#[derive(Debug)]
pub struct Context {
    /// The options that every command accepts.
    pub global: GlobalArgs,
    /// The kinds of behaviours that this binary knows.
    pub registry: Registry,
    /// Standard output.
    pub output: Output,
    /// Copies of a cluster's shards, which are kept up to date while the command runs.
    copies: Mutex<Copies>,
}

impl Context {
    /// Creates a context.
    pub fn new(global: GlobalArgs, registry: Registry) -> Self {
        let output = Output::new(global.json);
        Self {
            global,
            registry,
            output,
            copies: Mutex::default(),
        }
    }

    /// The effective configuration: defaults, file, environment, flags.
    ///
    /// # Errors
    /// The file cannot be read, or the configuration has errors.
    pub fn config(&self) -> Result<Config, Failure> {
        let (source, overlay) = self.layers();
        Ok(Config::load(&source, &overlay, &self.registry)?)
    }

    /// As [`config`](Self::config). In a cluster, the store is that of the shard of the named agent, or
    /// of `--shard`: this machine's copy, brought up to date.
    ///
    /// # Errors
    /// As [`config`](Self::config); in a cluster: the agent is not known, no shard is named, and the
    /// database cannot be reached.
    pub fn config_of(&self, who: About<'_>) -> Result<Config, Failure> {
        let mut configs = self.configs_of(who)?;
        let config = configs.pop();
        config.ok_or_else(|| Failure::new(ExitCode::Internal, "the cluster has no shard"))
    }

    /// As [`config_of`](Self::config_of), for each shard that the command is about.
    ///
    /// # Errors
    /// As [`config_of`](Self::config_of).
    pub fn configs_of(&self, who: About<'_>) -> Result<Vec<Config>, Failure> {
        let config = self.config()?;
        let Some(cluster) = &config.cluster else {
            return Ok(vec![config]);
        };
        let wanted = match (who, self.global.shard) {
            (_, Some(shard)) => Wanted::Shard(shard),
            (About::Agent(name), None) => Wanted::Of(who::resolve_own(name, &config)?),
            (About::Anything, None) => Wanted::Any,
            (About::Everything, None) => Wanted::All,
            (About::OneStore, None) => {
                return Err(Failure::usage(
                    "the agents are divided among the shards of a cluster: name the shard with --shard, \
                     or an agent; `agentry cluster status` shows the shards",
                ));
            }
        };
        let (configs, copies) = runtime()?.block_on(copy::wanted(&config, cluster, &wanted))?;
        *self.copies.lock().unwrap_or_else(PoisonError::into_inner) = copies;
        Ok(configs)
    }

    /// The sources that the configuration is read from.
    pub fn layers(&self) -> (Source, Overlay) {
        let source = self
            .global
            .config
            .clone()
            .map_or(Source::Customary, Source::File);
        let overlay = Overlay {
            environment: None,
            flags: self.global.set.clone(),
        };
        (source, overlay)
    }
}
