//! Everything in random order, under a flow of pings.

use std::time::{Duration, Instant};

use agentry_devnet::NoncePolicy;
use rustix::process::{Signal, kill_process};

use super::fleet::{Engine, Fleet, PACE, setup};
use super::postgres::proxy::Way;
use crate::support::dice::Dice;
use crate::support::until;
use crate::support::world::{Setup, Source};

/// How many rounds one cluster lives for.
const LIFE: usize = 10;

/// The longest time that something is wrong: longer than a lease.
const LONGEST: Duration = Duration::from_secs(4);

/// What happens in a round.
#[derive(Clone, Copy, Debug)]
enum Event {
    Kill,
    Freeze,
    Cut(Way),
    CutFromNode(Way),
    Promote,
}

const EVENTS: [Event; 10] = [
    Event::Kill,
    Event::Kill,
    Event::Freeze,
    Event::Freeze,
    Event::Cut(Way::Cut),
    Event::Cut(Way::Held),
    Event::Cut(Way::HeldThere),
    Event::Cut(Way::HeldBack),
    Event::CutFromNode(Way::Held),
    Event::Promote,
];

/// How long it took until somebody answered.
#[derive(Debug, Default)]
struct Times {
    after_kills: Vec<Duration>,
    after_promotions: Vec<Duration>,
}

#[test]
fn rounds_at_random() {
    let test = "rounds_at_random";
    let rounds = std::env::var("AGENTRY_CLUSTER_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(6);
    let mut dice = Dice::new(test);
    let mut times = Times::default();
    let (mut done, mut answered) = (0, 0);
    while done < rounds {
        let next = LIFE.min(rounds - done);
        answered += life(
            &format!("{test}, rounds from {done} on"),
            dice.fork(),
            next,
            &mut times,
        );
        done += next;
        println!("{test}: {done} rounds, {answered} pings, each answered once");
        show(
            "SIGKILL of a host -> first answer from elsewhere",
            &mut times.after_kills,
        );
        show("promotion -> first answer", &mut times.after_promotions);
    }
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort();
    if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
        println!(
            "{what}: median {median:?}, worst of {} {worst:?}",
            times.len()
        );
    }
}

/// Some rounds with one cluster. Returns how many pings were answered.
fn life(test: &str, mut dice: Dice, rounds: usize, times: &mut Times) -> usize {
    let setup = Setup {
        source: dice.pick(&[Source::Rpc, Source::Db]),
        nonces: dice.pick(&[NoncePolicy::Ignored, NoncePolicy::Sequential]),
        ..setup()
    };
    println!("{test}: {:?}, {:?}", setup.source, setup.nonces);
    let mut fleet = Fleet::new(test, &mut dice, setup, Engine::own());
    for name in Fleet::names(3) {
        start(&mut fleet, &name, &mut dice);
    }
    fleet.await_places();
    let flow = fleet.world.flow(dice.fork(), PACE * 4);
    for _ in 0..rounds {
        let event = dice.pick(&EVENTS);
        let names = fleet.running();
        let name = names[dice.below(names.len())].clone();
        println!("{test}: {event:?} {name}");
        round(&mut fleet, event, &name, &mut dice, times);
        // Sometimes the next one comes while this one is not over.
        if dice.below(3) > 0 {
            fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
        }
    }
    flow.stop();
    fleet.world.settle();
    fleet.await_places();
    fleet.finish()
}

/// Some hosts are ended by the kernel if they are frozen, some are not.
fn start(fleet: &mut Fleet, name: &str, dice: &mut Dice) {
    let timer = dice.pick(&["on", "off"]);
    fleet.start(name, &[("AGENTRY_KERNEL_TIMER", timer)]);
}

fn round(fleet: &mut Fleet, event: Event, name: &str, dice: &mut Dice, times: &mut Times) {
    match event {
        Event::Kill => {
            fleet.await_places();
            let agents = fleet.agents_of(name);
            let head = fleet.world.chain.head();
            fleet.kill(name);
            let since = Instant::now();
            fleet.await_answer(&agents, head);
            times.after_kills.push(since.elapsed());
            start(fleet, name, dice);
        }
        Event::Freeze => {
            let runtime = fleet.host(name).runtime();
            kill_process(runtime.pid(), Signal::STOP).unwrap();
            std::thread::sleep(dice.up_to(LONGEST));
            // It may have been ended meanwhile, or be ended before it beats again.
            let _ = kill_process(runtime.pid(), Signal::CONT);
            let before = fleet.beats(name);
            let host = fleet
                .hosts
                .iter()
                .position(|host| host.name == name)
                .unwrap();
            let mut is_dead = false;
            until("it beats again, or the kernel has ended it", || {
                is_dead = fleet.hosts[host].runtime().ended().is_some();
                is_dead || fleet.beats(name) > before
            });
            if is_dead {
                fleet.hosts[host].runtime = None;
                start(fleet, name, dice);
            }
        }
        Event::Cut(way) => {
            fleet.host(name).set(way);
            std::thread::sleep(dice.up_to(LONGEST));
            fleet.host(name).set(Way::Open);
        }
        Event::CutFromNode(way) => {
            fleet.host(name).node.set(way);
            std::thread::sleep(dice.up_to(LONGEST));
            fleet.host(name).node.set(Way::Open);
        }
        Event::Promote => {
            fleet.fail_over();
            let (head, since) = (fleet.world.chain.head(), Instant::now());
            fleet.await_answer(&fleet.everybody(), head);
            times.after_promotions.push(since.elapsed());
            fleet.restore_standby();
        }
    }
}
