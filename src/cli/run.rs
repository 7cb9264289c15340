//! `agentry run`: hosts the agents of agents.toml until it is asked to stop. SIGHUP has it read its
//! configuration anew.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::args::duration;
use super::failure::{io_code, wallet_code};
use super::{Context, ExitCode, Failure, runtime};
use crate::config::Config;
use crate::runtime::host::{Host, HostError, HostOptions};
use crate::runtime::reload::Reread;
use crate::runtime::signer::SignError;
use crate::store::StoreError;

/// Arguments of `run`. What it hosts is in the configuration; see also `--set`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// A file that holds the wallets' password; wins over the configuration's
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How long stopping may take: what is in hand is finished within it
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    stop_limit: Duration,
}

/// How often it is looked whether the runtime has ended by itself.
const WATCH: Duration = Duration::from_millis(200);

pub(super) fn run(args: RunArgs, context: &Context) -> Result<(), Failure> {
    let reread = reread(args.password_file, context);
    let config = reread.read()?;
    fail_stop();
    let options = HostOptions {
        stop_limit: args.stop_limit,
        prompt: std::io::stdin().is_terminal(),
        reread: Some(reread),
        ..HostOptions::default()
    };
    runtime()?.block_on(serve(config, options, context))
}

/// Reads the configuration, now and whenever it is to be read anew.
fn reread(password_file: Option<PathBuf>, context: &Context) -> Reread {
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

async fn serve(config: Config, options: HostOptions, context: &Context) -> Result<(), Failure> {
    let failed = |error| Failure::io("listening for signals", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    // From here on it ends nobody; one that comes during the start is heeded after it.
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let (cancel, cancelled) = watch::channel(false);
    let mut starting = tokio::task::spawn_blocking(move || Host::start(config, options, cancelled));
    let mut asked = false;
    let host = loop {
        tokio::select! {
            started = &mut starting => break started.map_err(|_| Failure::internal("starting panicked"))?,
            _ = terminate.recv() => asked = true,
            _ = interrupt.recv() => asked = true,
        }
        if asked && cancel.send(true).is_err() {
            break Err(crate::runtime::host::HostError::Cancelled);
        }
    };
    let host = match host {
        Err(_) if asked => return Ok(()),
        other => other?,
    };
    let started = host.started();
    if context.output.is_json() {
        context.output.json(&json!({
            "agents": started.agents,
            "node": started.node,
            "status": format!("http://{}", started.status),
        }))?;
    } else {
        context.output.line(format!(
            "hosting {} {} on {}; status on http://{}/ready; Ctrl-C stops",
            started.agents,
            if started.agents == 1 {
                "agent"
            } else {
                "agents"
            },
            started.node,
            started.status
        ))?;
    }
    while !asked && !host.has_ended() {
        tokio::select! {
            _ = terminate.recv() => asked = true,
            _ = interrupt.recv() => asked = true,
            _ = hangup.recv() => host.reload(),
            () = tokio::time::sleep(WATCH) => {}
        }
    }
    host.begin_stop();
    let mut stopping = tokio::task::spawn_blocking(move || host.stop());
    tokio::select! {
        stopped = &mut stopping => {
            stopped.map_err(|_| Failure::internal("stopping panicked"))??;
            Ok(())
        }
        _ = terminate.recv() => at_once(),
        _ = interrupt.recv() => at_once(),
    }
}

/// A second signal: nothing more is finished. The store is whole at every moment.
fn at_once() -> Result<(), Failure> {
    tracing::warn!(
        "stopped at once by a second signal; what was in hand goes on at the next start"
    );
    std::process::exit(ExitCode::Temporary as i32)
}

/// A panic outside a behaviour is a defect, after which an actor may be missing: the process ends
/// there, since its store is whole at every moment, and whatever supervises it starts it anew.
fn fail_stop() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let caught = std::thread::current()
            .name()
            .is_some_and(|name| name == "agentry-worker");
        if !caught {
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
            HostError::Wallet { ref source, .. } => wallet_code(source),
            HostError::Unlock(SignError::Locked { ref source, .. }) => wallet_code(source),
            HostError::NoWallet { .. } => ExitCode::NoInput,
            HostError::Unlock(_) => ExitCode::Data,
            HostError::OtherChainId { .. } | HostError::OtherChain { .. } => ExitCode::Config,
            HostError::Devnet(error) => return error.into(),
            HostError::Node { .. } | HostError::Listen { .. } => ExitCode::Unavailable,
            HostError::Socket { .. } => ExitCode::Io,
            HostError::Cancelled => ExitCode::Temporary,
            HostError::Thread(_) | HostError::Panicked => ExitCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Missing { .. } => ExitCode::NoInput,
            StoreError::Locked { .. } => ExitCode::Temporary,
            StoreError::Newer { .. } | StoreError::Older { .. } | StoreError::Foreign { .. } => {
                ExitCode::Config
            }
            StoreError::Damaged { .. } | StoreError::Open { .. } => ExitCode::Data,
            StoreError::Io { source, .. } => io_code(source.kind()),
            StoreError::Sqlite(_) | StoreError::Refused { .. } => ExitCode::Io,
            StoreError::Closed => ExitCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
