//! The row about a node that limits how often it is called.

use std::thread::sleep;
use std::time::{Duration, Instant};

use agentry_devnet::{BlockWriter, Devnet, DevnetConfig, Fault, Faults};
use agentry_protocol::Dialect;

use super::Bench;
use super::fleet::{FEW_ROUNDS, Fleet, Node, UNLIMITED};
use super::measure::{Measure, Unit};
use super::pings;

/// How many POSTs a node of August 2026 takes from one address in a minute.
const ALLOWED: usize = 50;

/// The time between two blocks: short, so that no wallet waits for its nonce.
const BLOCK_TIME: Duration = Duration::from_millis(500);

const MINUTE: Duration = Duration::from_secs(60);

/// One message to each of many agents, which post as often as the node lets them. The runtime reads the
/// node's blocks over RPC, too, which is limited as well.
pub(super) fn limits(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    // At first, a node takes more at once.
    let settling = Duration::from_millis(bench.scaled(60_000, 10_000) as u64);
    let period = Duration::from_millis(bench.scaled(300_000, 50_000) as u64);
    let minutes = (settling + period).div_duration_f64(MINUTE).ceil() as usize;
    let agents = (minutes + 1) * ALLOWED;
    let fleet = Fleet::of(
        Dialect::August2026,
        &bench.dir.join("fleet"),
        agents,
        FEW_ROUNDS,
    )?;
    let config = DevnetConfig {
        block_time: BLOCK_TIME,
        faults: Faults::from_iter([Fault::RateLimits]),
        ..fleet.node()
    };
    let mut blocks = BlockWriter::open(&config)?;
    let devnet = Devnet::start(config)?;
    let host = fleet.host("limits", Node::Url(&devnet.url()), UNLIMITED)?;
    devnet.pause_mining();
    blocks.add(pings::plain(Dialect::August2026, fleet.addresses()))?;
    devnet.resume_mining();
    let metrics = &host.started().metrics;
    pings::wait("answers", 1, || Ok(metrics.accepted_count()))?;
    bench.say("answers, as many as the node takes");
    sleep(settling);
    let (began, before) = (Instant::now(), metrics.accepted_count());
    sleep(period);
    let (accepted, took) = (metrics.accepted_count() - before, began.elapsed());
    let refused = devnet.refused_calls();
    anyhow::ensure!(refused == 0, "the node refused {refused} calls");
    host.stop()?;
    Ok(vec![Measure::new(
        Unit::PerMinute,
        (
            "messages answered over RPC within a node's limits, no call refused",
            accepted as f64 / took.div_duration_f64(MINUTE),
        ),
        ("what the node allows", ALLOWED as f64),
    )])
}
