//! Random histories, with and without faults.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use agentry_protocol::command::{Ack, AckStatus};
use agentry_protocol::{AckRequest, KnownCommand, TransactionHash};

use super::peers::reaction;
use super::{Breach, Contract, caught};
use crate::effects::Effect;
use crate::testing::{Disturbances, MessageBuilder, Party, Random, START, Simulation};

/// Events of one history.
const STEPS: usize = 24;
/// Blocks for one event. They are enough to catch up on a delay by faults, so that the next message
/// is in the same block with and without faults.
const BLOCKS: u64 = 24;
/// Messages of one history that peers answer.
const REACTIONS: usize = 60;

/// One step of a history.
enum Step {
    Say {
        peer: usize,
        message: Box<MessageBuilder>,
    },
    Again {
        of: usize,
        resend: bool,
    },
    Wait(Duration),
    Down(Duration),
}

/// The final state of a history.
struct End {
    /// One line for each message, entry and task, for the comparison.
    lines: Vec<String>,
    runs: usize,
}

/// Runs one history with and without faults, and compares the results. Returns the number of runs
/// of handlers.
pub(super) async fn compare(contract: &Contract, seed: u64) -> Result<usize, Breach> {
    let plain = play(contract, seed, Disturbances::default()).await?;
    let disturbed = play(contract, seed, Disturbances::all(20)).await?;
    let differs = plain
        .lines
        .iter()
        .zip(&disturbed.lines)
        .find(|(one, other)| one != other)
        .map(|(one, other)| format!("without faults:\n  {one}\nwith faults:\n  {other}"));
    let longer = || {
        let (short, long, which) = if plain.lines.len() < disturbed.lines.len() {
            (&plain.lines, &disturbed.lines, "only with faults")
        } else {
            (&disturbed.lines, &plain.lines, "only without faults")
        };
        let line = long.get(short.len())?;
        Some(format!("{which}:\n  {line}"))
    };
    match differs.or_else(longer) {
        Some(detail) => Err(Breach::new("faults change nothing", detail)),
        None => Ok(plain.runs),
    }
}

fn steps(contract: &Contract, seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let peers = peers();
    let mut said = 0;
    (0..STEPS)
        .map(|_| match random.below(12) {
            0 | 1 => Step::Wait(some_time(&mut random)),
            10 => Step::Down(some_time(&mut random)),
            2 if said > 0 => Step::Again {
                of: random.below(said),
                resend: random.chance(50),
            },
            kind => {
                said += 1;
                let peer = random.below(peers.len());
                let message = match (kind, peers.get(peer), random.pick(&contract.strange)) {
                    (3, _, Some(message)) => message.clone(),
                    (_, Some(from), _) => dressed(contract, &mut random, from),
                    (_, None, _) => MessageBuilder::text("hello"),
                };
                Step::Say {
                    peer,
                    message: Box::new(message),
                }
            }
        })
        .collect()
}

fn some_time(random: &mut Random) -> Duration {
    let seconds = random.pick(&[1, 10, 60, 600, 3_600]);
    Duration::from_secs(seconds.copied().unwrap_or(1))
}

fn peers() -> Vec<Party> {
    ["ann", "ben", "cid"].map(Party::named).to_vec()
}

/// A sample with a random header.
fn dressed(contract: &Contract, random: &mut Random, from: &Party) -> MessageBuilder {
    let index = random.below(contract.samples.len());
    let own_sender = contract
        .samples
        .get(index)
        .is_some_and(MessageBuilder::has_sender);
    let mut message = contract.sample(index, &from.address);
    if random.chance(60) {
        message = message.with_id();
    }
    if random.chance(40) {
        let request = [AckRequest::Received, AckRequest::Done];
        message = message.ack(*random.pick(&request).unwrap_or(&AckRequest::Done));
    }
    if random.chance(20)
        && let Ok(thread) = format!("thread-{}", random.below(3)).parse()
    {
        message = message.thread(thread);
    }
    if random.chance(10) {
        let seconds = u64::try_from(random.below(4_000)).unwrap_or(0);
        message = message.expires_at(START.plus(Duration::from_secs(seconds)));
    }
    // The answer to a sealed message is sealed, which needs the sender's key. The senders of
    // samples may have none.
    if random.chance(10) && !own_sender {
        message = message.sealed();
    }
    message
}

async fn play(contract: &Contract, seed: u64, disturbances: Disturbances) -> Result<End, Breach> {
    match caught(play_steps(contract, seed, disturbances)).await {
        Ok(played) => played,
        Err(panic) => Err(Breach::new("no handler panics", panic)),
    }
}

async fn play_steps(
    contract: &Contract,
    seed: u64,
    disturbances: Disturbances,
) -> Result<End, Breach> {
    let mut chain = contract.prepared(seed);
    let agent = chain.host(contract.agent("agent"));
    let peers = peers();
    for peer in &peers {
        chain.peer(&peer.name);
    }
    chain.disturb(disturbances);
    let mut posted: Vec<TransactionHash> = Vec::new();
    let mut answered = BTreeSet::new();
    for (number, step) in steps(contract, seed).into_iter().enumerate() {
        match step {
            Step::Say { peer, message } => {
                let message = match peers.get(peer) {
                    Some(peer) => message.or_from(&peer.address),
                    None => *message,
                };
                posted.push(chain.post(message.to(&agent)));
            }
            Step::Again { of, resend } => {
                if let Some(hash) = posted.get(of).copied() {
                    // Signed again, a message without an id is another message: both histories
                    // have it.
                    if resend {
                        chain.resend_as(hash, &format!("resend/{number}"));
                    } else {
                        chain.replay(hash);
                    }
                }
            }
            Step::Wait(time) => chain.advance(time).await,
            Step::Down(time) => chain.down_for(time),
        }
        chain.settle().await;
        react(&mut chain, seed, &peers, &mut answered);
        chain.settle().await;
        let until = BLOCKS.saturating_mul(u64::try_from(number + 1).unwrap_or(u64::MAX));
        while chain.height().0 < until {
            chain.mine();
            chain.run_due().await;
        }
    }
    chain.disturb(Disturbances::default());
    chain.advance(Duration::from_secs(3_600)).await;
    examine(&chain)?;
    Ok(End {
        lines: lines(&chain, &agent, contract.kind),
        runs: chain.runs().len(),
    })
}

fn react(
    chain: &mut Simulation,
    seed: u64,
    peers: &[Party],
    answered: &mut BTreeSet<TransactionHash>,
) {
    let mut fresh: Vec<_> = chain
        .sent()
        .into_iter()
        .filter(|sent| !answered.contains(&sent.transaction))
        .filter(|sent| peers.iter().any(|peer| peer.address == sent.to))
        .filter(|sent| !chain.scripts.contains_key(&sent.to))
        .collect();
    fresh.sort_by_key(|sent| sent.transaction);
    for sent in fresh {
        if answered.len() >= REACTIONS {
            return;
        }
        answered.insert(sent.transaction);
        for (index, answer) in reaction(seed, &sent).into_iter().enumerate() {
            let nonce = format!("reaction/{}/{index}", sent.transaction);
            chain.post_as(answer.from(sent.to.clone()), &nonce);
        }
    }
    // An acknowledgment that answers no message.
    if let Some(peer) = peers.first() {
        let ack = KnownCommand::Ack(Ack {
            status: AckStatus::Done,
            detail: None,
        });
        let nonce = format!("stray/{}", answered.len());
        chain.post_as(peer.command(&ack).with_id(), &nonce);
    }
}

/// Checks the laws that hold for every single run.
pub(super) fn examine(chain: &Simulation) -> Result<(), Breach> {
    for run in chain.runs() {
        if run.impossible {
            let reason = run.outcome.as_ref().err().cloned().unwrap_or_default();
            let law = "no handler returns an impossible effect";
            return Err(Breach::new(
                law,
                format!("{reason}; event: {:?}", run.event),
            ));
        }
        let Some(message) = run.message().filter(|message| message.cmd() == Some("ACK")) else {
            continue;
        };
        let effects = run
            .outcome
            .as_ref()
            .map_or(&[][..], |effects| effects.as_slice());
        if effects
            .iter()
            .any(|effect| matches!(effect, Effect::Reply(_)))
        {
            let law = "an acknowledgment is never answered";
            return Err(Breach::new(law, format!("{:?}", message.payload)));
        }
    }
    Ok(())
}

/// The result of a history as text. Things without an order are sorted.
fn lines(chain: &Simulation, agent: &Party, kind: &str) -> Vec<String> {
    let mut lines: Vec<String> = chain
        .sent()
        .iter()
        .map(|sent| {
            let mut line = format!("{} sent {:?} to {}", sent.behaviour, sent.payload, sent.to);
            if let Some(re) = sent.re {
                let _ = write!(line, " in answer to {re}");
            }
            let (thread, label) = (&sent.thread, &sent.label);
            let _ = write!(line, " (thread {thread:?}, label {label:?})");
            line
        })
        .collect();
    lines.sort();
    let state = chain.state(agent, kind);
    lines.extend(
        state
            .entries()
            .map(|(key, value)| format!("remembers {key:?}: {value}")),
    );
    let mut tasks: Vec<String> = chain
        .tasks(agent)
        .into_iter()
        .map(|(key, state)| format!("task {key}: {state:?}"))
        .collect();
    tasks.sort();
    lines.extend(tasks);
    let messages = chain.store.inbox().iter();
    let mut settled: Vec<String> = messages
        .map(|row| format!("message {}: {:?}", row.identity, chain.settlement_of(row)))
        .collect();
    settled.sort();
    lines.extend(settled);
    lines
}
