//! One sender's flood, and another sender's single message.

use std::time::{Duration, Instant};

use agentry::cli::bench::fleet::{FEW_ROUNDS, Fleet, Node};
use agentry::cli::bench::pings::{addresses, pings, senders, wait};
use agentry_devnet::{BlockWriter, Devnet};
use agentry_protocol::{SignedTransaction, SigningKey};

use super::chain::{answers, arrived, three_blocks};

/// The default limits of agents.toml.
const DEFAULTS: &str = "per_sender_rate = \"60/min\"\ndaily_budget = 100_000";

/// How many messages of a flood an agent answers at once: what the rate allows in a minute. Each
/// further second allows one more.
const BURST: u64 = 60;

/// The results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weathered {
    /// How long it took to read, verify and store the flood.
    pub(crate) stored: Duration,
    /// The time from the block of another sender's message to the block of its answer.
    pub(crate) answered: Duration,
    /// How many messages of the flood were answered by then.
    pub(crate) of_flood: u64,
}

/// Sends an agent this many verified messages of one sender, and then one of another sender.
pub(crate) fn weather(flood: usize) -> anyhow::Result<Weathered> {
    let dir = tempfile::tempdir()?;
    let fleet = Fleet::make(&dir.path().join("fleet"), 1, FEW_ROUNDS)?;
    let mut blocks = BlockWriter::open(&fleet.node())?;
    let devnet = Devnet::start(fleet.node())?;
    let host = fleet.host("flood", Node::Url(&devnet.url()), DEFAULTS)?;
    let stored = || arrived(&fleet.store("flood"));
    let (keys, senders) = (senders(2), addresses(2));
    let answers = |number: usize| anyhow::Ok(answers(devnet.dir(), &senders[number])?.0);
    let mut send = |count, key: &SigningKey| {
        let messages = pings(count, std::slice::from_ref(key), fleet.addresses())?;
        devnet.pause_mining();
        let began = blocks.add(messages.iter().map(SignedTransaction::stored))?;
        devnet.resume_mining();
        anyhow::Ok(began)
    };
    let began = send(flood, &keys[0])?;
    let took = wait("messages of the flood stored", flood, stored)? - began;

    let asked = send(1, &keys[1])?;
    let answered = wait("the other sender's answer", 1, || answers(1))? - asked;
    let of_flood = answers(0)?;
    let allowed = BURST + (Instant::now() - began).as_secs() + 1;
    anyhow::ensure!(
        of_flood <= allowed,
        "{of_flood} messages of the flood were answered, {allowed} are allowed"
    );
    // No message is lost, and the other sender is answered once.
    three_blocks(&blocks)?;
    let answers = answers(1)?;
    anyhow::ensure!(answers == 1, "{answers} answers to one message");
    wait("messages stored", flood + 1, stored)?;
    let kept = stored()?;
    anyhow::ensure!(kept == flood as u64 + 1, "{kept} messages are stored");
    host.stop()?;
    Ok(Weathered {
        stored: took,
        answered,
        of_flood,
    })
}
