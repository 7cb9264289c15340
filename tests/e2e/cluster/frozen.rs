//! Hosts that are frozen for longer than their lease.

use std::os::unix::process::ExitStatusExt;

use rustix::process::{Signal, kill_process};

use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::{Engine, Fleet, PACE, setup};

/// The kernel ends a process that is frozen, so that it does nothing more when it goes on.
#[test]
fn a_frozen_host_is_ended() {
    let test = "a_frozen_host_is_ended";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    let frozen = fleet.hosts[0].name.clone();
    let agents = fleet.agents_of(&frozen);
    fleet.await_answer(&agents, fleet.world.chain.head());
    let mut runtime = fleet.host(&frozen).runtime.take().unwrap();
    kill_process(runtime.pid(), Signal::STOP).unwrap();
    let head = fleet.world.chain.head();
    let status = runtime.wait("the kernel ends it");
    assert_eq!(status.signal(), Some(9), "{status}");
    fleet.await_answer(&agents, head);
    flow.stop();
    fleet.finish();
}

/// Without the kernel's timer it goes on when others have long taken over. It commits nothing.
#[test]
fn a_frozen_host_that_goes_on_is_fenced() {
    let test = "a_frozen_host_that_goes_on_is_fenced";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::new(test, &mut dice, setup(), Engine::shared());
    let names = Fleet::names(2);
    for name in &names {
        fleet.start(name, &[("AGENTRY_KERNEL_TIMER", "off")]);
    }
    fleet.await_places();
    let flow = fleet.world.flow(dice.fork(), PACE);
    for frozen in &names {
        let agents = fleet.agents_of(frozen);
        fleet.await_answer(&agents, fleet.world.chain.head());
        std::thread::sleep(dice.up_to(fleet.world.chain.block_time() * 3));
        let zombie = fleet.freeze_past_lease(frozen);
        println!(
            "{test}: {} transactions were posted by a host that went on past its lease",
            zombie.posts
        );
        assert_eq!(zombie.commits, 0);
    }
    flow.stop();
    let log = fleet.host(&names[0]).runtime().log();
    assert!(log.contains("another host has taken a shard over"), "{log}");
    fleet.finish();
}
