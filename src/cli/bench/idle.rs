//! The rows about starting, idling and reading.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_chain::{ChainDb, ChainDbOptions, ChainSource, Interest, Start};
use agentry_devnet::{BlockWriter, Devnet};
use agentry_protocol::{Address, BlockHeight, SignedTransaction, vault};

use super::Bench;
use super::fleet::{Fleet, NO_NODE, UNLIMITED};
use super::measure::{Measure, Unit, number, percentile};
use super::pings::{self, addresses, pings, senders};
use super::process::Process;

/// How long a runtime is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(2);

/// The time between the blocks of an idle chain.
const BLOCK_TIME: Duration = Duration::from_millis(500);

/// A runtime that has nothing to do.
fn idling(bench: &Bench<'_>, fleet: &Fleet) -> anyhow::Result<Process> {
    let running = Process::run(&fleet.configure("idle", NO_NODE, UNLIMITED)?)?;
    std::thread::sleep(SETTLE.min(bench.period()));
    Ok(running)
}

pub(super) fn memory(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let crowd = bench.crowd();
    let (one, many) = (bench.fleet("one", 1)?, bench.fleet("many", crowd)?);
    let mut blocks = BlockWriter::open(&many.node())?;
    drop(BlockWriter::open(&one.node())?);
    let base = idling(bench, &one)?.memory()?;
    let each = |memory: f64| (memory - base) / (crowd - 1) as f64;
    let idle = each(idling(bench, &many)?.memory()?);
    let sealed = std::fs::metadata(many.vault())?.len() as f64 / crowd as f64;

    bench.say(&format!("{crowd} messages"));
    let devnet = Devnet::start(many.node())?;
    let running = Process::run(&many.configure("worked", &devnet.url(), UNLIMITED)?)?;
    let messages = pings(crowd, &senders(10), many.addresses())?;
    devnet.pause_mining();
    blocks.add(messages.iter().map(SignedTransaction::stored))?;
    devnet.resume_mining();
    for metric in [
        "messages_arrived",
        "transactions_accepted",
        "transactions_mined",
    ] {
        running.wait(&format!("agentry_{metric}_total"), crowd)?;
    }
    devnet.pause_mining();
    std::thread::sleep(SETTLE.min(bench.period()));
    let worked = each(running.memory()?);
    let what = format!("memory of one of {} agents", number(crowd));
    let row = |what, floor| Measure::new(Unit::Bytes, what, floor);
    Ok(vec![
        row(
            (format!("{what}, idle"), idle),
            ("its entry in the vault", sealed),
        ),
        row(
            (format!("{what}, idle again after a message each"), worked),
            ("the same before the message", idle),
        ),
    ])
}

pub(super) fn start(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let crowd = bench.crowd();
    bench.say(&format!("making {crowd} wallets"));
    // As many rounds as `agentry wallet pack` takes.
    let fleet = Fleet::make(&bench.dir.join("fleet"), crowd, vault::ROUNDS)?;
    drop(BlockWriter::open(&fleet.node())?);
    bench.say("starting");
    let (mut starts, mut floors) = (Vec::new(), Vec::new());
    for number in 0..bench.scaled(5, 3) {
        let config = fleet.configure(&format!("new{number}"), NO_NODE, UNLIMITED)?;
        starts.push(Process::run(&config)?.start_up);
        let began = Instant::now();
        fleet.open_vault()?;
        floors.push(began.elapsed());
    }
    Ok(vec![Measure::time(
        (
            format!("start, wallets in a vault: {}", number(crowd)),
            percentile(&mut starts, 50),
        ),
        (
            "reading the vault and opening it",
            percentile(&mut floors, 50),
        ),
    )])
}

pub(super) fn idle(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let strangers = addresses(64);
    let minute = |name: &str, agents, foreign| {
        let fleet = bench.fleet(name, agents)?;
        let mut blocks = BlockWriter::open(&fleet.node())?;
        bench.say(&format!("making {foreign} foreign transactions"));
        blocks.add_in_bulk(pings::unsigned(foreign, |number| {
            &strangers[number / 7 % strangers.len()]
        }))?;
        let running = idling(bench, &fleet)?;
        bench.say("idling");
        running.busy_minute(bench.period(), || {
            blocks.add([])?;
            std::thread::sleep(BLOCK_TIME.min(bench.period()));
            Ok(())
        })
    };
    let (agents, foreign) = (bench.crowd(), bench.scaled(10_000_000, 100_000));
    let base = minute("none", 1, 0)?;
    let (cost, what) = (
        minute("many", agents, foreign)?,
        "processor time of an idle minute",
    );
    let (agents, foreign) = (number(agents), number(foreign));
    Ok(vec![Measure::time(
        (
            format!("{what}, agents: {agents}, old foreign transactions: {foreign}"),
            cost,
        ),
        ("the same, agents: 1, none", base),
    )])
}

/// The interest in the transactions to one address.
struct To(Address);

impl Interest for To {
    fn wants(&self, _from: &str, to: &str) -> bool {
        to == self.0.as_str()
    }
}

pub(super) fn read(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    /// How many transactions the watcher reads at a time.
    const READING: usize = 500;
    let (fleet, strangers) = (bench.fleet("fleet", 1)?, addresses(64));
    let node = fleet.node();
    let mut blocks = BlockWriter::open(&node)?;
    let (count, own) = (bench.scaled(1_000_000, 100_000), &fleet.addresses()[0]);
    bench.say(&format!("making {count} transactions"));
    blocks.add_in_bulk(pings::unsigned(count, |number| match number % 10 {
        0 => own,
        _ => &strangers[number / 7 % strangers.len()],
    }))?;
    bench.say("reading");
    let select = || {
        let began = Instant::now();
        let (rows, _) = blocks.read_all()?;
        anyhow::ensure!(rows == count as u64, "{rows} of {count} rows were read");
        Ok(count as f64 / began.elapsed().as_secs_f64())
    };
    let before = select()?;
    let path = node.dir.join("chain.db");
    let mut source = ChainDb::open(path, node.chain_id, ChainDbOptions::default())?;
    let interest: Arc<dyn Interest> = Arc::new(To(own.clone()));
    let began = Instant::now();
    let found = crate::cli::runtime()?.block_on(async {
        let mut cursor = source.begin(Start::Height(BlockHeight(0))).await?;
        let mut found = 0;
        loop {
            let batch = source.read(&cursor, Arc::clone(&interest), READING).await?;
            found += batch.events.len();
            cursor = batch.cursor;
            if !batch.more {
                return anyhow::Ok(found);
            }
        }
    })?;
    let read = count as f64 / began.elapsed().as_secs_f64();
    let wanted = count.div_ceil(10);
    anyhow::ensure!(
        found == wanted,
        "{found} of {wanted} transactions were found"
    );
    let what = format!("chain.db of {} rows, 1 in 10 to us, read", number(count));
    let floor = ("SELECT of the same rows", f64::midpoint(before, select()?));
    Ok(vec![Measure::new(Unit::PerSecond, (what, read), floor)])
}

pub(super) fn restart(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    /// Each agent answers one message of each sender at once, and the others wait.
    const SLOW: &str = "per_sender_rate = \"1/h\"\ndaily_budget = 1_000_000_000";
    let senders = senders(10);
    let restarted = |name: &str, waiting: usize| {
        let fleet = bench.fleet(name, 10)?;
        let mut blocks = BlockWriter::open(&fleet.node())?;
        let devnet = Devnet::start(fleet.node())?;
        let config = fleet.configure("restart", &devnet.url(), SLOW)?;
        let running = Process::run(&config)?;
        let answered = senders.len() * fleet.addresses().len();
        let count = answered + waiting;
        bench.say(&format!("{count} messages"));
        let mut messages = pings(count + 1, &senders, fleet.addresses())?;
        let last = messages.pop().as_ref().map(SignedTransaction::stored);
        devnet.pause_mining();
        blocks.add(messages.iter().map(SignedTransaction::stored))?;
        devnet.resume_mining();
        running.wait("agentry_messages_arrived_total", count)?;
        running.wait("agentry_transactions_mined_total", answered)?;
        devnet.pause_mining();
        std::thread::sleep(SETTLE.min(bench.period()));
        bench.say("waiting for the senders' rate");
        let minute = running.busy_minute(bench.period(), || {
            std::thread::sleep(bench.period());
            Ok(())
        })?;
        // It is killed, as in a crash.
        drop(running);
        blocks.add(last)?;
        bench.say("restarting");
        let began = Instant::now();
        let running = Process::run(&config)?;
        let accepted = running.wait("agentry_transactions_accepted_total", 1)?;
        anyhow::Ok((accepted - began, minute))
    };
    let waiting = bench.scaled(100_000, 5_000);
    let (base, many) = (restarted("none", 0)?, restarted("many", waiting)?);
    let waiting = format!("messages waiting: {}", number(waiting));
    Ok(vec![
        Measure::time(
            (format!("restart until the first answer, {waiting}"), many.0),
            ("the same, messages waiting: 1", base.0),
        ),
        Measure::time(
            (
                format!("processor time of an idle minute, {waiting}"),
                many.1,
            ),
            ("the same, none waiting", base.1),
        ),
    ])
}
