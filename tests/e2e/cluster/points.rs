//! `kill -9` at named points: what the killed hosts were about to do is done by another one, once.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use agentry::runtime::kill::Point;

use super::fleet::{Engine, Fleet, setup};
use crate::conversation::{BEHAVIOURS, Conversation, Question};
use crate::support::PATIENCE;
use crate::support::dice::Dice;
use crate::support::within;
use crate::support::world::Setup;

/// Where each of the hosts is killed that are killed at the same time, and at which pass.
type Deaths<'a> = &'a [(Point, usize)];

impl Fleet {
    /// Starts a host for each of the deaths, and calls `work` again and again until all of them are
    /// dead.
    fn die(&mut self, names: &[String], deaths: Deaths<'_>, mut work: impl FnMut(&Self)) {
        for (name, (point, pass)) in names.iter().zip(deaths) {
            let wish = format!("{}:{pass}", point.as_str());
            self.spawn(name, &[("AGENTRY_KILL_AT", &wish)]);
        }
        self.await_deaths(names, deaths, |fleet| work(fleet));
    }

    fn await_deaths(&mut self, names: &[String], deaths: Deaths<'_>, mut work: impl FnMut(&Self)) {
        let dead = within(PATIENCE, || {
            work(self);
            let mut all = true;
            for (name, (point, pass)) in names.iter().zip(deaths) {
                let host = self.host(name);
                let Some(runtime) = &mut host.runtime else {
                    continue;
                };
                match runtime.ended() {
                    Some(status) => {
                        let log = runtime.log();
                        assert_eq!(
                            status.signal(),
                            Some(9),
                            "{point:?}:{pass}: {status}: {log}"
                        );
                        host.runtime = None;
                    }
                    None => all = false,
                }
            }
            all.then_some(())
        });
        let left = self.running();
        assert!(dead.is_some(), "{deaths:?}: these still run: {left:?}");
    }
}

/// Three hosts are killed at the same time, each at a point of its own. The fourth answers everything.
#[test]
fn at_every_point_of_a_message() {
    let test = "at_every_point_of_a_message";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::new(test, &mut dice, setup(), Engine::shared());
    let names = Fleet::names(4);
    let (last, dying) = names.split_last().unwrap();
    fleet.start(last, &[]);
    let [a, b, c, d, e, f] = Point::ALL;
    for points in [[a, b, c], [d, e, f], [Point::AfterAppend; 3]] {
        let deaths = points.map(|point| (point, 1 + dice.below(6)));
        let everybody = fleet.everybody();
        let mut pause = fleet.world.chain.block_time();
        fleet.die(dying, &deaths, |fleet| {
            fleet.world.ping(dice.pick(&everybody));
            std::thread::sleep(dice.up_to(pause));
            // On a busy machine a start takes long: the pings come ever less often.
            pause = pause.mul_f32(1.05).min(Duration::from_secs(1));
        });
        fleet.world.settle();
    }
    let answered = fleet.finish();
    println!("{test}: {answered} pings, 9 kills");
}

/// Hosts are killed as they get their shards, and as they hand them over.
#[test]
fn at_every_point_of_a_shard() {
    let test = "at_every_point_of_a_shard";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::new(test, &mut dice, setup(), Engine::shared());
    let names = Fleet::names(4);
    let (last, dying) = names.split_last().unwrap();
    fleet.start(last, &[]);
    fleet.await_places();
    let everybody = fleet.everybody();
    let mut ping = |fleet: &Fleet| {
        fleet.world.ping(dice.pick(&everybody));
        std::thread::sleep(dice.up_to(Duration::from_millis(400)));
    };
    let deaths = [
        (Point::AfterClaim, 1),
        (Point::AfterLead, 1),
        (Point::AfterAppend, 1),
    ];
    fleet.die(dying, &deaths, &mut ping);
    fleet.world.settle();
    let deaths = [
        Point::WhileHandingOver,
        Point::BeforeRelease,
        Point::AfterRelease,
    ];
    let deaths = deaths.map(|point| (point, 1));
    for (name, (point, _)) in dying.iter().zip(&deaths) {
        fleet.start(name, &[("AGENTRY_KILL_AT", point.as_str())]);
    }
    fleet.await_places();
    for name in dying {
        fleet.host(name).runtime().terminate();
    }
    fleet.await_deaths(dying, &deaths, &mut ping);
    let answered = fleet.finish();
    println!("{test}: {answered} pings, 6 kills");
}

/// A task goes on elsewhere.
#[test]
fn at_every_point_of_a_task() {
    let test = "at_every_point_of_a_task";
    let mut dice = Dice::new(test);
    let setup = Setup {
        agents: 8,
        behaviours: BEHAVIOURS,
        ..setup()
    };
    let mut fleet = Fleet::new(test, &mut dice, setup, Engine::shared());
    let names = Fleet::names(4);
    let (last, dying) = names.split_last().unwrap();
    fleet.start(last, &[]);
    let world = std::sync::Arc::clone(&fleet.world);
    let conversation = Conversation::with(&world);
    let deaths = Point::TASKS.map(|point| (point, 1 + dice.below(2)));
    fleet.die(dying, &deaths, |fleet| {
        conversation.ask_for(Question::Job, &mut dice);
        std::thread::sleep(fleet.world.chain.block_time() * 2);
    });
    conversation.settle();
    fleet.stop();
    conversation.settle();
    fleet.check();
}
