//! `cargo bench --bench latency`: the time from the commit of the block that contains a ping until
//! the node has accepted the reply, one ping at a time; for a runtime that reads chain.db, and for
//! one that reads over RPC. `AGENTRY_BENCH_PINGS` changes how many (default 500).
//!
//! The node, the runtime and the clock are in one process. The node commits the block within
//! `Devnet::mine`. The latency is measured from both the call of `mine` and its return; the true
//! value is in between. The end is when the runtime has received the node's HTTP 200.

#[expect(dead_code, reason = "each benchmark uses a part of the common stage")]
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use agentry_chain::{NodeClient, NodeOptions};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::Address;
use stage::fleet::{FEW_ROUNDS, Fleet, Place};
use stage::{cost, pings, report};

/// The pings of the warm-up, which opens connections and fills caches.
const WARM_UP: usize = 20;

/// The timeout for one answer.
const LIMIT: Duration = Duration::from_secs(20);

/// The pings of a run are spread evenly over this time, a multiple of the 50 ms interval at which a
/// local node is polled for its head, so that they cover all phases of the interval.
const SPREAD_MS: usize = 250;

struct Latency {
    from_return: Vec<Duration>,
    from_call: Vec<Duration>,
    posts: Vec<Duration>,
}

fn main() -> anyhow::Result<()> {
    if !report::is_asked_for() {
        return Ok(());
    }
    let count = report::setting("AGENTRY_BENCH_PINGS", 500)?;
    report::header("Latency: block committed to reply accepted")?;
    let dir = tempfile::tempdir()?;
    let mut db = measure(&dir.path().join("db"), count, true)?;
    let mut rpc = measure(&dir.path().join("rpc"), count, false)?;
    let mut durable = cost::durable_commits(dir.path(), count)?;
    let mut rows = Vec::new();
    let mut row = |what: &str, samples: &mut [Duration]| {
        rows.push(vec![
            what.to_owned(),
            samples.len().to_string(),
            report::time(report::percentile(samples, 50)),
            report::time(report::percentile(samples, 99)),
            report::time(report::percentile(samples, 100)),
        ]);
    };
    row("chain.db: from the return of `mine`", &mut db.from_return);
    row("chain.db: from its call", &mut db.from_call);
    row(
        "RPC of a node on this machine: from the return of `mine`",
        &mut rpc.from_return,
    );
    row(
        "RPC of a node on this machine: from its call",
        &mut rpc.from_call,
    );
    row(
        "for comparison: one durable commit on this disk (an answer takes two)",
        &mut durable,
    );
    row("for comparison: one POST to this node", &mut db.posts);
    report::table(
        &["what", "samples", "median", "99th percentile", "longest"],
        &rows,
    );
    report::line(format!("Load average at the end: {}", report::load()));
    Ok(())
}

fn measure(dir: &Path, count: usize, from_db: bool) -> anyhow::Result<Latency> {
    let fleet = Fleet::make(&dir.join("fleet"), 1, FEW_ROUNDS)?;
    let stranger = pings::stranger();
    let mut allocations = fleet.allocations();
    allocations.push((
        Address::from_public_key(&stranger.public_key()),
        1_000_000_000,
    ));
    let devnet = Devnet::start(DevnetConfig {
        dir: dir.join("node"),
        allocations,
        automatic: false,
        ..DevnetConfig::default()
    })?;
    // Without `automatic`, only the benchmark makes blocks.
    devnet.pause_mining();
    let place = if from_db {
        Place::db(devnet.dir(), &devnet.url())
    } else {
        Place::rpc(&devnet.url())
    };
    let host = fleet.host("latency", &place)?;
    let node = NodeClient::new(&devnet.url(), NodeOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut latency = Latency {
        from_return: vec![],
        from_call: vec![],
        posts: vec![],
    };
    for number in 0..count + WARM_UP {
        let ping = pings::ping(&stranger, &fleet.addresses()[0], number as u64);
        let posting = Instant::now();
        runtime.block_on(node.submit(&ping.body()))?;
        let post = posting.elapsed();
        // 97 and 250 are coprime, so all phases of the interval occur.
        let pause = number * 97 % SPREAD_MS;
        let pause = if from_db { pause / 5 } else { pause };
        std::thread::sleep(Duration::from_millis(pause as u64));
        let called = Instant::now();
        devnet.mine()?;
        let returned = Instant::now();
        let metrics = &host.started().metrics;
        let accepted = pings::wait_accepted(metrics, number as u64 + 1, LIMIT)?;
        if number >= WARM_UP {
            latency
                .from_return
                .push(accepted.saturating_duration_since(returned));
            latency.from_call.push(accepted - called);
            latency.posts.push(post);
        }
    }
    host.stop()?;
    Ok(latency)
}
