//! `cargo bench --bench long_chain`: the cost of a chain.db of one million foreign transactions for
//! an idle runtime, compared with an empty chain in the same run. Measured is the processor time of
//! the start, of 30 s in which nothing happens, and of 30 s with an empty block every 500 ms; and of
//! reading the whole chain from block 0. `AGENTRY_BENCH_ROWS` and `AGENTRY_BENCH_SECONDS` change the
//! numbers.

#[expect(dead_code, reason = "each benchmark uses a part of the common stage")]
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use stage::chain::{self, Blocks};
use stage::fleet::{FEW_ROUNDS, Fleet, Place};
use stage::process::Running;
use stage::report;

/// How many wallets are hosted.
const AGENTS: usize = 100;

/// The time between blocks.
const BLOCK_TIME: Duration = Duration::from_millis(500);

/// The timeout for the catch-up.
const LIMIT: Duration = Duration::from_secs(600);

fn main() -> anyhow::Result<()> {
    if !report::is_asked_for() {
        return Ok(());
    }
    let rows = report::setting("AGENTRY_BENCH_ROWS", 1_000_000)?;
    let seconds = report::setting("AGENTRY_BENCH_SECONDS", 30)?;
    let period = Duration::from_secs(seconds as u64);
    report::header("A long chain of foreign transactions")?;
    let dir = tempfile::tempdir()?;
    let mut table = Vec::new();
    for rows in [0, rows] {
        let dir = dir.path().join(rows.to_string());
        let fleet = Fleet::make(&dir.join("fleet"), AGENTS, FEW_ROUNDS)?;
        let node = dir.join("node");
        chain::make(&node, fleet.allocations())?;
        let mut blocks = Blocks::open(&node)?;
        let began = Instant::now();
        if rows > 0 {
            blocks.add_in_bulk(chain::foreign(rows))?;
            let size = std::fs::metadata(node.join("chain.db"))?.len();
            report::line(format!(
                "Made {rows} foreign transactions in {} blocks, {:.0} MB, in {}.\n",
                blocks.height(),
                size as f64 / 1e6,
                report::time(began.elapsed())
            ));
        }
        idle(&node, &fleet, &mut blocks, rows, period, &mut table)?;
        if rows > 0 {
            table.push(catch_up(&node, &fleet, rows, blocks.height())?);
        }
    }
    report::table(
        &[
            "foreign transactions",
            "what",
            "time",
            "processor time",
            "of one core",
        ],
        &table,
    );
    report::line(format!("Load average at the end: {}", report::load()));
    Ok(())
}

fn row(rows: usize, what: &str, time: Duration, cpu: Duration) -> Vec<String> {
    vec![
        rows.to_string(),
        what.to_owned(),
        report::time(time),
        format!("{} ms", cpu.as_millis()),
        format!("{:.2} %", cpu.as_secs_f64() / time.as_secs_f64() * 100.0),
    ]
}

fn idle(
    node: &Path,
    fleet: &Fleet,
    blocks: &mut Blocks,
    rows: usize,
    period: Duration,
    table: &mut Vec<Vec<String>>,
) -> anyhow::Result<()> {
    let place = Place::db(node, "http://127.0.0.1:9");
    let running = Running::start(&fleet.configure("idle", &place)?)?;
    table.push(row(
        rows,
        "the start, at the head",
        running.start_up,
        running.cpu()?,
    ));
    let before = running.cpu()?;
    std::thread::sleep(period);
    table.push(row(
        rows,
        "idle, no new block",
        period,
        running.cpu()? - before,
    ));
    let (before, began) = (running.cpu()?, Instant::now());
    while began.elapsed() < period {
        blocks.add_empty()?;
        std::thread::sleep(BLOCK_TIME);
    }
    let what = "idle, an empty block every 500 ms";
    table.push(row(rows, what, began.elapsed(), running.cpu()? - before));
    Ok(())
}

/// Reads the whole chain.
fn catch_up(node: &Path, fleet: &Fleet, rows: usize, height: u64) -> anyhow::Result<Vec<String>> {
    let place = Place {
        start: "0",
        ..Place::db(node, "http://127.0.0.1:9")
    };
    let running = Running::start(&fleet.configure("catch-up", &place)?)?;
    let took = running.wait_metric("agentry_block_height", height, LIMIT)?;
    Ok(row(
        rows,
        "reading all of it from block 0",
        took,
        running.cpu()?,
    ))
}
