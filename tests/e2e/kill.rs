//! `kill -9`, at named points and at random moments.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use agentry::runtime::kill::Point;
use agentry_devnet::NoncePolicy;
use agentry_protocol::Dialect;

use agentry_testbed::PATIENCE;
use agentry_testbed::dice::Dice;
use agentry_testbed::within;
use agentry_testbed::world::{Setup, Source, World};

/// The longest time that a runtime lives before it is killed at random.
const LIFE: Duration = Duration::from_millis(400);

/// Kills at each point, at its first, second and third pass. The next run must answer the messages
/// that were left each time.
pub(crate) fn at_every_point(test: &str, setup: Setup) {
    let mut dice = Dice::new(test);
    let world = World::new(test, &mut dice, setup);
    for point in Point::ALL {
        for passing in 1..=3 {
            let wish = format!("{}:{passing}", point.as_str());
            let mut runtime = world.spawn(&[], &[("AGENTRY_KILL_AT", &wish)]);
            // On a busy machine a start takes long: the pings come ever less often.
            let mut pause = world.chain.block_time();
            let death = within(PATIENCE, || {
                world.ping(dice.below(world.agents.len()));
                std::thread::sleep(dice.up_to(pause));
                pause = pause.mul_f32(1.1);
                runtime.ended()
            });
            let death = death.unwrap_or_else(|| panic!("{wish} was not reached"));
            assert_eq!(death.signal(), Some(9), "{wish}: {death}");
            let runtime = world.run();
            world.settle();
            runtime.kill();
        }
    }
    let runtime = world.run();
    let answered = world.finish(runtime, &HashSet::new());
    println!("{test}: {answered} pings, {} kills", Point::ALL.len() * 3);
}

#[test]
fn at_every_point_reading_the_database() {
    at_every_point("at_every_point_reading_the_database", Setup::default());
}

#[test]
fn at_every_point_over_rpc_with_sequential_nonces() {
    at_every_point(
        "at_every_point_over_rpc_with_sequential_nonces",
        Setup {
            source: Source::Rpc,
            nonces: NoncePolicy::Sequential,
            ..Setup::default()
        },
    );
}

/// One run: several kills during a steady flow of pings.
pub(crate) fn at_random(test: &str, mut dice: Dice, dialect: Dialect) {
    let setup = Setup {
        dialect,
        agents: 1 + dice.below(12),
        block_time: dice.pick(&[60, 100, 200].map(Duration::from_millis)),
        source: dice.pick(&[Source::Rpc, Source::Db]),
        nonces: dice.pick(&[NoncePolicy::Ignored, NoncePolicy::Sequential]),
        faults: dice.pick(&[&["replay-destroys-block"], &[]]),
        ..Setup::default()
    };
    let kills = 2 + dice.below(4);
    println!(
        "{test}: {:?}, {:?}, blocks every {:?}, {} agents, {kills} kills",
        setup.source, setup.nonces, setup.block_time, setup.agents
    );
    let world = Arc::new(World::new(test, &mut dice, setup));
    let flow = world.flow(dice.fork(), Duration::from_millis(60));
    for _ in 0..kills {
        let mut runtime = world.spawn(&[], &[]);
        // Sometimes it is killed before it is ready.
        if dice.below(4) > 0 {
            assert!(runtime.ready(), "the runtime exited during its start");
        }
        std::thread::sleep(dice.up_to(LIFE));
        runtime.kill();
    }
    let runtime = world.run();
    flow.stop();
    world.finish(runtime, &HashSet::new());
}

/// One part of the random runs. Two tests run them, so that they share the cores.
fn random_runs(test: &str, part: usize) {
    let runs = std::env::var("AGENTRY_KILL_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    let mut dice = Dice::new(test);
    for run in 0..runs.unwrap_or(12_usize) {
        let run_dice = dice.fork();
        if run % 2 == part {
            at_random(&format!("{test}, run {run}"), run_dice, Dialect::April2026);
        }
    }
}

#[test]
fn at_random_moments_even_runs() {
    random_runs("at_random_moments_even_runs", 0);
}

#[test]
fn at_random_moments_odd_runs() {
    random_runs("at_random_moments_odd_runs", 1);
}
