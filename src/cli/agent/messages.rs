//! `agentry agent messages`.

use std::time::Duration;

use agentry_protocol::{Address, Json, Limits};
use clap::Args;
use serde::Serialize;

use super::super::output::printable;
use super::super::{Context, Failure, runtime};
use super::{client, resolve};
use crate::config::Config;
use crate::demo::evidence::{self, Found};
use crate::store::list::{self, Filter};
use crate::store::{StoreError, open_for_reading};

/// How often it is looked for new messages.
const POLL: Duration = Duration::from_millis(200);

/// How many blocks are read at a time on the way back through a chain.
const STRETCH: u64 = 500;

/// Arguments of `agent messages`.
#[derive(Clone, Debug, Args)]
pub struct MessagesArgs {
    /// An address, or the name of an agent of agents.toml
    #[arg(long, value_name = "ADDR|NAME")]
    agent: String,
    /// Only what this address sent
    #[arg(long, value_name = "ADDR|NAME")]
    from: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Goes on as messages come; with --json one object a line
    #[arg(long)]
    follow: bool,
}

/// A message, as it is printed.
#[derive(Clone, Debug, Serialize)]
struct Line {
    height: Option<u64>,
    transaction: String,
    from: String,
    to: String,
    text: String,
    /// What is known of the sender; unknown where the chain alone was read.
    authenticity: Option<String>,
    /// Where it stands with its agent; unknown where the chain alone was read.
    state: Option<String>,
}

pub(super) fn run(args: &MessagesArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let address = resolve(&args.agent, config)?;
    let from = args
        .from
        .as_deref()
        .map(|from| resolve(from, config))
        .transpose()?;
    let db = config
        .store
        .path
        .exists()
        .then(|| open_for_reading(&config.store.path))
        .transpose()?;
    if let Some(db) = db
        && list::is_hosted(&db, address.as_str()).map_err(StoreError::from)?
    {
        return from_store(args, &address, from.as_ref(), &db, context);
    }
    runtime()?.block_on(from_chain(args, &address, from.as_ref(), config, context))
}

/// What the store knows of a hosted agent's messages.
fn from_store(
    args: &MessagesArgs,
    address: &Address,
    from: Option<&Address>,
    db: &rusqlite::Connection,
    context: &Context,
) -> Result<(), Failure> {
    let mut filter = Filter {
        agent: Some(address.to_string()),
        other: from.map(ToString::to_string),
        limit: args.limit,
        ..Filter::default()
    };
    let mut first = true;
    loop {
        let items = list::inbox(db, &filter).map_err(StoreError::from)?;
        if first && items.is_empty() && !args.follow && !context.output.is_json() {
            return context
                .output
                .line(format!("nobody has written to {address} yet"));
        }
        first = false;
        for item in items {
            let row = item.id.rsplit('/').next().and_then(|row| row.parse().ok());
            filter.after = row.unwrap_or(filter.after);
            let stored = Json::parse(item.transaction.as_bytes(), Limits::default()).ok();
            let payload = stored
                .as_ref()
                .and_then(|stored| stored.root().get("payload"));
            let text = payload.map_or_else(String::new, |payload| {
                payload
                    .as_str()
                    .map_or_else(|| payload.to_json().to_compact(), str::to_owned)
            });
            print(
                context,
                &Line {
                    height: item.height,
                    transaction: item.hash,
                    from: item.from,
                    to: item.to,
                    text,
                    authenticity: Some(item.authenticity),
                    state: Some(item.state),
                },
            )?;
        }
        if !args.follow {
            return Ok(());
        }
        filter.limit = u64::from(u32::MAX);
        std::thread::sleep(POLL);
    }
}

/// What the chain shows of anybody's messages: read from its head backwards until there are
/// enough.
async fn from_chain(
    args: &MessagesArgs,
    address: &Address,
    from: Option<&Address>,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let node = client(&config.chain.rpc)?;
    let wanted = |found: &Found| {
        found.stored.to == *address && from.is_none_or(|from| found.stored.from == *from)
    };
    let Some(head) = node.head().await? else {
        return context.output.line("the chain has no blocks yet");
    };
    let bar = context
        .output
        .progress(head.height.0 + 1, "reading the chain backwards");
    let mut found: Vec<Found> = Vec::new();
    let mut end = Some(head.height);
    let enough = usize::try_from(args.limit).unwrap_or(usize::MAX);
    while let Some(to) = end.filter(|_| found.len() < enough) {
        let start = to.saturating_sub(STRETCH - 1);
        let mut stretch = evidence::all(&node, start, to, wanted).await?;
        stretch.append(&mut found);
        found = stretch;
        bar.inc(to.0 - start.0 + 1);
        end = start.checked_sub(1);
    }
    bar.finish_and_clear();
    let skipped = found.len().saturating_sub(enough);
    if found.is_empty() && !args.follow && !context.output.is_json() {
        return context
            .output
            .line(format!("nobody has written to {address} yet"));
    }
    for one in found.iter().skip(skipped) {
        print(context, &line(one))?;
    }
    if !args.follow {
        return Ok(());
    }
    let mut next = head.height.next();
    loop {
        tokio::time::sleep(POLL).await;
        let head = match node.head().await {
            Ok(Some(head)) if head.height >= next => head.height,
            Ok(_) => continue,
            Err(error) if error.is_transient() => continue,
            Err(error) => return Err(error.into()),
        };
        for one in evidence::all(&node, next, head, wanted).await? {
            print(context, &line(&one))?;
        }
        next = head.next();
    }
}

fn line(found: &Found) -> Line {
    let payload = &found.stored.payload;
    Line {
        height: Some(found.height.0),
        transaction: found.hash.to_string(),
        from: found.stored.from.to_string(),
        to: found.stored.to.to_string(),
        text: payload
            .root()
            .as_str()
            .map_or_else(|| payload.to_compact(), str::to_owned),
        authenticity: None,
        state: None,
    }
}

fn print(context: &Context, line: &Line) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(line);
    }
    let height = line
        .height
        .map_or("withdrawn".to_owned(), |height| format!("{height}"));
    let mut notes: Vec<&str> = Vec::new();
    notes.extend(line.authenticity.as_deref());
    notes.extend(line.state.as_deref());
    let notes = if notes.is_empty() {
        String::new()
    } else {
        format!("  ({})", notes.join(", "))
    };
    context.output.line(format!(
        "{height:>9}  {}  {}{notes}",
        printable(&line.from, 72),
        printable(&line.text, 200)
    ))
}
