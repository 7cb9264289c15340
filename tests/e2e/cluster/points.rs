//! `kill -9` at named points: what the killed hosts were about to do is done by another one, once.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use agentry::runtime::kill::Point;

use agentry_testbed::PATIENCE;
use agentry_testbed::conversation::{BEHAVIOURS, Conversation, Question};
use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::{Engine, Fleet, setup};
use agentry_testbed::until;
use agentry_testbed::within;
use agentry_testbed::world::Setup;

/// Where each of the hosts is killed that are killed at the same time, and at which pass.
type Deaths<'a> = &'a [(Point, usize)];

/// Starts a host for each of the deaths, and calls `work` again and again until all of them are
/// dead.
fn die(fleet: &mut Fleet, names: &[String], deaths: Deaths<'_>, mut work: impl FnMut(&Fleet)) {
    for (name, (point, pass)) in names.iter().zip(deaths) {
        let wish = format!("{}:{pass}", point.as_str());
        fleet.spawn(name, &[("AGENTRY_KILL_AT", &wish)]);
    }
    await_deaths(fleet, names, deaths, |fleet| work(fleet));
}

fn await_deaths(
    fleet: &mut Fleet,
    names: &[String],
    deaths: Deaths<'_>,
    mut work: impl FnMut(&Fleet),
) {
    let dead = within(PATIENCE, || {
        work(fleet);
        let mut all = true;
        for (name, (point, pass)) in names.iter().zip(deaths) {
            let host = fleet.host(name);
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
    let left = fleet.running();
    assert!(dead.is_some(), "{deaths:?}: these still run: {left:?}");
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
        die(&mut fleet, dying, &deaths, |fleet| {
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
    die(&mut fleet, dying, &deaths, &mut ping);
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
    // One that has had another's shard until that was level has died already.
    until("each has a shard", || {
        let places = fleet.places();
        dying.iter().all(|name| {
            let has_one = places.iter().any(|place| place.owner == *name);
            has_one || fleet.host(name).runtime().ended().is_some()
        })
    });
    for name in dying {
        let runtime = fleet.host(name).runtime();
        if runtime.ended().is_none() {
            runtime.terminate();
        }
    }
    await_deaths(&mut fleet, dying, &deaths, &mut ping);
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
    die(&mut fleet, dying, &deaths, |fleet| {
        conversation.ask_for(Question::Job, &mut dice);
        std::thread::sleep(fleet.world.chain.block_time() * 2);
    });
    conversation.settle();
    fleet.stop();
    conversation.settle();
    fleet.check();
}
