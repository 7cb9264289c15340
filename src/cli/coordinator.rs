//! `agentry coordinator inbox|status`.

use clap::{Args, Subcommand};

use super::global::About;
use super::output::{GivesWay, Row, Tone, first_line, moment, or_dash, printable};
use super::{Context, ExitCode, Failure, runtime};
use crate::config::Config;
use crate::ops::coordinator::{
    AnnouncedAgent, CoordinatorInbox, CoordinatorMessage, CoordinatorStatus, InboxWanted,
};
use crate::ops::who;
use crate::runtime::control::Client;

/// The most messages that are asked for.
const LIMIT_MAX: u64 = 1_000;

/// How much of a text a row shows, in characters.
const TEXT: usize = 60;

/// How much of a name that others chose a row shows, in characters.
const NAME: usize = 30;

/// How much of a reason is shown, in characters.
const REASON: usize = 300;

/// The subcommands of `coordinator`.
#[derive(Clone, Debug, Subcommand)]
pub enum CoordinatorCommand {
    /// Lists the messages that were found in the inboxes of hosted agents, the last first
    ///
    /// All are unverified: anybody can have written them, under any name. No agent sees them, and none is
    /// answered. The running runtime keeps the newest 100 of each agent in memory.
    Inbox(InboxArgs),
    /// Lists the announced agents, and what does not work
    Status,
}

/// Arguments of `coordinator inbox`.
#[derive(Clone, Debug, Args)]
pub struct InboxArgs {
    /// Only messages to this agent
    #[arg(long, value_name = "ADDR|NAME")]
    agent: Option<String>,
    /// Maximum number, up to 1,000
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=LIMIT_MAX))]
    limit: u64,
}

pub(super) fn run(command: CoordinatorCommand, context: &Context) -> Result<(), Failure> {
    let about = match &command {
        CoordinatorCommand::Inbox(InboxArgs {
            agent: Some(agent), ..
        }) => About::Agent(agent),
        CoordinatorCommand::Inbox(_) | CoordinatorCommand::Status => About::Everything,
    };
    let configs = context.configs_of(about)?;
    if configs.iter().any(|config| config.coordinator.is_none()) {
        let message = "no agent coordinator is configured: set `url` in a [coordinator] table of \
                       agents.toml";
        return Err(Failure::new(ExitCode::Config, message));
    }
    runtime()?.block_on(async {
        match command {
            CoordinatorCommand::Inbox(args) => inbox(&args, &configs, context).await,
            CoordinatorCommand::Status => status(&configs, context).await,
        }
    })
}

async fn inbox(args: &InboxArgs, configs: &[Config], context: &Context) -> Result<(), Failure> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut found = CoordinatorInbox::default();
    for config in configs {
        let agent = match &args.agent {
            Some(who) => Some(who::resolve_own(who, config)?.to_string()),
            None => None,
        };
        let client = Client::new(&config.store.path);
        let wanted = InboxWanted { agent, limit };
        found.add(client.coordinator_inbox(wanted).await?, limit);
    }
    let out = context.output;
    if out.is_json() {
        return out.json(&found);
    }
    if found.messages.is_empty() {
        return out.line("no messages were found");
    }
    let rows = found.messages.iter().map(message);
    let headings = ["FOUND", "AGENT", "SAYS IT IS FROM", "TYPE", "TEXT"];
    out.listing(&headings, rows.collect(), GivesWay::Cut(4))?;
    if found.more {
        out.line(out.tone(Tone::Faint, "there are more; see --limit"))?;
    }
    out.line("all are unverified: anybody can have written them, under any name")
}

fn message(message: &CoordinatorMessage) -> Row {
    let text = match &message.content {
        Some(content) => first_line(content, TEXT),
        None => "(encrypted)".to_owned(),
    };
    Row::from(vec![
        moment(message.received_at),
        printable(&message.agent, NAME),
        printable(&message.from, NAME),
        or_dash(message.kind.as_ref().map(|kind| printable(kind, NAME))),
        text,
    ])
}

async fn status(configs: &[Config], context: &Context) -> Result<(), Failure> {
    let mut together: Option<CoordinatorStatus> = None;
    for config in configs {
        let client = Client::new(&config.store.path);
        let one = client.coordinator_status().await?;
        match &mut together {
            Some(together) => together.add(one),
            None => together = Some(one),
        }
    }
    let Some(found) = together else {
        return Err(Failure::new(ExitCode::Internal, "there is no shard"));
    };
    let out = context.output;
    if out.is_json() {
        return out.json(&found);
    }
    if !found.agents.is_empty() {
        let rows = found.agents.iter().map(agent).collect();
        let headings = ["AGENT", "REGISTERED", "HEARTBEAT", "INBOX READ", "MESSAGES"];
        out.listing(&headings, rows, GivesWay::Cut(0))?;
    }
    if found.more {
        out.line(out.tone(Tone::Faint, "there are more agents"))?;
    }
    out.line(format!(
        "{} of {} agents are registered in the coordinator {}",
        found.registered, found.announced, found.url
    ))
}

fn agent(agent: &AnnouncedAgent) -> Row {
    let registered = match (agent.registered, agent.registered_at) {
        (true, Some(at)) => moment(at),
        _ => "no".to_owned(),
    };
    Row {
        cells: vec![
            printable(&agent.agent, NAME),
            registered,
            or_dash(agent.heartbeat_at.map(moment)),
            or_dash(agent.read_at.map(moment)),
            agent.messages.to_string(),
        ],
        below: agent
            .reason
            .iter()
            .map(|reason| printable(reason, REASON))
            .collect(),
    }
}
