//! `cargo bench --bench fleet`: the cost of an idle fleet. Measured are the resident memory of an
//! `agentry run` process that hosts 10,000 wallets of a vault, minus that of a process that hosts a
//! single wallet, and the time from its start to the line that reports that it hosts.
//! `AGENTRY_SCALE_AGENTS` changes the number.

#[expect(dead_code, reason = "each benchmark uses a part of the common stage")]
mod stage;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::Password;
use agentry_protocol::vault::Vault;
use stage::chain::{self, Blocks};
use stage::fleet::{Fleet, Place, ROUNDS};
use stage::process::Running;
use stage::{pings, report};

/// How often each start is repeated.
const STARTS: usize = 5;

/// How long a runtime is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// The timeout for the answers.
const LIMIT: Duration = Duration::from_secs(180);

fn main() -> anyhow::Result<()> {
    if !report::is_asked_for() {
        return Ok(());
    }
    let many = report::setting("AGENTRY_SCALE_AGENTS", 10_000)?;
    report::header("An idle fleet: start-up and memory")?;
    let dir = tempfile::tempdir()?;
    let mut starts = Vec::new();
    let mut idle = Vec::new();
    for agents in [1, many] {
        let dir = dir.path().join(agents.to_string());
        let fleet = Fleet::make(&dir.join("fleet"), agents, ROUNDS)?;
        chain::make(&dir.join("node"), fleet.allocations())?;
        idle.push(start_up(&dir, &fleet, &mut starts)?);
    }
    starts.push(derivation()?);
    report::table(
        &[
            "from the start of the process until it hosts",
            "median",
            "longest",
        ],
        &starts,
    );

    let per_agent = |memory: u64, base: u64| {
        format!(
            "{:.2} kB",
            memory.saturating_sub(base) as f64 / (many - 1) as f64 / 1e3
        )
    };
    let megabytes = |memory: u64| format!("{:.1} MB", memory as f64 / 1e6);
    let (base, full) = (idle[0], idle[1]);
    let one_worked = after_work(&dir.path().join("1"), 1, many)?;
    let all_worked = after_work(&dir.path().join(many.to_string()), many, many)?;
    report::table(
        &[
            "resident memory of the process",
            "whole",
            "for each agent more than the first",
        ],
        &[
            vec!["1 agent, idle".to_owned(), megabytes(base), "–".to_owned()],
            vec![
                format!("{many} agents, idle"),
                megabytes(full),
                per_agent(full, base),
            ],
            vec![
                format!("1 agent, idle again after it answered {many} pings"),
                megabytes(one_worked[0]),
                "–".to_owned(),
            ],
            vec![
                format!("{many} agents, idle again after each answered one ping"),
                megabytes(all_worked[0]),
                per_agent(all_worked[0], one_worked[0]),
            ],
            vec![
                format!("{many} agents, idle again after each answered a second ping"),
                megabytes(all_worked[1]),
                per_agent(all_worked[1], one_worked[1]),
            ],
        ],
    );
    report::line(format!("Load average at the end: {}", report::load()));
    Ok(())
}

/// Starts runtimes with a new store each, then with one store repeatedly; returns the last's memory.
fn start_up(dir: &Path, fleet: &Fleet, rows: &mut Vec<Vec<String>>) -> anyhow::Result<u64> {
    let place = Place::db(&dir.join("node"), "http://127.0.0.1:9");
    let agents = fleet.len();
    let mut new = Vec::new();
    for number in 0..STARTS {
        let config = fleet.configure(&format!("new{number}"), &place)?;
        new.push(Running::start(&config)?.start_up);
    }
    let mut again = Vec::new();
    let config = fleet.configure("new0", &place)?;
    for _ in 0..STARTS {
        again.push(Running::start(&config)?.start_up);
    }
    for (what, times) in [
        ("a new store", &mut new),
        ("a store that knows them", &mut again),
    ] {
        rows.push(vec![
            format!("{agents} wallets in a vault, {what}"),
            report::time(report::percentile(times, 50)),
            report::time(report::percentile(times, 100)),
        ]);
    }
    let running = Running::start(&config)?;
    std::thread::sleep(SETTLE);
    running.memory()
}

/// The part of a start that derives the key of the vault.
fn derivation() -> anyhow::Result<Vec<String>> {
    let password = Password::new("of no importance".to_owned());
    let vault = Vault::pack_with_rounds([], &password, ROUNDS)?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        black_box(vault.open(&password)?);
        times.push(began.elapsed());
    }
    Ok(vec![
        "for comparison: the vault's key derivation (PBKDF2, 600,000 rounds), once".to_owned(),
        report::time(report::percentile(&mut times, 50)),
        report::time(report::percentile(&mut times, 100)),
    ])
}

/// The memory of a runtime whose agents have together answered this many pings and are idle again,
/// and its memory after as many further pings, which must not have grown.
fn after_work(dir: &Path, agents: usize, count: usize) -> anyhow::Result<[u64; 2]> {
    let fleet = Fleet::make(&dir.join("fleet"), agents, ROUNDS)?;
    let devnet = Devnet::start(DevnetConfig {
        dir: dir.join("node"),
        max_pending: 20_000,
        ..DevnetConfig::default()
    })?;
    let place = Place::db(devnet.dir(), &devnet.url());
    let running = Running::start(&fleet.configure("worked", &place)?)?;
    let messages = pings::pings(2 * count, &[pings::stranger()], fleet.addresses());
    let mut blocks = Blocks::open(devnet.dir())?;
    let mut memory = [0; 2];
    let mut answered = 0;
    for (half, memory) in messages.chunks(count).zip(&mut memory) {
        devnet.pause_mining();
        blocks.add(half.iter().cloned())?;
        devnet.resume_mining();
        answered += half.len() as u64;
        running.wait_metric("agentry_transactions_mined_total", answered, LIMIT)?;
        devnet.pause_mining();
        std::thread::sleep(SETTLE);
        *memory = running.memory()?;
    }
    Ok(memory)
}
