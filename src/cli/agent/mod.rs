//! `agentry agent message|messages`.

mod message;
mod messages;

use agentry_chain::{NodeClient, NodeOptions};
use agentry_protocol::Address;
use clap::Subcommand;

use super::{Context, Failure};
use crate::config::{Config, did_you_mean, masked};
use crate::wallet::WalletStore;

pub use message::MessageArgs;
pub use messages::MessagesArgs;

/// The subcommands of `agent`.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// Sends a message from a wallet
    Message(MessageArgs),
    /// Prints what was said to and by an agent
    Messages(MessagesArgs),
}

pub(super) fn run(command: AgentCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config()?;
    match command {
        AgentCommand::Message(args) => message::run(args, &config, context),
        AgentCommand::Messages(args) => messages::run(&args, &config, context),
    }
}

fn client(url: &str) -> Result<NodeClient, Failure> {
    NodeClient::new(url, NodeOptions::default())
        .map_err(|error| Failure::usage(format!("the node {}: {error}", masked(url))))
}

/// An address, from itself or from the name of an agent of agents.toml.
fn resolve(text: &str, config: &Config) -> Result<Address, Failure> {
    if let Some(agent) = config.agents.iter().find(|agent| agent.name == text) {
        let wallet = WalletStore::from_config(&config.wallets).find(&agent.wallet)?;
        return wallet.info().address.clone().ok_or_else(|| {
            Failure::data(format!(
                "the keystore of agent {text} does not say its address; name the address instead"
            ))
        });
    }
    if let Some((fleet, wallet)) = text.split_once('/')
        && let Some(fleet) = config.fleets.iter().find(|one| one.name == fleet)
        && let Some(address) = fleet.wallets.store().find(wallet)?.info().address.clone()
    {
        return Ok(address);
    }
    if text.starts_with("ait1") {
        return text
            .parse()
            .map_err(|error| Failure::data(format!("the address {text:?}: {error}")));
    }
    let names: Vec<&str> = config
        .agents
        .iter()
        .map(|agent| agent.name.as_str())
        .collect();
    let hint = did_you_mean(text, names.iter().copied());
    Err(Failure::data(format!(
        "{text:?} is neither an address (ait1…) nor an agent of {}; it has {}{hint}",
        config.file,
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    )))
}
