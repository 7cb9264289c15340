//! The rows about answering messages.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_chain::{ChainDb, ChainDbOptions, ChainSource, NodeClient, NodeOptions, Start};
use agentry_core::commit::{Arrival, Handled, Observation, Outcome, Step};
use agentry_core::rows::EventRef;
use agentry_core::{Authenticity, Commit, InboxId};
use agentry_devnet::{BlockWriter, Devnet};
use agentry_protocol::{BlockHeight, SignedTransaction, SigningKey};
use agentry_store::{Store, read};
use futures_util::future::try_join_all;
use futures_util::stream::{self, TryStreamExt};

use super::Bench;
use super::fleet::{Fleet, Node, UNLIMITED};
use super::measure::{Measure, Unit, number, percentile};
use super::pings::{self, addresses, pings, senders};
use super::process::{Process, cpu};
use super::sink::Sink;

/// How many wallets send the messages.
const SENDERS: usize = 10;

/// How many transactions are posted at the same time, as the runtime does.
const AT_ONCE: usize = 32;

/// What answering a number of messages took.
struct Answered {
    /// How many were answered in a second.
    per_second: f64,
    /// The processor time of one, in this process.
    cpu: Duration,
}

/// Hosts a fleet, adds messages to its chain in one commit, and waits for the answers.
fn answer(
    bench: &Bench<'_>,
    (fleet, blocks): (&Fleet, &mut BlockWriter),
    (name, node): (&str, Node<'_>),
    senders: &[SigningKey],
) -> anyhow::Result<Answered> {
    let count = bench.messages();
    bench.say(&format!("{count} messages, {name}"));
    let host = fleet.host(name, node, UNLIMITED)?;
    let messages = pings(count, senders, fleet.addresses())?;
    let before = cpu("self")?;
    let began = blocks.add(messages.iter().map(SignedTransaction::stored))?;
    let metrics = &host.started().metrics;
    let last = pings::wait("answers", count, || Ok(metrics.accepted_count()))?;
    let used = cpu("self")? - before;
    host.stop()?;
    Ok(Answered {
        per_second: count as f64 / (last - began).as_secs_f64(),
        cpu: used.div_f64(count as f64),
    })
}

/// [`answer`] with a sink in place of the node, so that only the runtime's own work is measured.
fn answer_to_sink(
    bench: &Bench<'_>,
    fleet: &Fleet,
    name: &str,
    senders: &[SigningKey],
) -> anyhow::Result<Answered> {
    let mut blocks = BlockWriter::open(&fleet.node())?;
    let sink = Arc::new(Sink::default());
    let node = Node::Local(sink.client());
    let answered = answer(bench, (fleet, &mut blocks), (name, node), senders)?;
    let (taken, count) = (sink.taken(), bench.messages());
    anyhow::ensure!(taken == count as u64, "{taken} answers to {count} messages");
    Ok(answered)
}

pub(super) fn throughput(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let cores = std::thread::available_parallelism()?.get();
    beside_floor(bench, bench.agents(), cores)
}

pub(super) fn alone(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    beside_floor(bench, 1, 1)
}

fn beside_floor(bench: &Bench<'_>, agents: usize, cores: usize) -> anyhow::Result<Vec<Measure>> {
    let fleet = bench.fleet("fleet", agents)?;
    let senders = senders(SENDERS);
    let before = floor(cores, &fleet, &senders)?;
    let answered = answer_to_sink(bench, &fleet, "sink", &senders)?;
    let floor = f64::midpoint(before, floor(cores, &fleet, &senders)?);
    Ok(vec![Measure::new(
        Unit::PerSecond,
        (
            format!("messages answered, agents: {}", number(agents)),
            answered.per_second,
        ),
        (
            format!("one verification and one signature, cores: {cores}"),
            floor,
        ),
    )])
}

/// How many messages a number of cores can verify and sign in a second, if they do nothing else.
fn floor(cores: usize, fleet: &Fleet, senders: &[SigningKey]) -> anyhow::Result<f64> {
    const TIMES: usize = 2_000;
    let messages: Vec<_> = pings(senders.len(), senders, fleet.addresses())?
        .into_iter()
        .zip(senders)
        .map(|(ping, sender)| (ping.transaction().signing_text(), ping, sender.public_key()))
        .collect();
    let own = Fleet::key(0);
    let compute = || {
        for (text, ping, key) in messages.iter().cycle().take(TIMES) {
            let signature = ping.signature().expect("it was signed");
            black_box(key.verify(text.as_bytes(), signature));
            black_box(own.sign(text.as_bytes()));
        }
    };
    let began = Instant::now();
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(compute))));
    Ok((cores * TIMES) as f64 / began.elapsed().as_secs_f64())
}

pub(super) fn http(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let fleet = bench.fleet("fleet", bench.agents())?;
    let mut blocks = BlockWriter::open(&fleet.node())?;
    let node = Process::devnet(&fleet.node().dir)?;
    let url = node.said("url")?;
    let answered = answer(
        bench,
        (&fleet, &mut blocks),
        ("http", Node::Url(url)),
        &senders(SENDERS),
    )?;
    bench.say("the same number of POSTs");
    let keys: Vec<_> = (0..bench.agents()).map(Fleet::key).collect();
    let posts = pings(bench.messages(), &keys, &addresses(SENDERS))?;
    let url = format!("{url}/rpc/transaction");
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()?;
    let bodies: Vec<_> = posts.iter().map(SignedTransaction::body).collect();
    let began = Instant::now();
    crate::cli::runtime()?.block_on(
        stream::iter(bodies.into_iter().map(anyhow::Ok)).try_for_each_concurrent(
            AT_ONCE,
            async |body| {
                let request = client.post(&url).header("content-type", "application/json");
                let answer = request.body(body).send().await?.error_for_status()?;
                answer.bytes().await?;
                Ok(())
            },
        ),
    )?;
    let posted = posts.len() as f64 / began.elapsed().as_secs_f64();
    Ok(vec![Measure::new(
        Unit::PerSecond,
        ("messages answered over HTTP", answered.per_second),
        (
            "a bare HTTP client, posting as many to the same node",
            posted,
        ),
    )])
}

pub(super) fn latency(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    /// The pings before the measurement, which open connections and fill caches.
    const WARM_UP: usize = 10;
    let count = WARM_UP + bench.scaled(500, 100);
    bench.say(&format!("{count} messages, one after the other"));
    let fleet = bench.fleet("fleet", 1)?;
    let mut config = fleet.node();
    config
        .allocations
        .push((addresses(1)[0].clone(), 1_000_000_000));
    let devnet = Devnet::start(config)?;
    devnet.pause_mining();
    let host = fleet.host("latency", Node::Url(&devnet.url()), UNLIMITED)?;
    let metrics = &host.started().metrics;
    let node = NodeClient::new(&devnet.url(), NodeOptions::default())?;
    let runtime = crate::cli::runtime()?;
    let (mut answers, mut posts) = (Vec::new(), Vec::new());
    for (number, ping) in pings(count, &senders(1), fleet.addresses())?
        .iter()
        .enumerate()
    {
        let posting = Instant::now();
        runtime.block_on(node.submit(&ping.body()))?;
        let posted = posting.elapsed();
        // The runtime looks at intervals, too: 19 and 50 are coprime, so all phases occur.
        std::thread::sleep(Duration::from_millis(number as u64 * 19 % 50));
        devnet.mine()?;
        let made = Instant::now();
        let accepted = pings::wait("answers", number + 1, || Ok(metrics.accepted_count()))?;
        if number >= WARM_UP {
            answers.push(accepted.saturating_duration_since(made));
            posts.push(posted);
        }
    }
    host.stop()?;
    let mut row = |name: &str, percent| {
        Measure::time(
            (
                format!("block committed to reply accepted, {name}"),
                percentile(&mut answers, percent),
            ),
            (format!("one POST, {name}"), percentile(&mut posts, percent)),
        )
    };
    Ok(vec![row("median", 50), row("99th percentile", 99)])
}

pub(super) fn cost_agents(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let (few, many) = (10.min(bench.crowd()), bench.crowd());
    let cost = |name: &str, agents| {
        let fleet = bench.fleet(name, agents)?;
        answer_to_sink(bench, &fleet, name, &senders(SENDERS))
    };
    let (few, many) = ((few, cost("few", few)?), (many, cost("many", many)?));
    let what = |agents| format!("agents: {}", number(agents));
    Ok(vec![processor_time(
        &what(many.0),
        &many.1,
        &what(few.0),
        &few.1,
    )])
}

pub(super) fn cost_sender(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let fleet = bench.fleet("fleet", bench.agents())?;
    // So many that `pings` takes none of them twice.
    let all = senders(2 * bench.messages());
    let base = answer_to_sink(bench, &fleet, "many-senders", &all)?;
    let cost = answer_to_sink(bench, &fleet, "one-sender", &all[..1])?;
    Ok(vec![processor_time(
        "all from one sender",
        &cost,
        "each from another sender",
        &base,
    )])
}

pub(super) fn cost_store(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let fleet = bench.fleet("fleet", bench.agents())?;
    let base = answer_to_sink(bench, &fleet, "empty", &senders(SENDERS))?;
    let settled = bench.scaled(10_000_000, 50_000);
    crate::cli::runtime()?.block_on(fill(bench, &fleet, "full", settled))?;
    let cost = answer_to_sink(bench, &fleet, "full", &senders(SENDERS))?;
    let what = format!("settled messages in the store: {}", number(settled));
    Ok(vec![processor_time(
        &what,
        &cost,
        "none in the store",
        &base,
    )])
}

fn processor_time(what: &str, cost: &Answered, floor: &str, base: &Answered) -> Measure {
    Measure::time(
        (format!("processor time of a message, {what}"), cost.cpu),
        (format!("the same, {floor}"), base.cpu),
    )
}

/// Puts messages that have been handled into the store of a fleet's runtime.
async fn fill(bench: &Bench<'_>, fleet: &Fleet, name: &str, count: usize) -> anyhow::Result<()> {
    const PAGE: usize = 5_000;
    let node = Node::Local(Arc::<Sink>::default().client());
    // A runtime makes the store and the rows of the agents.
    fleet.host(name, node, UNLIMITED)?.stop()?;
    let store = Store::open(&fleet.store(name))?;
    let agents = store.read(read::agents).await?;
    let node = fleet.node();
    let options = ChainDbOptions::default();
    let mut chain = ChainDb::open(node.dir.join("chain.db"), node.chain_id, options)?;
    let cursor = serde_json::to_value(chain.begin(Start::Head).await?)?;
    let to = |number: usize| &agents[number % agents.len()];
    let mut messages = pings::unsigned(count, |number| &to(number).address).enumerate();
    for first in (0..count).step_by(PAGE) {
        bench.say(&format!("storing {count} settled messages: {first}"));
        let at = pings::now();
        let page = messages.by_ref().take(PAGE);
        let arrivals = page.map(|(number, stored)| {
            let (agent, height) = (to(number).id, BlockHeight(1));
            let verified = Authenticity::Verified;
            Step::Arrival(Arrival::new(
                agent,
                stored.hash(),
                &stored,
                height,
                verified,
                at,
            ))
        });
        let arrivals = Observation {
            steps: arrivals.collect(),
            cursor: cursor.clone(),
            final_through: None,
            catching_up: None,
            at,
        };
        let ids = first + 1..=first + arrivals.steps.len();
        store.commit_now(Commit::Observe(arrivals)).await?;
        let outcomes = ids.map(|id| {
            let event = EventRef::Inbox(InboxId(id as i64));
            store.commit_now(Commit::Outcome(Outcome {
                behaviour: Some("pong".to_owned()),
                handled: Some(Handled::default()),
                ..Outcome::nothing(event, 0, at)
            }))
        });
        try_join_all(outcomes).await?;
    }
    Ok(())
}

pub(super) fn size(bench: &Bench<'_>) -> anyhow::Result<Vec<Measure>> {
    let fleet = bench.fleet("fleet", bench.agents())?;
    let mut blocks = BlockWriter::open(&fleet.node())?;
    let devnet = Devnet::start(fleet.node())?;
    let size = || anyhow::Ok(std::fs::metadata(fleet.store("size"))?.len());
    fleet
        .host("size", Node::Url(&devnet.url()), UNLIMITED)?
        .stop()?;
    let empty = size()?;
    let count = bench.messages();
    bench.say(&format!("{count} messages, until their answers are final"));
    let host = fleet.host("size", Node::Url(&devnet.url()), UNLIMITED)?;
    let messages = pings(count, &senders(SENDERS), fleet.addresses())?;
    devnet.pause_mining();
    blocks.add(messages.iter().map(SignedTransaction::stored))?;
    devnet.resume_mining();
    pings::wait("transactions", 2 * count, || {
        std::thread::sleep(Duration::from_millis(50));
        Ok(blocks.read_all()?.0)
    })?;
    // The default of `final_depth`, and the block in which that is seen.
    let wanted = usize::try_from(blocks.height()?.0)? + 11;
    pings::wait("blocks", wanted, || {
        let height = host.started().metrics.condition().height;
        Ok(height.map_or(0, i64::unsigned_abs))
    })?;
    host.stop()?;
    let each = |bytes: u64| bytes as f64 / count as f64;
    Ok(vec![Measure::new(
        Unit::Bytes,
        (
            "size of the store for a settled message",
            each(size()?.saturating_sub(empty)),
        ),
        (
            "the message and its answer on the chain",
            each(blocks.read_all()?.1),
        ),
    )])
}
