//! Many agents in one process, each of which answers one ping.

use agentry::cli::bench::fleet::{FEW_ROUNDS, Fleet, Node, UNLIMITED};
use agentry::cli::bench::pings::{addresses, pings, senders, wait};
use agentry_devnet::{BlockWriter, Devnet};
use agentry_protocol::SignedTransaction;

use super::chain::{answers, three_blocks};

/// Hosts this many agents on an embedded node, pings each of them once, and waits until every
/// answer is on the chain. Then checks that none is missing and none is there twice.
pub(crate) fn answer(agents: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let fleet = Fleet::make(&dir.path().join("fleet"), agents, FEW_ROUNDS)?;
    let mut blocks = BlockWriter::open(&fleet.node())?;
    let devnet = Devnet::start(fleet.node())?;
    let host = fleet.host("crowd", Node::Url(&devnet.url()), UNLIMITED)?;
    let hosted = host.started().agents;
    anyhow::ensure!(hosted == agents, "{hosted} agents");

    let messages = pings(agents, &senders(1), fleet.addresses())?;
    devnet.pause_mining();
    blocks.add(messages.iter().map(SignedTransaction::stored))?;
    devnet.resume_mining();
    let found = || answers(devnet.dir(), &addresses(1)[0]);
    wait("answers on the chain", agents, || Ok(found()?.0))?;
    three_blocks(&blocks)?;
    let (answers, senders) = found()?;
    anyhow::ensure!(
        answers == agents as u64,
        "{answers} answers to {agents} pings"
    );
    anyhow::ensure!(
        senders == agents as u64,
        "{senders} of {agents} agents answered"
    );
    host.stop()?;
    Ok(())
}
