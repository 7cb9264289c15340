//! `agentry dev`: runs the agents of a project while they are being written.
//!
//! | part | what it does |
//! |---|---|
//! | `programs` | the programs of the configuration: what they declare, and whether they have changed |
//! | `show` | what is printed |
//! | `talk` | the messages of all agents, as they come; messages that are typed |
//!
//! It runs on an embedded node only: what is tried out here costs nothing and reaches nobody.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use agentry_store::open_for_reading;
use clap::Args;
use tokio::sync::mpsc;

use super::interrupt::Signals;
use super::{Context, ExitCode, Failure, run, runtime};
use crate::config::{AgentConfig, Config};
use crate::ops::OperationError;
use crate::runtime::clock::Clock;
use crate::runtime::control::{Client, ControlError};
use crate::runtime::host::{Host, HostOptions};
use crate::wallet::prompt;
use programs::Programs;
use show::Show;
use talk::Talk;

mod programs;
mod show;
mod talk;

/// How often files are checked for changes, and the store for messages.
const POLL: Duration = Duration::from_millis(200);

/// How many typed lines may wait.
const TYPED: usize = 16;

/// Arguments of `dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// The agent that sends what you type [default: the first one without behaviours]
    #[arg(long, value_name = "NAME")]
    wallet: Option<String>,
    /// The agent that it is sent to [default: the first one with behaviours]
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Time limit for stopping, within which work in progress is finished
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = super::args::duration)]
    stop_limit: Duration,
}

pub(super) fn run(args: &DevArgs, context: &Context) -> Result<(), Failure> {
    let file = context.global.config.clone();
    let file = file.unwrap_or_else(|| PathBuf::from("agents.toml"));
    if !file.is_file() {
        return Err(Failure::no_input(format!(
            "there is no {}; `agentry new --python NAME` writes a project that has one",
            file.display()
        )));
    }
    run::fail_stop();
    let runtime = runtime()?;
    let served = runtime.block_on(serve(&file, args, context));
    // A cancelled start may still be deriving a key on its own thread, and one reads standard input.
    runtime.shutdown_background();
    prompt::restore_terminal();
    served
}

async fn serve(file: &Path, args: &DevArgs, context: &Context) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let show = Show::new(context.output);
    let mut programs = Programs::read(file).map_err(Failure::data)?;
    for reason in programs.declare_all().await {
        if programs.are_declared() {
            show.failed(&reason)?;
        } else {
            return Err(Failure::data(reason));
        }
    }
    let reread = run::reread(None, context);
    let config = reread.read()?;
    check(&config)?;
    let talkers = Talkers::new(args, &config)?;
    let options = HostOptions {
        stop_limit: args.stop_limit,
        prompt: std::io::stdin().is_terminal(),
        reread: Some(reread),
        clock: Clock::of_a_process(),
        ..HostOptions::default()
    };
    let Some(host) = run::start(run::reread(None, context), options, &mut signals).await? else {
        return Ok(());
    };
    let ended = work(
        &host,
        &config,
        (file, &mut programs),
        &talkers,
        &show,
        &mut signals,
    )
    .await;
    run::stop(host, &mut signals).await?;
    ended
}

/// Refuses what is not for trying things out.
fn check(config: &Config) -> Result<(), Failure> {
    let refuse = |reason: &str| Err(Failure::new(ExitCode::Config, reason));
    if config.cluster.is_some() {
        return refuse("`agentry dev` runs one host, and agents.toml has a [cluster]");
    }
    if config.devnet.is_none() {
        return refuse(
            "`agentry dev` runs on an embedded node only, and agents.toml has no [devnet]; on a real \
             node, `agentry run` does the same",
        );
    }
    if config.agents.is_empty() {
        return refuse("agents.toml has no [[agent]]");
    }
    Ok(())
}

/// Who talks with whom at the prompt.
struct Talkers {
    /// The agent that sends what is typed, if there is one.
    from: Option<String>,
    /// The agent that gets it.
    to: Option<String>,
}

impl Talkers {
    fn new(args: &DevArgs, config: &Config) -> Result<Self, Failure> {
        let known = |given: &Option<String>| match given {
            Some(name) if config.agents.iter().all(|agent| agent.name != *name) => {
                let names: Vec<&str> = config.agents.iter().map(|one| one.name.as_str()).collect();
                Err(Failure::usage(format!(
                    "no agent of agents.toml is called {name:?}; they are {}",
                    names.join(", ")
                )))
            }
            given => Ok(given.clone()),
        };
        let first = |acts: bool| {
            let fits = |agent: &&AgentConfig| agent.behaviours.is_empty() != acts;
            let found = config.agents.iter().find(fits);
            found.map(|agent| agent.name.clone())
        };
        Ok(Self {
            from: known(&args.wallet)?.or_else(|| first(false)),
            to: known(&args.to)?.or_else(|| first(true)),
        })
    }
}

/// Shows what happens, loads what changes and sends what is typed, until it is to end.
async fn work(
    host: &Host,
    config: &Config,
    (file, programs): (&Path, &mut Programs),
    talkers: &Talkers,
    show: &Show,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let db = open_for_reading(&config.store.path)?;
    let mut talk = Talk::new(&db, config).await?;
    let client = Client::new(config.store.path.clone());
    show.started(
        config,
        host.started(),
        talkers.from.as_deref(),
        talkers.to.as_deref(),
    )?;
    let mut typed = typed()?;
    let mut seen = stamp(file);
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !host.has_ended() {
        tokio::select! {
            _ = signals.next() => break,
            Some(line) = typed.recv() => {
                let sent = talk.send(&client, talkers.from.as_deref(), talkers.to.as_deref(), &line);
                if let Err(reason) = sent.await {
                    show.failed(&reason)?;
                }
            }
            _ = poll.tick() => {
                for entry in talk.next().await? {
                    show.message(&entry, config.chain.dialect)?;
                }
                let now = stamp(file);
                let is_new = now != seen;
                seen = now;
                load(is_new.then_some(file), programs, &client, show).await?;
            }
        }
    }
    Ok(())
}

/// Loads what has changed: the configuration in `file`, if it is given, and programs.
async fn load(
    file: Option<&Path>,
    programs: &mut Programs,
    client: &Client,
    show: &Show,
) -> Result<(), Failure> {
    let mut restart = Vec::new();
    if let Some(file) = file {
        match Programs::read(file) {
            Ok(read) => *programs = read,
            Err(reason) => return show.failed(&reason),
        }
        for reason in programs.declare_all().await {
            show.failed(&reason)?;
        }
    } else {
        let (changed, reasons) = programs.declare_changed().await;
        for reason in reasons {
            show.failed(&reason)?;
        }
        if changed.is_empty() {
            return Ok(());
        }
        restart = changed;
    }
    match client.reload(restart).await {
        Ok(applied) => show.reloaded(&applied),
        Err(ControlError::Refused(OperationError::NotApplied(reasons))) => {
            show.failed(&reasons.join("\n"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The time and the length of a file; nothing while it does not exist.
fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let found = file.metadata().ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// The lines of standard input. A thread reads them, which ends with the process.
fn typed() -> Result<mpsc::Receiver<String>, Failure> {
    let (sender, receiver) = mpsc::channel(TYPED);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if !line.trim().is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("agentry-typed".to_owned())
        .spawn(read)
        .map_err(|error| Failure::io("starting a thread", &error))?;
    Ok(receiver)
}
