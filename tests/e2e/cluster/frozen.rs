//! Hosts that are frozen for longer than their lease.

use std::os::unix::process::ExitStatusExt;

use rustix::process::{Signal, kill_process};

use super::fleet::{Engine, Fleet, PACE, setup};
use crate::support::dice::Dice;
use crate::support::until;

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

/// How many transactions a node has accepted from a host from a moment on, until it claimed a shard.
fn posts_of_a_zombie(log: &str, from: jiff::Timestamp) -> usize {
    let is_late = |line: &&str| {
        let time = line.split(' ').next().and_then(|time| time.parse().ok());
        time.is_some_and(|time: jiff::Timestamp| time >= from)
    };
    let claimed = "this host has claimed a shard";
    let lines = log.lines().filter(is_late);
    let lines = lines.take_while(|line| !line.contains(claimed));
    let accepted = "the node accepted the transaction";
    lines.filter(|line| line.contains(accepted)).count()
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
        let pid = fleet.host(frozen).runtime().pid();
        kill_process(pid, Signal::STOP).unwrap();
        let (head, epochs) = (fleet.world.chain.head(), fleet.epochs());
        fleet.await_answer(&agents, head);
        until("all its shards are taken over", || {
            fleet.places().iter().all(|place| place.owner != *frozen)
        });
        // Several answers, so that the zombie's own next commits and nonces are used up.
        until("the others have gone on", || {
            fleet.world.chain.head() >= head + 40
        });
        let thawed = jiff::Timestamp::now();
        kill_process(pid, Signal::CONT).unwrap();
        assert_ne!(fleet.epochs(), epochs);
        fleet.await_places();
        let posts = posts_of_a_zombie(&fleet.host(frozen).runtime().log(), thawed);
        println!("{test}: {posts} transactions were posted by a host that went on past its lease");
    }
    flow.stop();
    let log = fleet.host(&names[0]).runtime().log();
    assert!(log.contains("another host has taken a shard over"), "{log}");
    fleet.finish();
}
