//! `agentry agent messages`.
//!
//! | part | purpose |
//! |---|---|
//! | `hosted` | messages of a hosted agent, from the store |
//! | `anybody` | messages of any address, from the chain |
//! | `line` | one message, as it is printed |

mod anybody;
mod hosted;
mod line;

use std::time::Duration;

use agentry_protocol::{Address, Thread};
use agentry_store::{list, open_for_reading};
use clap::Args;
use hosted::Hosted;
use line::Line;
use serde::Serialize;

use super::super::output::Tone;
use super::super::{Context, Failure, runtime};
use crate::config::Config;
use crate::ops::names::Names;
use crate::ops::who::{self, resolve};

/// How often the store is checked for new messages.
const POLL: Duration = Duration::from_millis(200);

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

/// Prints messages.
struct Printer<'a> {
    names: Names<'a>,
    /// Whether more messages will follow: then each is printed as its own line of JSON.
    follow: bool,
    context: &'a Context,
}

impl Printer<'_> {
    /// Prints the newest messages; `more` is whether there are older ones.
    fn list(&self, lines: Vec<Line>, more: bool, of: &Address) -> Result<(), Failure> {
        let out = self.context.output;
        if out.is_json() && !self.follow {
            let messages: Vec<Line> = lines
                .into_iter()
                .map(|line| line.named(&self.names))
                .collect();
            return out.json(&List { messages, more });
        }
        if lines.is_empty() && !self.follow {
            return out.line(format!("there are no such messages of {of}"));
        }
        for line in lines {
            self.line(line)?;
        }
        if more && !self.follow {
            out.line(out.tone(Tone::Faint, "there are older messages; see --limit"))?;
        }
        Ok(())
    }

    /// Prints a new message.
    fn line(&self, line: Line) -> Result<(), Failure> {
        line.named(&self.names).print(&self.names, self.context)
    }
}

/// The newest messages.
#[derive(Debug, Serialize)]
struct List {
    messages: Vec<Line>,
    more: bool,
}

/// The direction of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Both,
    Sent,
    Received,
}

impl MessagesArgs {
    const fn direction(&self) -> Direction {
        match (self.sent, self.received) {
            (true, _) => Direction::Sent,
            (_, true) => Direction::Received,
            (false, false) => Direction::Both,
        }
    }
}

pub(super) fn run(args: &MessagesArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let address = who::resolve_own(&args.agent, config)?;
    let from = args
        .from
        .as_deref()
        .map(|from| resolve(from, config))
        .transpose()?;
    let store = &config.store.path;
    let db = store
        .exists()
        .then(|| open_for_reading(store))
        .transpose()?;
    let printer = Printer {
        names: Names::new(config, db.as_ref())?,
        follow: args.follow,
        context,
    };
    if let Some(db) = &db
        && list::is_hosted(db, address.as_str())?
    {
        let hosted = Hosted {
            db,
            store,
            args,
            address: &address,
            from: from.as_ref(),
            printer: &printer,
        };
        return runtime()?.block_on(hosted.print());
    }
    runtime()?.block_on(anybody::print(
        args,
        &address,
        from.as_ref(),
        config,
        &printer,
    ))
}
