//! `cargo bench --bench throughput`: how many messages are answered per second when 10,000 pings
//! wait in blocks of chain.db: with a sink in place of the node, and with the embedded node, which
//! checks, stores and mines every answer on the same cores. For comparison, the cost of one Ed25519
//! signature and of one strict verification is measured in the same run. `AGENTRY_BENCH_PINGS`
//! changes the number of pings, `AGENTRY_BENCH_RUN` selects a single run.
//!
//! The senders are not hosted. Each ping has a header with an id and the sender's key: its signature
//! is verified, and the answer has a header, too.

#[expect(dead_code, reason = "each benchmark uses a part of the common stage")]
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::StoredTransaction;
use stage::chain::{self, Blocks};
use stage::fleet::{FEW_ROUNDS, Fleet, Place};
use stage::sink::Sink;
use stage::{cost, pings, process, report};

/// How many wallets send pings.
const SENDERS: usize = 10;

/// The timeout for a run.
const LIMIT: Duration = Duration::from_secs(300);

/// A run: the target of posts, how many agents answer, and their share of the pings.
const RUNS: [(&str, usize, usize); 5] = [
    ("sink", 1, 5),
    ("sink", 100, 1),
    ("sink", 1_000, 1),
    ("node", 100, 1),
    ("node", 1_000, 1),
];

/// The results of a run.
struct Run {
    took: Duration,
    cpu: Duration,
}

fn main() -> anyhow::Result<()> {
    if !report::is_asked_for() {
        return Ok(());
    }
    let count = report::setting("AGENTRY_BENCH_PINGS", 10_000)?;
    report::header("Throughput: messages answered per second")?;
    let before = cost::costs();
    let dir = tempfile::tempdir()?;
    let mut rows = Vec::new();
    // To profile one of them: AGENTRY_BENCH_RUN=1
    let only = report::setting("AGENTRY_BENCH_RUN", usize::MAX)?;
    let runs = RUNS
        .into_iter()
        .enumerate()
        .filter(|(number, _)| only == usize::MAX || *number == only);
    for (number, (to, agents, share)) in runs {
        let count = count / share;
        let dir = dir.path().join(number.to_string());
        let run = if to == "sink" {
            with_sink(&dir, agents, count)?
        } else {
            with_node(&dir, agents, count)?
        };
        rows.push(vec![
            if to == "sink" {
                "a sink"
            } else {
                "the embedded node, over HTTP"
            }
            .to_owned(),
            agents.to_string(),
            count.to_string(),
            report::time(run.took),
            report::rate(count, run.took),
            report::time(run.cpu / u32::try_from(count)?),
        ]);
    }
    report::table(
        &[
            "posted to",
            "agents",
            "pings",
            "until the last answer is accepted",
            "messages",
            "processor time per message (sink or node included)",
        ],
        &rows,
    );
    let after = cost::costs();
    let mut rows = Vec::new();
    for (what, before, after) in [
        ("one Ed25519 signature", before.signature, after.signature),
        (
            "one strict verification",
            before.verification,
            after.verification,
        ),
    ] {
        let mean = (before + after) / 2;
        rows.push(vec![
            what.to_owned(),
            report::time(mean),
            report::rate(1, mean),
        ]);
    }
    report::table(
        &[
            "for comparison, on one core, in the same run",
            "time",
            "per second",
        ],
        &rows,
    );
    report::line(format!("Load average at the end: {}", report::load()));
    Ok(())
}

fn fleet(dir: &Path, agents: usize) -> anyhow::Result<Fleet> {
    Fleet::make(&dir.join("fleet"), agents, FEW_ROUNDS)
}

fn messages(fleet: &Fleet, count: usize) -> anyhow::Result<Vec<StoredTransaction>> {
    let senders: Vec<_> = (0..SENDERS).map(pings::sender).collect();
    pings::with_headers(count, &senders, fleet.addresses())
}

fn with_sink(dir: &Path, agents: usize, count: usize) -> anyhow::Result<Run> {
    let fleet = fleet(dir, agents)?;
    let node = dir.join("node");
    chain::make(&node, fleet.allocations())?;
    let sink = Sink::start(&chain::genesis(&node)?)?;
    let host = fleet.host("throughput", &Place::db(&node, &sink.url()))?;
    let messages = messages(&fleet, count)?;
    let mut blocks = Blocks::open(&node)?;
    let cpu = process::own_cpu()?;
    let began = blocks.add(messages)?;
    let run = wait(&host, count, began, cpu)?;
    // More connections than the runtime's concurrent posts would mean that it does not reuse them.
    let connections = sink.connections();
    anyhow::ensure!(connections <= 64, "{connections} connections were made");
    anyhow::ensure!(
        sink.taken() == count as u64,
        "the sink took {}",
        sink.taken()
    );
    host.stop()?;
    Ok(run)
}

fn with_node(dir: &Path, agents: usize, count: usize) -> anyhow::Result<Run> {
    let fleet = fleet(dir, agents)?;
    let devnet = Devnet::start(DevnetConfig {
        dir: dir.join("node"),
        allocations: fleet.allocations(),
        max_pending: 20_000,
        ..DevnetConfig::default()
    })?;
    let host = fleet.host("throughput", &Place::db(devnet.dir(), &devnet.url()))?;
    let messages = messages(&fleet, count)?;
    let mut blocks = Blocks::open(devnet.dir())?;
    devnet.pause_mining();
    let cpu = process::own_cpu()?;
    let began = blocks.add(messages)?;
    devnet.resume_mining();
    let run = wait(&host, count, began, cpu)?;
    host.stop()?;
    Ok(run)
}

fn wait(host: &agentry::Host, count: usize, began: Instant, cpu: Duration) -> anyhow::Result<Run> {
    let metrics = &host.started().metrics;
    let accepted = pings::wait_accepted(metrics, count as u64, LIMIT)?;
    Ok(Run {
        took: accepted - began,
        cpu: process::own_cpu()? - cpu,
    })
}
