//! `agentry agent messages`.
//!
//! | part | purpose |
//! |---|---|
//! | `line` | printing of one message |

mod line;

use agentry_protocol::{Address, Thread};
use agentry_store::{list, open_if_exists};
use clap::Args;

use super::super::output::Tone;
use super::super::{Context, Failure};
use crate::config::Config;
use crate::ops::conversations::chain::ChainMessages;
use crate::ops::conversations::hosted::HostedMessages;
use crate::ops::conversations::{Direction, MessageEntry, MessageFilter, MessageList};
use crate::ops::names::Names;
use crate::ops::{search, who};

/// Arguments of `agent messages`.
#[derive(Clone, Debug, Args)]
pub struct MessagesArgs {
    /// The agent: an address, or a name of agents.toml, of a wallet or of the directory
    #[arg(long, value_name = "ADDR|NAME")]
    agent: String,
    /// Only messages to and from this agent
    #[arg(long, value_name = "ADDR|NAME")]
    from: Option<String>,
    /// Only messages of this conversation
    #[arg(long, value_name = "THREAD")]
    thread: Option<Thread>,
    /// Only messages that it sent
    #[arg(long, conflicts_with = "received")]
    sent: bool,
    /// Only messages that it received
    #[arg(long)]
    received: bool,
    /// Only messages that name a sender who did not sign them: they are kept apart, and no
    /// behaviour sees them
    #[arg(long, conflicts_with_all = ["sent", "received"])]
    forged: bool,
    /// The number of messages, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Keeps printing messages as they come; a sent message is printed once it is mined or has
    /// failed
    #[arg(long)]
    follow: bool,
}

impl MessagesArgs {
    /// Whose messages.
    pub(super) fn agent(&self) -> &str {
        &self.agent
    }
}

/// Prints messages.
struct Printer<'a> {
    names: Names<'a>,
    /// Whether more messages will follow: then each is printed as its own line of JSON.
    follow: bool,
    context: &'a Context,
}

impl Printer<'_> {
    /// Prints the newest messages.
    fn list(&self, mut list: MessageList, of: &Address) -> Result<(), Failure> {
        let out = self.context.output;
        if out.is_json() && !self.follow {
            let named = |entry: MessageEntry| entry.named(&self.names);
            list.messages = list.messages.into_iter().map(named).collect();
            return out.json(&list);
        }
        if list.messages.is_empty() && !self.follow {
            return out.line(format!("there are no such messages of {of}"));
        }
        self.each(list.messages)?;
        if list.more && !self.follow {
            out.line(out.tone(Tone::Faint, "there are older messages; see --limit"))?;
        }
        Ok(())
    }

    /// Prints new messages.
    fn each(&self, messages: Vec<MessageEntry>) -> Result<(), Failure> {
        for entry in messages {
            line::print(&entry.named(&self.names), &self.names, self.context)?;
        }
        Ok(())
    }
}

impl MessagesArgs {
    const fn direction(&self) -> Direction {
        match (self.forged, self.sent, self.received) {
            (true, ..) => Direction::Forged,
            (_, true, _) => Direction::Sent,
            (.., true) => Direction::Received,
            (false, false, false) => Direction::Both,
        }
    }
}

pub(super) async fn run(
    args: MessagesArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let filter = MessageFilter {
        agent: who::resolve_own(&args.agent, config)?,
        from: match &args.from {
            Some(from) => Some(who::resolve(from, config)?),
            None => None,
        },
        direction: args.direction(),
        thread: args.thread,
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
    };
    let store = &config.store.path;
    let db = open_if_exists(store)?;
    let printer = Printer {
        names: Names::new(config, db.as_ref())?,
        follow: args.follow,
        context,
    };
    if let Some(db) = &db
        && list::is_hosted(db, filter.agent.as_str())?
    {
        let agent = filter.agent.clone();
        let mut messages = HostedMessages::new(db, store, filter, args.follow);
        printer.list(messages.newest().await?, &agent)?;
        if !args.follow {
            return Ok(());
        }
        loop {
            printer.each(messages.next().await?)?;
        }
    }
    of_chain(filter, config, &printer).await
}

/// Prints the messages of an address that is not hosted.
async fn of_chain(
    filter: MessageFilter,
    config: &Config,
    printer: &Printer<'_>,
) -> Result<(), Failure> {
    let (node, agent) = (
        search::node(&config.chain.rpc, &config.chain)?,
        filter.agent.clone(),
    );
    let mut messages = ChainMessages::new(node, filter, config);
    let mut bar = None;
    let newest = messages.newest(|read, of| {
        let output = printer.context.output;
        let bar = bar.get_or_insert_with(|| output.progress(of, "reading the chain backwards"));
        bar.set_position(read);
        if read == of {
            bar.finish_and_clear();
        }
    });
    let newest = newest.await?;
    printer.list(newest, &agent)?;
    while printer.follow
        && let Some(new) = messages.next().await?
    {
        printer.each(new)?;
    }
    Ok(())
}
