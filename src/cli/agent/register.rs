//! `agentry agent register|withdraw`.

use std::path::Path;
use std::time::{Duration, Instant};

use agentry_core::OutboxId;
use agentry_protocol::timestamp::millis;
use clap::Args;
use serde_json::json;

use super::super::args::duration;
use super::super::output::moment;
use super::super::{Context, ExitCode, Failure};
use super::card::until;
use crate::config::Config;
use crate::ops::cards::{self, CardWanted, Registered, Unannounced, Withdrawal};
use crate::ops::send::random_key;
use crate::ops::who::{self, WhoError};
use crate::runtime::clock::Clock;
use crate::runtime::control::{Client, ControlError};
use crate::runtime::directory::EndpointWanted;

/// How long to wait for the signature if nothing else is waited for.
const SIGNING: Duration = Duration::from_secs(10);

/// The hosted agent.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// A hosted agent: its name, its wallet's name, or its address
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Option<String>,
    /// The hosted agent, as an option
    #[arg(long, value_name = "ADDR|NAME")]
    wallet: Option<String>,
}

impl Which {
    fn who(&self) -> &str {
        let given = self.agent.as_deref().or(self.wallet.as_deref());
        given.unwrap_or_default()
    }

    /// The agent's address.
    async fn address(&self, config: &Config) -> Result<String, Failure> {
        match who::resolve_hosted(self.who(), config).await {
            Ok(address) => Ok(address.to_string()),
            Err(WhoError::Runtime(error)) => Err(not_reached(error)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Options for waiting.
#[derive(Clone, Debug, Args)]
struct Waiting {
    /// Waits until it is mined and takes effect in the directory
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

/// Arguments of `agent register`.
#[derive(Clone, Debug, Args)]
pub struct RegisterArgs {
    #[command(flatten)]
    which: Which,
    /// The name in the card [default: its name in agents.toml]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Description of the agent: at most 1024 bytes
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A capability of the agent [default: those that its behaviours declare]
    #[arg(long = "capability", value_name = "WORD")]
    capabilities: Vec<String>,
    /// A command that it accepts [default: those that its behaviours declare]
    #[arg(long = "command", value_name = "CMD")]
    commands: Vec<String>,
    /// Where else it can be reached: the protocol, such as a2a, and the URL
    #[arg(long = "endpoint", value_name = "PROTOCOL=URL", value_parser = endpoint)]
    endpoints: Vec<EndpointWanted>,
    /// How long the card is valid; it is renewed automatically while the agent is hosted
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    expires: Duration,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of `agent withdraw`.
#[derive(Clone, Debug, Args)]
pub struct WithdrawArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    waiting: Waiting,
}

fn endpoint(text: &str) -> Result<EndpointWanted, String> {
    let (protocol, url) = text
        .split_once('=')
        .ok_or("write it as PROTOCOL=URL, such as `a2a=https://agents.example/worker`")?;
    Ok(EndpointWanted {
        protocol: protocol.to_owned(),
        url: url.to_owned(),
    })
}

impl RegisterArgs {
    /// Who is announced.
    pub(super) fn agent(&self) -> &str {
        self.which.who()
    }
}

impl WithdrawArgs {
    /// Whose card is withdrawn.
    pub(super) fn agent(&self) -> &str {
        self.which.who()
    }
}

pub(super) async fn register(
    args: RegisterArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let given = |words: Vec<String>| (!words.is_empty()).then_some(words);
    let agent = args.which.address(config).await?;
    let card = CardWanted {
        name: args.name,
        description: args.description,
        capabilities: given(args.capabilities),
        commands: given(args.commands),
        endpoints: args.endpoints,
        ttl_ms: millis(args.expires),
    };
    let registered = client(config).register(&agent, card).await;
    let registered = registered.map_err(not_reached)?;
    announced(&registered, &args.waiting, config, context).await
}

pub(super) async fn withdraw(
    args: &WithdrawArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let agent = args.which.address(config).await?;
    let sent = client(config).withdraw(&agent, random_key()?).await;
    let outbox = sent.map_err(not_reached)?.outbox;
    withdrawn(args.which.who(), outbox, &args.waiting, config, context).await
}

/// The runtime that hosts the agent: it renews the card, and manages the wallet's nonces.
fn client(config: &Config) -> Client {
    Client::new(&config.store.path)
}

fn not_reached(error: ControlError) -> Failure {
    match error {
        ControlError::NotRunning { path, .. } => Failure::new(
            ExitCode::Unavailable,
            format!(
                "a card is announced, renewed and withdrawn by the runtime that hosts the agent, \
                 and no runtime serves {}: start `agentry run` first",
                path.display()
            ),
        ),
        error => error.into(),
    }
}

/// Waits for the announcement's transaction and, if asked, for the directory.
async fn announced(
    registered: &Registered,
    waiting: &Waiting,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let began = Instant::now();
    let (out, store) = (context.output, &config.store.path);
    let signed = registered.signed(store, signing(waiting, began)).await?;
    let Some(hash) = signed else {
        return Err(Failure::new(
            ExitCode::Temporary,
            format!(
                "{} is registered and will be announced, but its card is not signed yet{}",
                registered.agent,
                why_not(registered, store)?
            ),
        ));
    };
    let now = Clock::default().now();
    let expires = now.plus_ms(registered.card.ttl_ms);
    if !out.is_json() {
        out.line(format!(
            "announced {} as {} ({}) in {hash}, until about {} ({}); renewed automatically",
            registered.agent,
            registered.card.name,
            registered.address,
            moment(expires),
            until(expires, now),
        ))?;
    }
    let mut height = None;
    if waiting.wait {
        let deadline = began + waiting.timeout;
        height = registered.in_directory(hash, store, deadline).await?;
        if height.is_none() {
            return Err(Failure::new(
                ExitCode::Temporary,
                format!(
                    "timed out: {hash} is not mined yet; `agentry queue list outbox` shows its \
                     status. It will be announced"
                ),
            ));
        }
    }
    if out.is_json() {
        return out.json(&json!({
            "agent": registered.agent,
            "address": registered.address,
            "transaction": hash.to_string(),
            "card": registered.card,
            "height": height,
        }));
    }
    match height {
        Some(height) => out.line(format!(
            "mined     in block {height} after {:.2} s; it is in the directory",
            began.elapsed().as_secs_f64()
        )),
        None => Ok(()),
    }
}

async fn withdrawn(
    who: &str,
    outbox: OutboxId,
    waiting: &Waiting,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let began = Instant::now();
    let (out, store) = (context.output, &config.store.path);
    let signed = cards::withdrawal(outbox, store, signing(waiting, began)).await?;
    let Some(withdrawal) = signed else {
        return Err(Failure::new(
            ExitCode::Temporary,
            format!(
                "{who} is no longer announced, and its card will be withdrawn: queued as \
                 outbox/{outbox}, and not signed yet; `agentry queue show outbox/{outbox}` shows \
                 why"
            ),
        ));
    };
    let Withdrawal { hash, address, .. } = &withdrawal;
    if !out.is_json() {
        out.line(format!(
            "withdrew {who} ({address}) in {hash}; it is no longer announced"
        ))?;
    }
    let mut height = None;
    if waiting.wait {
        height = withdrawal.mined(store, began + waiting.timeout).await?;
        if height.is_none() {
            return Err(Failure::new(
                ExitCode::Temporary,
                format!(
                    "timed out: {hash} is not mined yet; `agentry queue show outbox/{outbox}` \
                     shows its status"
                ),
            ));
        }
    }
    if out.is_json() {
        return out.json(&json!({
            "agent": who,
            "address": address,
            "transaction": hash,
            "outbox": outbox,
            "height": height,
        }));
    }
    match height {
        Some(height) => out.line(format!(
            "mined    in block {height} after {:.2} s; it is no longer in the directory",
            began.elapsed().as_secs_f64()
        )),
        None => Ok(()),
    }
}

fn signing(waiting: &Waiting, began: Instant) -> Instant {
    began
        + if waiting.wait {
            waiting.timeout
        } else {
            waiting.timeout.min(SIGNING)
        }
}

/// Why an announcement is not signed yet, as the end of a sentence.
fn why_not(registered: &Registered, store: &Path) -> Result<String, Failure> {
    Ok(match registered.unannounced(store)? {
        Some(Unannounced::Queued(outbox)) => {
            format!(": queued as outbox/{outbox}; `agentry queue show outbox/{outbox}` shows why")
        }
        Some(Unannounced::Failed(reason)) => format!(": {reason}"),
        None => String::new(),
    })
}
