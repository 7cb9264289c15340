//! `cargo bench --bench backlog`: the cost of a backlog over its sender's rate. One agent has 100,000
//! messages of one sender that wait for the rate. Measured are the processor time of the runtime, in
//! its own process, and how long another agent takes to answer another sender.
//! `AGENTRY_BENCH_BACKLOG` changes the number.

#[expect(dead_code, reason = "each benchmark uses a part of the common stage")]
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{Address, StoredTransaction};
use rusqlite::Connection;
use stage::chain::Blocks;
use stage::fleet::{FEW_ROUNDS, Fleet, Place};
use stage::flood::{arrived, until, verified, wallet};
use stage::process::Running;
use stage::report;

/// How long the processor time is measured.
const WHILE: Duration = Duration::from_secs(20);

/// How many messages of other senders are answered meanwhile.
const OTHERS: u8 = 250;

/// After this time, the burst that the rate allows has been answered.
const SETTLE: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    if !report::is_asked_for() {
        return Ok(());
    }
    report::header("A backlog over its rate")?;
    let backlog = report::setting("AGENTRY_BENCH_BACKLOG", 100_000)?;
    let mut rows = Vec::new();
    for (waiting, rate) in [(0, "60/min"), (backlog, "60/min"), (backlog, "1200/min")] {
        let mut seen = measure(waiting, rate)?;
        rows.push(vec![
            waiting.to_string(),
            rate.to_owned(),
            format!("{:.1} %", seen.busy * 100.0),
            report::time(report::percentile(&mut seen.answers, 50)),
            report::time(report::percentile(&mut seen.answers, 100)),
        ]);
    }
    report::table(
        &[
            "waiting",
            "rate",
            "of one core",
            "another's answer, median",
            "longest",
        ],
        &rows,
    );
    report::line(format!("Load average at the end: {}", report::load()));
    Ok(())
}

/// The results.
struct Seen {
    /// The share of one core while no other message came.
    busy: f64,
    /// The time from the block of another sender's message until the node had the answer.
    answers: Vec<Duration>,
}

fn measure(waiting: usize, rate: &str) -> anyhow::Result<Seen> {
    let dir = tempfile::tempdir()?;
    let fleet = Fleet::make(&dir.path().join("fleet"), 2, FEW_ROUNDS)?;
    let [flooded, other] = fleet.addresses() else {
        anyhow::bail!("two agents are needed");
    };
    let devnet = Devnet::start(DevnetConfig {
        dir: dir.path().join("node"),
        allocations: fleet.allocations(),
        automatic: false,
        ..DevnetConfig::default()
    })?;
    let place = Place::db(devnet.dir(), &devnet.url());
    let limits = format!("per_sender_rate = {rate:?}\ndaily_budget = 1_000_000_000");
    let running = Running::start(&fleet.configure_with("backlog", &place, &limits)?)?;
    let mut blocks = Blocks::open(devnet.dir())?;
    let flooder = wallet(0xf1);
    let messages: Vec<StoredTransaction> = (0..waiting as u64)
        .map(|number| verified(&flooder, flooded, number))
        .collect();
    blocks.add(messages)?;
    let store = dir.path().join("fleet/backlog.db");
    until("the backlog is stored", || Ok(arrived(&store)? >= waiting))?;
    std::thread::sleep(SETTLE);
    let (began, before) = (Instant::now(), running.cpu()?);
    std::thread::sleep(WHILE);
    let busy = (running.cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let mut answers = Vec::new();
    for number in 0..OTHERS {
        let asked = blocks.add([verified(&wallet(number), other, 0)])?;
        let wanted = usize::from(number) + 1;
        while pending(devnet.dir(), other)? < wanted {
            anyhow::ensure!(
                asked.elapsed() < WHILE,
                "the other sender's message is not answered"
            );
            std::thread::sleep(Duration::from_micros(500));
        }
        answers.push(asked.elapsed());
    }
    Ok(Seen { busy, answers })
}

/// How many pending transactions of an address the node has.
fn pending(node: &Path, from: &Address) -> anyhow::Result<usize> {
    let db = Connection::open(node.join("mempool.db"))?;
    db.busy_timeout(WHILE)?;
    let count: i64 = db.query_row(
        "SELECT count(*) FROM mempool WHERE content LIKE '%\"from\":\"' || ?1 || '\"%'",
        [from.as_str()],
        |row| row.get(0),
    )?;
    Ok(usize::try_from(count)?)
}
