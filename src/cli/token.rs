//! `agentry token create|list|revoke`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_core::{Rights, TokenName};
use agentry_protocol::{Address, Amount};
use agentry_store::open_for_reading;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::args;
use super::global::About;
use super::names::shown;
use super::output::{moment, or_dash};
use super::{Context, Failure, runtime};
use crate::config::Config;
use crate::ops::names::Names;
use crate::ops::tokens::{self, NewToken, Secret, TokenEntry};
use crate::ops::who;

/// The subcommands of `token`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints its secret, once
    ///
    /// Whoever has the secret may call the runtime over HTTP, within the limits that are given here.
    /// Only a hash of it is stored.
    Create(CreateArgs),
    /// Lists the tokens, without their secrets
    List,
    /// Ends a token at once
    Revoke {
        /// Its name
        name: TokenName,
    },
}

/// Arguments of `token create`.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// A name for it: lower-case letters, digits, -, _ and .
    name: TokenName,
    /// What its holder may do, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "RIGHT",
        default_value = "read"
    )]
    allow: Vec<Right>,
    /// A hosted agent that its holder may use; can be repeated [default: all]
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Vec<String>,
    /// To whom its holder may send; can be repeated [default: anybody]
    #[arg(long, value_name = "ADDR|NAME")]
    to: Vec<String>,
    /// What its holder may spend in a UTC day, amounts and fees [default: no limit but those
    /// of the agents]
    #[arg(long, value_name = "AMOUNT", value_parser = args::amount)]
    daily_budget: Option<Amount>,
    /// How long it is valid, for example 30d [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    valid_for: Option<Duration>,
    /// Writes the secret to this new file (mode 0600) instead of printing it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// What a holder may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Right {
    /// Read messages, tasks and the directory
    Read,
    /// Send messages and jobs, cancel and answer jobs
    Send,
    /// Change the queues, decide on approvals, reload the configuration; of all agents
    Operate,
}

pub(super) fn run(command: TokenCommand, context: &Context) -> Result<(), Failure> {
    // Each shard of a cluster has all tokens.
    let configs = context.configs_of(match &command {
        TokenCommand::List => About::Anything,
        TokenCommand::Create(_) | TokenCommand::Revoke { .. } => About::Everything,
    })?;
    let Some(config) = configs.first() else {
        return Ok(());
    };
    let stores = configs.iter().map(|config| config.store.path.as_path());
    let stores: Vec<_> = stores.collect();
    runtime()?.block_on(async {
        match command {
            TokenCommand::Create(args) => create(args, config, &stores, context).await,
            TokenCommand::List => list(config, context),
            TokenCommand::Revoke { name } => {
                tokens::revoke(name.clone(), &stores).await?;
                let out = context.output;
                if out.is_json() {
                    return out.json(&json!({ "revoked": name }));
                }
                out.line(format!("revoked {name}"))
            }
        }
    })
}

async fn create(
    args: CreateArgs,
    config: &Config,
    stores: &[&Path],
    context: &Context,
) -> Result<(), Failure> {
    let has = |right| args.allow.contains(&right);
    let rights = Rights {
        read: has(Right::Read),
        send: has(Right::Send),
        operate: has(Right::Operate),
    };
    if rights.operate && !args.agent.is_empty() {
        return Err(Failure::usage(
            "who may operate acts on all agents: leave out --agent, or `operate`",
        ));
    }
    let new = NewToken {
        name: args.name,
        agents: some(&args.agent, |who| {
            who::resolve_own(who, config).map_err(Into::into)
        })?,
        rights,
        recipients: some(&args.to, |who| {
            who::resolve(who, config).map_err(Into::into)
        })?,
        daily_budget: args.daily_budget,
        valid_for: args.valid_for,
    };
    // The file is made first: a secret that could not be written would be lost.
    let file = match &args.secret_file {
        Some(path) => {
            let made = private_file(path);
            let failed = |error| Failure::io(format!("making {}", path.display()), &error);
            Some((made.map_err(failed)?, path))
        }
        None => None,
    };
    let created = tokens::create(new, stores).await;
    let (token, secret) = match (created, &file) {
        (Ok(created), _) => created,
        (Err(error), Some((_, path))) => {
            // It is empty, and this command made it.
            drop(std::fs::remove_file(path));
            return Err(error.into());
        }
        (Err(error), None) => return Err(error.into()),
    };
    let shown = match file {
        Some((mut file, path)) => {
            let written = writeln!(file, "{}", secret.expose()).and_then(|()| file.sync_all());
            let failed = |error| Failure::io(format!("writing {}", path.display()), &error);
            written.map_err(failed)?;
            None
        }
        None => Some(secret),
    };
    let out = context.output;
    if out.is_json() {
        let secret = shown.as_ref().map(Secret::expose);
        return out.json(&json!({ "token": token, "secret": secret }));
    }
    match shown {
        Some(secret) => {
            out.line(format!(
                "created {}; its secret, which is not shown again:",
                token.name
            ))?;
            out.line(secret.expose())
        }
        None => out.line(format!("created {}", token.name)),
    }
}

/// A new file that only its owner can read.
fn private_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// The addresses of those who are named; `None` if nobody is.
fn some(
    named: &[String],
    address: impl Fn(&str) -> Result<Address, Failure>,
) -> Result<Option<BTreeSet<Address>>, Failure> {
    if named.is_empty() {
        return Ok(None);
    }
    named
        .iter()
        .map(|who| address(who))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn list(config: &Config, context: &Context) -> Result<(), Failure> {
    let db = open_for_reading(&config.store.path)?;
    let tokens = tokens::list(&db)?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "tokens": tokens }));
    }
    if tokens.is_empty() {
        return out.line("there is no token; `agentry token create` makes one");
    }
    let names = Names::new(config, Some(&db))?;
    let rows: Vec<Vec<String>> = tokens.iter().map(|token| line(token, &names)).collect();
    let headings = [
        "NAME",
        "ALLOWS",
        "AGENTS",
        "TO",
        "SPENT TODAY",
        "DAILY BUDGET",
        "EXPIRES",
    ];
    out.table(&headings, &rows)
}

fn line(token: &TokenEntry, names: &Names<'_>) -> Vec<String> {
    let Rights {
        read,
        send,
        operate,
    } = token.rights;
    let rights = [(read, "read"), (send, "send"), (operate, "operate")];
    let rights = rights.into_iter().filter(|(has, _)| *has);
    let listed = |all: &Option<BTreeSet<Address>>, none: &str| match all {
        None => none.to_owned(),
        Some(some) => {
            let some = some.iter().map(|one| shown(one.as_str(), names));
            some.collect::<Vec<_>>().join(", ")
        }
    };
    vec![
        token.name.to_string(),
        rights.map(|(_, word)| word).collect::<Vec<_>>().join(", "),
        listed(&token.agents, "all"),
        listed(&token.recipients, "anybody"),
        names.amount(token.spent_today),
        or_dash(token.daily_budget.map(|budget| names.amount(budget))),
        token.expires_at.map_or_else(|| "-".to_owned(), moment),
    ]
}
