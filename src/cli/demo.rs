//! `agentry demo`: the cross-node conversation, with evidence.

use std::io::IsTerminal;
use std::time::Duration;

use agentry_devnet::{Fault, Faults, MIN_BLOCK_TIME};
use agentry_protocol::Dialect;
use clap::Args;

use super::args::duration;
use super::devnet::{dialect, node_url};
use super::output::Tone;
use super::{Context, ExitCode, Failure, runtime};
use crate::demo::{self, DemoError, DemoNodes, SceneError};
use crate::runtime::host::HostError;
use crate::runtime::limits::{self, Needs};
use crate::wallet::{PasswordSource, WalletStore};

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// The dialect of the embedded nodes: aitbc-2026-04 or aitbc-2026-08
    #[arg(long, value_name = "NAME", default_value_t, value_parser = dialect, conflicts_with = "node")]
    dialect: Dialect,
    /// The time between blocks of the embedded nodes
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    block_time: Duration,
    /// A fault of the embedded node that produces blocks, such as silent-drop=0.2
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "node")]
    fault: Vec<Fault>,
    /// An existing node to use instead of the embedded ones: first the block producer, then a
    /// follower
    #[arg(long, value_name = "URL", value_parser = node_url, requires = "wallet")]
    node: Vec<String>,
    /// A wallet with a balance on that chain: first the one that pings, then the one that answers
    #[arg(long, value_name = "NAME", requires = "node")]
    wallet: Vec<String>,
    /// A file with the wallets' password
    #[arg(long, value_name = "FILE", requires = "node")]
    password_file: Option<std::path::PathBuf>,
    /// Time limit of the whole demonstration
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

pub(super) fn run(args: DemoArgs, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    let limit = args.timeout;
    let place = place(args, context)?;
    let needs = Needs {
        embedded_nodes: 2,
        ..Needs::default()
    };
    limits::prepare(&needs).map_err(HostError::from)?;
    let evidence = runtime()?.block_on(demo::run(place, limit, |step| {
        if !out.is_json() {
            let after = out.tone(Tone::Faint, &format!("{:6.2} s", step.after.as_secs_f64()));
            // A failed write is ignored here: the last line reports it when the command ends.
            drop(out.line(format!(
                "{after}  {} {}",
                out.tone(Tone::Good, "✓"),
                step.what
            )));
            for (name, value) in step.details {
                drop(out.line(format!("            {name:12}  {value}")));
            }
        }
    }))?;
    if out.is_json() {
        return out.json(&evidence);
    }
    out.line(format!(
        "\n{}: registration, messaging, retrieval and a task, {} transactions in {:.1} s; {} ms from \
         the ping to its pong",
        out.tone(Tone::Good, "passed"),
        evidence.said.len(),
        evidence.total_ms as f64 / 1000.0,
        evidence.round_trip_ms
    ))
}

fn place(args: DemoArgs, context: &Context) -> Result<DemoNodes, Failure> {
    if args.node.is_empty() {
        if args.block_time < MIN_BLOCK_TIME {
            return Err(Failure::usage(format!(
                "--block-time {}: the shortest is {}",
                humantime::format_duration(args.block_time),
                humantime::format_duration(MIN_BLOCK_TIME)
            )));
        }
        let mut faults = Faults::none();
        for fault in args.fault {
            faults.set(fault);
        }
        return Ok(DemoNodes::Embedded {
            dialect: args.dialect,
            block_time: args.block_time,
            faults,
        });
    }
    let two = |what: &str, given: Vec<String>| -> Result<[String; 2], Failure> {
        given.try_into().map_err(|given: Vec<String>| {
            Failure::usage(format!(
                "--{what} is given {} times; the demonstration needs two",
                given.len()
            ))
        })
    };
    let [producer, follower] = two("node", args.node)?;
    let [pinger, ponger] = two("wallet", args.wallet)?;
    let config = context.config()?;
    Ok(DemoNodes::Nodes {
        chain: config.chain.chain(),
        producer,
        follower,
        wallets: WalletStore::from_config(&config.wallets),
        pinger,
        ponger,
        password: PasswordSource {
            flag: args.password_file,
            configured: config.wallets.password_file,
            keystore_dir: config.wallets.keystore_dir,
            prompt: std::io::stdin().is_terminal(),
        },
    })
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        let code = match error {
            DemoError::Scene(error) => return error.into(),
            DemoError::Control(error) => return error.into(),
            DemoError::Node(error) => return error.into(),
            DemoError::Store(error) => return error.into(),
            DemoError::Missing { .. } => ExitCode::Temporary,
            DemoError::Bare { .. } => ExitCode::Unavailable,
            DemoError::Refused(_) => ExitCode::Data,
            DemoError::NotOnce { .. }
            | DemoError::NotSigned { .. }
            | DemoError::Other { .. }
            | DemoError::Forked { .. } => ExitCode::Failed,
            DemoError::Panicked => ExitCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SceneError> for Failure {
    fn from(error: SceneError) -> Self {
        match error {
            SceneError::Folder(error) => {
                Self::io("creating a folder for the demonstration", &error)
            }
            SceneError::Random(_) => Self::internal(error.to_string()),
            SceneError::Devnet(error) => error.into(),
            SceneError::Node(error) => error.into(),
            SceneError::Wallet(error) => error.into(),
            SceneError::Password(error) => error.into(),
            SceneError::Keystore(_) => Self::data(error.to_string()),
            SceneError::Config(error) => error.into(),
            SceneError::Host(error) => error.into(),
        }
    }
}
