//! `agentry mcp`: agents for the host of a language model, which starts this command.

use std::sync::Arc;

use agentry_protocol::Amount;
use clap::Args;

use super::args::amount;
use super::{Context, ExitCode, Failure, runtime};
use crate::doors::mcp::access::Options;
use crate::doors::mcp::{McpServer, stdio};

/// Arguments of `mcp`.
#[derive(Clone, Debug, Args)]
pub struct McpArgs {
    /// The only agent that the host uses: its name or its address. Without it, tools that send or
    /// read messages take the agent as an argument
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Option<String>,
    /// Offers only the tools that read
    #[arg(long)]
    read_only: bool,
    /// What the host may spend until it disconnects: fees and amounts, as if each message
    /// was resent as often as it may be. Nothing is sent beyond it
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    budget: Option<Amount>,
    /// Asks the user of the host before a call that may cost more than this. If the host
    /// cannot ask its user, nothing is sent
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    ask_above: Option<Amount>,
}

pub(super) fn run(args: McpArgs, context: &Context) -> Result<(), Failure> {
    let options = Options {
        agent: args.agent,
        read_only: args.read_only,
        budget: args.budget,
        ask_above: args.ask_above,
    };
    let server = McpServer::local(Arc::new(context.config()?), options);
    let runtime = runtime()?;
    let served = runtime.block_on(stdio::serve(server));
    // Nobody waits for what the host has left, and standard input may still be open.
    runtime.shutdown_background();
    served.map_err(|error| Failure::new(ExitCode::Data, format!("serving the host: {error}")))
}
