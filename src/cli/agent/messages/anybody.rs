//! What the chain shows of anybody's messages.

use agentry_protocol::authenticity::examine;
use agentry_protocol::{Address, Authenticity, Envelope, PublicKey};

use super::super::super::Failure;
use super::super::client;
use super::line::Line;
use super::{Direction, MessagesArgs, POLL, Printer};
use crate::config::Config;
use crate::demo::evidence::{self, Found};

/// How many blocks are read at a time on the way back through a chain.
const STRETCH: u64 = 500;

/// Prints them: read from the chain's head backwards until there are enough.
pub(super) async fn print(
    args: &MessagesArgs,
    address: &Address,
    from: Option<&Address>,
    config: &Config,
    printer: &Printer<'_>,
) -> Result<(), Failure> {
    let node = client(&config.chain.rpc)?;
    // What is forged is kept apart.
    let wanted = |found: &Found| {
        wanted(found, args, address, from)
            && (authenticity(found, config) == Authenticity::Forged) == args.forged
    };
    let Some(head) = node.head().await? else {
        return printer.list(Vec::new(), false, address);
    };
    let bar = printer
        .context
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
    let line = |one: &Found| Line::of_chain(one, address, authenticity(one, config));
    let lines = found.iter().skip(skipped).map(line).collect();
    printer.list(lines, skipped > 0 || end.is_some(), address)?;
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
            printer.line(line(&one))?;
        }
        next = head.next();
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

/// What is known of the sender, by the key in the header or that of a contact.
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
