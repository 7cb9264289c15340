//! Many agents in one process, each of which answers one ping.

use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::Address;

use super::chain::Blocks;
use super::fleet::{FEW_ROUNDS, Fleet, Place};
use super::pings;

/// The timeout for all answers.
const LIMIT: Duration = Duration::from_secs(180);

/// The times from the commit of the pings' blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Until the node had accepted the last answer.
    pub(crate) accepted: Duration,
    /// Until the last answer was in a block.
    pub(crate) mined: Duration,
}

/// Hosts this many agents on an embedded node, pings each of them once, and waits until every
/// answer is on the chain. Then checks that none is missing and none is there twice.
pub(crate) fn answer(agents: usize, block_time: Duration) -> anyhow::Result<Took> {
    let dir = tempfile::tempdir()?;
    let fleet = Fleet::make(&dir.path().join("fleet"), agents, FEW_ROUNDS)?;
    let stranger = pings::stranger();
    let devnet = Devnet::start(DevnetConfig {
        dir: dir.path().join("node"),
        allocations: fleet.allocations(),
        block_time,
        max_pending: 20_000,
        ..DevnetConfig::default()
    })?;
    let host = fleet.host("crowd", &Place::db(devnet.dir(), &devnet.url()))?;
    anyhow::ensure!(
        host.started().agents == agents,
        "{} agents",
        host.started().agents
    );

    let messages = pings::pings(agents, std::slice::from_ref(&stranger), fleet.addresses());
    let mut blocks = Blocks::open(devnet.dir())?;
    devnet.pause_mining();
    let began = blocks.add(messages)?;
    devnet.resume_mining();
    let metrics = &host.started().metrics;
    let accepted = pings::wait_accepted(metrics, agents as u64, LIMIT)? - began;
    let mined = wait_mined(&blocks, &stranger, agents, began)?;

    // A second answer would appear within a few blocks.
    let height = blocks.height();
    while blocks.head()? < height + 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let to = Address::from_public_key(&stranger.public_key());
    let (answers, senders) = blocks.answers(&to)?;
    anyhow::ensure!(answers == agents, "{answers} answers to {agents} pings");
    anyhow::ensure!(senders == agents, "{senders} of {agents} agents answered");
    host.stop()?;
    Ok(Took { accepted, mined })
}

fn wait_mined(
    blocks: &Blocks,
    stranger: &agentry_protocol::SigningKey,
    agents: usize,
    began: Instant,
) -> anyhow::Result<Duration> {
    let to = Address::from_public_key(&stranger.public_key());
    loop {
        let (answers, _) = blocks.answers(&to)?;
        if answers >= agents {
            return Ok(began.elapsed());
        }
        anyhow::ensure!(
            began.elapsed() < LIMIT,
            "{answers} of {agents} answers are mined"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
