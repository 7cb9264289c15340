//! Failures in random order, under a flow of pings.

use std::time::Duration;

use agentry_devnet::NoncePolicy;
use rustix::process::{Signal, kill_process};

use super::{Engine, Fleet, PACE};
use crate::dice::Dice;
use crate::proxy::Way;
use crate::world::{Setup, Source};
use crate::{pause, until};

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

/// What rounds have shown.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// How many there were.
    pub done: usize,
    /// How many pings were answered, each once.
    pub answered: usize,
    /// How long it took from each `kill -9` to the first answer from elsewhere.
    pub after_kills: Vec<Duration>,
    /// How long it took from each promotion to the first answer.
    pub after_promotions: Vec<Duration>,
}

impl Rounds {
    /// So many rounds, with a new cluster after every ten. Each cluster ends with the whole audit.
    ///
    /// # Panics
    /// The audit finds something, such as a ping that is lost or answered twice.
    pub fn run(name: &str, dice: &mut Dice, setup: &Setup, rounds: usize) -> Self {
        let mut all = Self::default();
        while all.done < rounds {
            let next = LIFE.min(rounds - all.done);
            let name = format!("{name}, rounds from {} on", all.done);
            all.life(&name, dice.fork(), setup.clone(), next);
            all.done += next;
            eprintln!(
                "{name}: {} rounds, {} pings, each answered once",
                all.done, all.answered
            );
        }
        all
    }

    /// Some rounds with one cluster.
    fn life(&mut self, name: &str, mut dice: Dice, setup: Setup, rounds: usize) {
        let setup = Setup {
            source: dice.pick(&[Source::Rpc, Source::Db]),
            nonces: dice.pick(&[NoncePolicy::Ignored, NoncePolicy::Sequential]),
            ..setup
        };
        eprintln!("{name}: {:?}, {:?}", setup.source, setup.nonces);
        let mut fleet = Fleet::new(name, &mut dice, setup, Engine::own());
        for host in Fleet::names(3) {
            start(&mut fleet, &host, &mut dice);
        }
        fleet.await_places();
        let flow = fleet.world.flow(dice.fork(), PACE * 4);
        for _ in 0..rounds {
            let event = dice.pick(&EVENTS);
            let names = fleet.running();
            let host = names[dice.below(names.len())].clone();
            eprintln!("{name}: {event:?} {host}");
            self.round(&mut fleet, event, &host, &mut dice);
            // Sometimes the next one comes while this one is not over.
            if dice.below(3) > 0 {
                fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
            }
        }
        flow.stop();
        fleet.world.settle();
        fleet.await_places();
        self.answered += fleet.finish();
    }

    fn round(&mut self, fleet: &mut Fleet, event: Event, name: &str, dice: &mut Dice) {
        match event {
            Event::Kill => {
                self.after_kills.push(fleet.kill_and_await_answer(name));
                start(fleet, name, dice);
            }
            Event::Freeze => freeze(fleet, name, dice),
            Event::Cut(way) => {
                fleet.host(name).set(way);
                pause(dice.up_to(LONGEST));
                fleet.host(name).set(Way::Open);
            }
            Event::CutFromNode(way) => {
                fleet.host(name).node.set(way);
                pause(dice.up_to(LONGEST));
                fleet.host(name).node.set(Way::Open);
            }
            Event::Promote => {
                self.after_promotions
                    .push(fleet.fail_over_and_await_answer());
                fleet.restore_standby();
            }
        }
    }
}

/// Some hosts are ended by the kernel if they are frozen, some are not.
fn start(fleet: &mut Fleet, name: &str, dice: &mut Dice) {
    let timer = dice.pick(&["on", "off"]);
    fleet.start(name, &[("AGENTRY_KERNEL_TIMER", timer)]);
}

/// Freezes a host for some time, and waits until it beats again. It may be ended by the kernel, and is
/// started again then.
fn freeze(fleet: &mut Fleet, name: &str, dice: &mut Dice) {
    let pid = fleet.host(name).runtime().pid();
    kill_process(pid, Signal::STOP).unwrap();
    pause(dice.up_to(LONGEST));
    // It may have been ended meanwhile, or be ended before it beats again.
    let _ = kill_process(pid, Signal::CONT);
    let before = fleet.beats(name);
    let mut is_dead = false;
    until("it beats again, or the kernel has ended it", || {
        is_dead = fleet.host(name).runtime().ended().is_some();
        is_dead || fleet.beats(name) > before
    });
    if is_dead {
        fleet.host(name).runtime = None;
        start(fleet, name, dice);
    }
}
