//! `agentry run`: runs the agents of agents.toml until it is asked to stop. On SIGHUP it reads its
//! configuration again.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use agentry_store::StoreError;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::args::duration;
use super::failure::{io_code, wallet_code};
use super::interrupt::{Signals, at_once};
use super::systemd::Manager;
use super::{Context, ExitCode, Failure, logging, runtime};
use crate::config::Config;
use crate::runtime::clock::Clock;
use crate::runtime::host::{Host, HostError, HostOptions, Started};
use crate::runtime::reload::Reread;
use crate::runtime::signer::SignError;
use crate::runtime::webhooks::WebhookError;
use crate::wallet::prompt;

/// Arguments of `run`. The configuration says what is hosted; see also `--set`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// A file with the wallets' password; overrides the configuration
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Time limit for stopping, within which work in progress is finished
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    stop_limit: Duration,
}

/// How often to check whether the runtime has ended by itself.
pub(super) const WATCH: Duration = Duration::from_millis(200);

pub(super) fn run(args: RunArgs, context: &Context) -> Result<(), Failure> {
    let reread = reread(args.password_file, context);
    fail_stop();
    let options = HostOptions {
        stop_limit: args.stop_limit,
        prompt: std::io::stdin().is_terminal(),
        reread: Some(reread.clone()),
        clock: Clock::of_a_process(),
        ..HostOptions::default()
    };
    let runtime = runtime()?;
    let served = runtime.block_on(serve(reread, options, context));
    // A cancelled start may still be deriving a key on its own thread.
    runtime.shutdown_background();
    prompt::restore_terminal();
    served
}

/// Loads the configuration, at the start and at each reload.
pub(super) fn reread(password_file: Option<PathBuf>, context: &Context) -> Reread {
    let ((source, overlay), registry) = (context.layers(), context.registry.clone());
    Reread::new(move || {
        let mut config = Config::load(&source, &overlay, &registry)?;
        if let Some(path) = &password_file {
            for fleet in &mut config.fleets {
                fleet.password_file = Some(path.clone());
            }
            config.wallets.password_file = Some(path.clone());
        }
        Ok(config)
    })
}

async fn serve(reread: Reread, options: HostOptions, context: &Context) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    // From here on SIGHUP does not end the process; one during the start takes effect after it.
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Failure::io("listening for signals", &error))?;
    let mut manager = Manager::of_environment();
    manager.starting();
    let Some(host) = start(reread, options, &mut signals).await? else {
        manager.stopping();
        return Ok(());
    };
    announce(host.started(), context);
    manager.ready();
    let mut reloaded = host.reloaded();
    while !host.has_ended() {
        tokio::select! {
            _ = signals.next() => break,
            _ = hangup.recv() => {
                manager.reloading();
                host.reload();
            }
            Ok(()) = reloaded.changed() => manager.ready(),
            () = tokio::time::sleep(WATCH) => {}
        }
        let started = host.started();
        manager.look(started.agents, &started.metrics);
    }
    manager.stopping();
    stop(host, &mut signals).await
}

/// Starts a host; `None` if it was asked to stop meanwhile.
pub(super) async fn start(
    reread: Reread,
    options: HostOptions,
    signals: &mut Signals,
) -> Result<Option<Host>, Failure> {
    let (cancel, cancelled) = watch::channel(false);
    let limit = options.stop_limit;
    let mut starting = tokio::task::spawn_blocking(move || -> Result<Host, Failure> {
        Ok(Host::start(reread.read()?, options, cancelled)?)
    });
    let started = tokio::select! {
        biased;
        _ = signals.next() => {
            tracing::info!("asked to stop during the start");
            // Nobody receives this if the start has just ended.
            let _ = cancel.send(true);
            tokio::select! {
                started = tokio::time::timeout(limit, &mut starting) => match started {
                    // The start completed before it saw the signal.
                    Ok(Ok(Ok(host))) => stop(host, signals).await?,
                    Ok(_) => {}
                    Err(_) => {
                        tracing::warn!(
                            "the start did not end within the stop limit; it was abandoned"
                        );
                    }
                },
                _ = signals.next() => at_once(),
            }
            return Ok(None);
        }
        started = &mut starting => started,
    };
    let host = started.map_err(|_| Failure::internal("starting panicked"))??;
    Ok(Some(host))
}

/// Stops the host and waits until it has ended; a second signal ends the process at once.
pub(super) async fn stop(host: Host, signals: &mut Signals) -> Result<(), Failure> {
    host.begin_stop();
    let mut stopping = tokio::task::spawn_blocking(move || host.stop());
    tokio::select! {
        stopped = &mut stopping => {
            stopped.map_err(|_| Failure::internal("stopping panicked"))??;
            Ok(())
        }
        _ = signals.next() => at_once(),
    }
}

/// Prints that the runtime is ready. A runtime whose standard output is closed or full still runs.
fn announce(started: &Started, context: &Context) {
    let agents = match started.agents {
        1 => "1 agent".to_owned(),
        count => format!("{count} agents"),
    };
    let (node, status) = (&started.node, started.status);
    let told = match &started.host {
        _ if context.output.is_json() => {
            let mut told = json!({
                "agents": started.agents,
                "node": node,
                "status": format!("http://{status}"),
            });
            if let Some(host) = &started.host {
                told["host"] = json!(host);
            }
            context.output.json(&told)
        }
        None => context.output.line(format!(
            "hosting {agents} on {node}; status on http://{status}/ready; Ctrl-C stops"
        )),
        Some(host) => context.output.line(format!(
            "joined the cluster of {agents} on {node} as {host}; status on http://{status}/ready; Ctrl-C stops"
        )),
    };
    if let Err(failure) = told {
        tracing::debug!(%failure, "the start could not be announced on standard output");
    }
}

/// Ends the process when a thread other than a behaviour's panics. Such a panic is a defect after
/// which an actor may be missing; the store is consistent at all times, and the supervisor restarts
/// the process.
pub(super) fn fail_stop() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let caught = std::thread::current()
            .name()
            .is_some_and(|name| name == "agentry-worker");
        if !caught {
            logging::flush();
            std::process::exit(ExitCode::Internal as i32);
        }
    }));
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let code = match error {
            HostError::Agents(error) => return error.into(),
            HostError::Password(error) => return error.into(),
            HostError::Store(error) => return error.into(),
            HostError::Cluster(error) => return error.into(),
            HostError::Wallet { ref source, .. } => wallet_code(source),
            HostError::Unlock(SignError::Locked { ref source, .. }) => wallet_code(source),
            HostError::Webhook(ref error) => webhook_code(error),
            HostError::Coordinator(_) => ExitCode::System,
            HostError::NoWallet { .. } => ExitCode::NoInput,
            HostError::Unlock(_) => ExitCode::Data,
            HostError::OtherChainId { .. }
            | HostError::OtherChain { .. }
            | HostError::OtherDialect { .. }
            | HostError::Traces(_) => ExitCode::Config,
            HostError::Devnet(error) => return error.into(),
            HostError::Node { .. } | HostError::Listen { .. } => ExitCode::Unavailable,
            HostError::Socket { .. } => ExitCode::Io,
            HostError::Cancelled => ExitCode::Temporary,
            HostError::Limits(_) | HostError::Thread(_) => ExitCode::System,
            HostError::Panicked => ExitCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

const fn webhook_code(error: &WebhookError) -> ExitCode {
    match error {
        WebhookError::Secret { .. } => ExitCode::NoInput,
        WebhookError::NotASecret { .. } => ExitCode::Data,
        WebhookError::Private(_) => ExitCode::Config,
        WebhookError::Client { .. } => ExitCode::Internal,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Missing { .. } => ExitCode::NoInput,
            StoreError::Locked { .. } => ExitCode::Temporary,
            StoreError::ForeignLock { .. } => ExitCode::Denied,
            StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::Foreign { .. }
            | StoreError::TooLong { .. }
            | StoreError::MovedAway { .. }
            | StoreError::Arriving { .. }
            | StoreError::Copy { .. }
            | StoreError::NoCopy { .. } => ExitCode::Config,
            StoreError::Broken { .. }
            | StoreError::Value(_)
            | StoreError::Open { .. }
            | StoreError::Log(_)
            | StoreError::Halted(_) => ExitCode::Data,
            StoreError::Io { source, .. } => io_code(source.kind()),
            StoreError::Sqlite(_) | StoreError::Refused(_) => ExitCode::Io,
            StoreError::Full { .. }
            | StoreError::TooMuch { .. }
            | StoreError::Following
            | StoreError::Fenced => ExitCode::Temporary,
            StoreError::Token(_) => ExitCode::Data,
            StoreError::Contradiction(_) | StoreError::Closed => ExitCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
