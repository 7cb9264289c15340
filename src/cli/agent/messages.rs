//! `agentry agent messages`.
//!
//! | part | what it is for |
//! |---|---|
//! | `hosted` | what the store knows of a hosted agent's messages |
//! | `anybody` | what the chain shows of anybody's |
//! | `line` | a message, as it is printed |

mod anybody;
mod hosted;
mod line;

use std::time::Duration;

use agentry_protocol::{Address, Thread};
use clap::Args;
use serde::Serialize;

use super::super::names::Names;
use super::super::output::Tone;
use super::super::who::{self, resolve};
use super::super::{Context, Failure, runtime};
use crate::config::Config;
use crate::store::{StoreError, list, open_for_reading};
use hosted::Hosted;
use line::Line;

/// How often the store is looked at for something new.
const POLL: Duration = Duration::from_millis(200);

/// Arguments of `agent messages`.
#[derive(Clone, Debug, Args)]
pub struct MessagesArgs {
    /// Whose: an address, or a name of agents.toml, of a wallet or of the directory
    #[arg(long, value_name = "ADDR|NAME")]
    agent: String,
    /// Only what this agent sent
    #[arg(long, value_name = "ADDR|NAME")]
    from: Option<String>,
    /// Only this conversation
    #[arg(long, value_name = "THREAD")]
    thread: Option<Thread>,
    /// Only what it sent
    #[arg(long, conflicts_with = "received")]
    sent: bool,
    /// Only what came to it
    #[arg(long)]
    received: bool,
    /// Only what names a sender who did not sign it: it is kept apart, and reaches no behaviour
    #[arg(long, conflicts_with_all = ["sent", "received"])]
    forged: bool,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Goes on as messages come; what it sends is told once it is on the chain, or given up
    #[arg(long)]
    follow: bool,
}

/// Prints messages.
struct Printer<'a> {
    names: Names<'a>,
    /// Whether more will come: then each is a line of JSON of its own.
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
            out.line(out.tone(Tone::Faint, "there are older ones; see --limit"))?;
        }
        Ok(())
    }

    /// Prints one that has come.
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

/// Which way messages go.
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
        && list::is_hosted(db, address.as_str()).map_err(StoreError::from)?
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
