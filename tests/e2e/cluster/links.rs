//! Links that are cut, or that hold what they carry.

use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::{Engine, Fleet, PACE, setup};
use agentry_testbed::proxy::Way;
use agentry_testbed::until;
use agentry_testbed::world::{Setup, Source};

/// How links fail: those of two hosts at the same time.
const WAYS: [[Way; 2]; 2] = [[Way::Cut, Way::HeldThere], [Way::Held, Way::HeldBack]];

/// Hosts that cannot reach the database lose their agents to another one.
#[test]
fn between_a_host_and_the_database() {
    let test = "between_a_host_and_the_database";
    let mut dice = Dice::new(test);
    let fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 3);
    let flow = fleet.world.flow(dice.fork(), PACE);
    let [lonely @ .., last] = &fleet.hosts[..] else {
        unreachable!("there are three")
    };
    for ways in WAYS {
        fleet.await_answer_each(lonely);
        let agents: Vec<_> = lonely
            .iter()
            .map(|host| fleet.agents_of(&host.name))
            .collect();
        for (host, way) in lonely.iter().zip(ways) {
            host.set(way);
        }
        until("their shards are taken over", || {
            fleet.places().iter().all(|place| place.owner == last.name)
        });
        for agents in agents {
            fleet.await_answer(&agents, fleet.world.chain.head());
        }
        for host in lonely {
            host.set(Way::Open);
        }
        fleet.await_places();
    }
    flow.stop();
    fleet.finish();
}

/// Hosts that cannot reach the node wait for it; nothing is answered twice when it comes back.
#[test]
fn between_a_host_and_the_node() {
    let test = "between_a_host_and_the_node";
    let mut dice = Dice::new(test);
    let setup = Setup {
        source: Source::Rpc,
        ..setup()
    };
    let fleet = Fleet::of(test, &mut dice, setup, Engine::shared(), 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    for ways in WAYS {
        fleet.await_answer_each(&fleet.hosts);
        for (host, way) in fleet.hosts.iter().zip(ways) {
            host.node.set(way);
        }
        fleet.world.chain.await_blocks(fleet.world.chain.head(), 15);
        for host in &fleet.hosts {
            host.node.set(Way::Open);
        }
        fleet.await_answer_each(&fleet.hosts);
    }
    flow.stop();
    fleet.finish();
}

/// A host whose node does not answer for a while leaves its agents to those whose nodes do.
#[test]
fn a_host_that_loses_its_node() {
    let test = "a_host_that_loses_its_node";
    let mut dice = Dice::new(test);
    let setup = Setup {
        source: Source::Rpc,
        ..setup()
    };
    let mut fleet = Fleet::new(test, &mut dice, setup, Engine::shared());
    for name in Fleet::names(3) {
        fleet.start(&name, &[("AGENTRY__CLUSTER__RELEASE_AFTER", "1s")]);
    }
    fleet.await_places();
    let flow = fleet.world.flow(dice.fork(), PACE);
    let lonely = &fleet.hosts[0];
    for way in [Way::Cut, Way::Held] {
        fleet.await_answer_each(&fleet.hosts);
        let agents = fleet.agents_of(&lonely.name);
        lonely.node.set(way);
        until("its shards are handed over", || {
            let places = fleet.places();
            let mut owners = places.iter().map(|place| &place.owner);
            owners.all(|owner| !owner.is_empty() && *owner != lonely.name)
        });
        fleet.await_answer(&agents, fleet.world.chain.head());
        lonely.node.set(Way::Open);
        fleet.await_places();
    }
    flow.stop();
    fleet.finish();
}

/// Nobody can reach the database: all wait, and nobody claims anything.
#[test]
fn between_everybody_and_the_database() {
    let test = "between_everybody_and_the_database";
    let mut dice = Dice::new(test);
    let fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    let mut same = 0;
    for ways in WAYS {
        fleet.await_answer_each(&fleet.hosts);
        let before = fleet.epochs();
        for (host, way) in fleet.hosts.iter().zip(ways) {
            host.set(way);
        }
        // Longer than a lease.
        fleet.world.chain.await_blocks(fleet.world.chain.head(), 40);
        for host in &fleet.hosts {
            host.set(Way::Open);
        }
        fleet.await_answer_each(&fleet.hosts);
        // Not asserted: if one of them is much slower to come back, the other may take over.
        same += usize::from(fleet.epochs() == before);
        fleet.await_places();
    }
    println!(
        "{test}: {same} of {} times they went on under the same epochs",
        WAYS.len()
    );
    flow.stop();
    fleet.finish();
}

/// The primary cannot reach its standby: nothing is answered that a failover could lose.
#[test]
fn between_the_primary_and_its_standby() {
    let test = "between_the_primary_and_its_standby";
    let mut dice = Dice::new(test);
    let (engine, link) = Engine::over_link();
    let fleet = Fleet::of(test, &mut dice, setup(), engine, 2);
    for way in WAYS.concat() {
        let flow = fleet.world.flow(dice.fork(), PACE);
        fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
        link.set(way);
        fleet.engine.wait_for_waiting("insert into agentry.log");
        println!("{test}: {way:?}");
        fleet.assert_silent(15);
        flow.stop();
        link.set(Way::Open);
        fleet.world.settle();
    }
    fleet.finish();
}

/// A host that is to stop while it cannot reach the database stops by itself.
#[test]
fn stopping_without_the_database() {
    let test = "stopping_without_the_database";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    fleet.await_answer_each(&fleet.hosts);
    let lonely = fleet.hosts[0].name.clone();
    let agents = fleet.agents_of(&lonely);
    fleet.hosts[0].set(Way::Held);
    let mut runtime = fleet.hosts[0].runtime.take().unwrap();
    until("it knows that the database is away", || {
        runtime
            .log()
            .contains("the cluster's database does not answer")
    });
    runtime.terminate();
    let status = runtime.wait("it stops");
    assert_eq!(status.code(), Some(0), "{status}: {}", runtime.log());
    fleet.await_answer(&agents, fleet.world.chain.head());
    flow.stop();
    fleet.finish();
}
