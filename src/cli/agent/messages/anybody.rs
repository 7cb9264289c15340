//! Messages of any address, read from the chain.

use std::collections::VecDeque;

use agentry_chain::{BlockWalk, Interest};
use agentry_protocol::BlockHeight;
use agentry_protocol::authenticity::examine;
use agentry_protocol::{Address, Authenticity, Envelope, PublicKey};

use super::super::super::Failure;
use super::super::super::search::{self, Downward};
use super::super::client;
use super::line::Line;
use super::{Direction, MessagesArgs, Printer};
use crate::config::Config;
use crate::demo::evidence::{self, Follow, Found};

/// Prints the messages: from the node's database if one is configured, else by reading back from
/// the chain's head until there are enough.
pub(super) async fn print(
    args: &MessagesArgs,
    address: &Address,
    from: Option<&Address>,
    config: &Config,
    printer: &Printer<'_>,
) -> Result<(), Failure> {
    let node = client(&config.chain.rpc)?;
    // Forged messages are kept apart.
    let wanted = |found: &Found| {
        wanted(found, args, address, from)
            && (authenticity(found, config) == Authenticity::Forged) == args.forged
    };
    let Some(head) = node.head().await? else {
        return printer.list(Vec::new(), false, address);
    };
    let enough = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut found: VecDeque<Found> = VecDeque::new();
    let (interest, mut has_older) = (Of(address), false);
    let in_db = search::in_db(&config.chain, BlockHeight(0), &interest, |one| {
        if wanted(&one) && one.height <= head.height {
            found.push_back(one);
            if found.len() > enough {
                found.pop_front();
                has_older = true;
            }
        }
    });
    let through = in_db.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the node's database could not be read; reading over RPC");
        None
    });
    let lowest = match through {
        Some(through) => through.next(),
        None => {
            found.clear();
            BlockHeight(0)
        }
    };
    let bar = printer.context.output.progress(
        (head.height.0 + 1).saturating_sub(lowest.0),
        "reading the chain backwards",
    );
    let mut walk = BlockWalk::new(&node);
    let mut downward = Downward::new(head.height, lowest);
    let mut newer: Vec<Found> = Vec::new();
    while newer.len() < enough
        && let Some((from, to)) = downward.next(&walk)
    {
        let mut stretch = evidence::stretch(&mut walk, from, to, wanted).await?;
        stretch.append(&mut newer);
        newer = stretch;
        bar.inc(to.0 - from.0 + 1);
    }
    bar.finish_and_clear();
    if let Some(missing) = search::missing(&walk) {
        tracing::warn!("{missing}");
    }
    if let Some(left) = downward.left().filter(|_| newer.len() < enough) {
        tracing::warn!(
            "the blocks through {left} were not read within a minute; set [chain] db to read the \
             node's database instead"
        );
    }
    let found: Vec<Found> = found.into_iter().chain(newer).collect();
    let skipped = found.len().saturating_sub(enough);
    let line = |one: &Found| Line::of_chain(one, address, authenticity(one, config));
    let lines = found.iter().skip(skipped).map(line).collect();
    let has_older = has_older || skipped > 0 || downward.left().is_some();
    printer.list(lines, has_older, address)?;
    if !args.follow {
        return Ok(());
    }
    let mut follow = Follow::new(node.clone(), head.height.next());
    loop {
        follow.wait().await;
        for one in follow.look(wanted).await? {
            printer.line(line(&one))?;
        }
    }
}

/// The interest in what an address sent or received.
struct Of<'a>(&'a Address);

impl Interest for Of<'_> {
    fn wants(&self, from: &str, to: &str) -> bool {
        from == self.0.as_str() || to == self.0.as_str()
    }
}

fn wanted(found: &Found, args: &MessagesArgs, address: &Address, from: Option<&Address>) -> bool {
    let stored = &found.stored;
    let direction = args.direction();
    let concerns = (direction != Direction::Sent && stored.to == *address)
        || (direction != Direction::Received && stored.from == *address && !args.forged);
    if !concerns || from.is_some_and(|from| stored.from != *from) {
        return false;
    }
    let Some(thread) = &args.thread else {
        return true;
    };
    let envelope = Envelope::read(&stored.payload);
    envelope
        .header()
        .and_then(|header| header.thread.as_ref())
        .is_some_and(|found| found == thread)
}

/// Verifies the sender with the key in the header, or with that of a contact.
fn authenticity(found: &Found, config: &Config) -> Authenticity {
    let stored = &found.stored;
    let envelope = Envelope::read(&stored.payload);
    let header_key = envelope.header().and_then(|header| header.key);
    let known_key: Option<PublicKey> = config
        .contacts
        .iter()
        .find(|contact| contact.address == stored.from)
        .and_then(|contact| contact.public_key);
    let chain = &config.chain.id;
    examine(stored, chain, header_key.as_ref(), known_key.as_ref()).authenticity()
}
