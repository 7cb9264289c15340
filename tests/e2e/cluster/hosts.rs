//! Hosts that differ, and hosts that are replaced.

use std::path::Path;
use std::process::Command;

use agentry_core::cluster::ShardId;
use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::logs::silences;
use agentry_testbed::fleet::{Engine, Fleet, PACE, SHARDS, setup};
use agentry_testbed::proxy::Proxy;
use agentry_testbed::until;
use agentry_testbed::world::Setup;
use rustix::process::Signal;

/// The hosts' clocks are an hour apart, in both directions.
#[test]
fn clocks_an_hour_apart() {
    let test = "clocks_an_hour_apart";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::new(test, &mut dice, setup(), Engine::shared());
    let names = Fleet::names(3);
    let shifts = ["0", "3600000", "-3600000"];
    for (name, shift) in names.iter().zip(shifts) {
        fleet.start(name, &[("AGENTRY_CLOCK_SHIFT_MS", shift)]);
    }
    fleet.await_places();
    let flow = fleet.world.flow(dice.fork(), PACE);
    for at in [1, 2] {
        fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
        let agents = fleet.agents_of(&names[at]);
        fleet.await_answer(&agents, fleet.world.chain.head());
        fleet.kill(&names[at]);
        fleet.await_answer(&agents, fleet.world.chain.head());
        fleet.start(&names[at], &[("AGENTRY_CLOCK_SHIFT_MS", shifts[at])]);
        fleet.await_places();
    }
    flow.stop();
    fleet.finish();
}

/// A shard that moves after a reload has the configuration that was reloaded.
#[test]
fn a_reload_before_a_move() {
    let test = "a_reload_before_a_move";
    let mut dice = Dice::new(test);
    let silent = Setup {
        behaviours: "",
        ..setup()
    };
    let mut fleet = Fleet::of(test, &mut dice, silent, Engine::shared(), 2);
    let places = fleet.places();
    for (shard, place) in places.iter().enumerate() {
        let acts = format!("act on this host shard.id={shard} epoch={}", place.epoch);
        until("a shard runs", || {
            let log = fleet.host(&place.owner).runtime().log();
            log.contains(&acts)
        });
    }
    let config = fleet.world.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let pong = text.replace("behaviours = []", "behaviours = [{ kind = \"pong\" }]");
    assert_ne!(pong, text);
    std::fs::write(&config, pong).unwrap();
    for host in &mut fleet.hosts {
        host.runtime().signal(Signal::HUP);
    }
    let names = fleet.running();
    for name in &names {
        let shards = (0..SHARDS).zip(&places);
        let shards = shards.filter(|(shard, place)| {
            place.owner == *name && !fleet.agents_in(ShardId(*shard)).is_empty()
        });
        let shards = shards.count();
        until("its shards have reloaded", || {
            let log = fleet.host(name).runtime().log();
            log.matches("the configuration was reloaded: changed")
                .count()
                == shards
        });
    }
    let flow = fleet.world.flow(dice.fork(), PACE);
    let agents = fleet.agents_of(&names[0]);
    fleet.await_answer(&agents, fleet.world.chain.head());
    fleet.kill(&names[0]);
    fleet.await_answer(&agents, fleet.world.chain.head());
    fleet.start(&names[0], &[]);
    flow.stop();
    fleet.finish();
}

/// A value in a copy of a shard's tables is damaged: of the host that follows the shard, and of the one
/// that runs it. The copy is made again from the log, and nothing is lost.
#[test]
fn a_copy_that_is_damaged() {
    let test = "a_copy_that_is_damaged";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 2);
    let flow = fleet.world.flow(dice.fork(), PACE);
    let shard = (0..SHARDS).map(ShardId);
    let shard = shard
        .into_iter()
        .find(|shard| !fleet.agents_in(*shard).is_empty())
        .unwrap();
    let agents = fleet.agents_in(shard);
    let spoiled = format!(
        "copy of a shard is damaged: it is removed, and made again from the log; check this machine's disk and memory shard.id={}",
        shard.0
    );
    for is_owner in [false, true] {
        fleet.await_answer(&agents, fleet.world.chain.head());
        let owner = fleet.places()[usize::from(shard.0)].owner.clone();
        let names = fleet.running();
        let name = names.into_iter().find(|name| (*name == owner) == is_owner);
        let name = name.unwrap();
        let copy = fleet.copy(&name, shard);
        until("the host has a copy", || copy.exists());
        let said = |fleet: &mut Fleet| {
            let log = fleet.host(&name).runtime().log();
            log.matches(&spoiled).count()
        };
        let before = said(&mut fleet);
        let db = rusqlite::Connection::open(&copy).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        let sql = "insert or replace into meta values ('time', 'x')";
        assert_eq!(db.execute(sql, []).unwrap(), 1);
        db.close().unwrap();
        until("the damage is found", || said(&mut fleet) > before);
        fleet.await_answer(&agents, fleet.world.chain.head());
        fleet.await_places();
    }
    flow.stop();
    fleet.finish();
}

/// Every host is replaced in turn by one with a later format of records: its shards are handed over and
/// come back. Then one of them is replaced by the former version, which takes nothing back.
#[test]
fn a_rolling_upgrade() {
    const LATER: (&str, &str) = ("AGENTRY_RECORD_FORMAT", "2");
    let test = "a_rolling_upgrade";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 3);
    let flow = fleet.world.flow(dice.fork(), PACE);
    let mut logs = String::new();
    for name in fleet.running() {
        fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
        logs.push_str(&leave(&mut fleet, &name));
        fleet.start(&name, &[LATER]);
        fleet.await_places();
    }
    let name = fleet.running().remove(0);
    logs.push_str(&leave(&mut fleet, &name));
    fleet.start(&name, &[]);
    until("it finds the others' format", || {
        let log = fleet.host(&name).runtime().log();
        log.contains("some shards have a later format of records than this host reads")
    });
    let followed = fleet.world.chain.head();
    fleet.await_answer(&fleet.everybody(), followed);
    assert!(fleet.places().iter().all(|place| place.owner != name));
    logs.push_str(&leave(&mut fleet, &name));
    fleet.start(&name, &[LATER]);
    fleet.await_places();
    flow.stop();
    for host in &fleet.hosts {
        logs.push_str(&host.runtime.as_ref().unwrap().log());
    }
    let silences = silences(&logs);
    let worst = silences.last();
    println!(
        "{test}: {} shards were handed over, and were silent for {:?} in the median, for {worst:?} at most",
        silences.len(),
        silences.get(silences.len() / 2),
    );
    fleet.finish();
}

/// Has a host hand its shards over and end. Returns its log.
fn leave(fleet: &mut Fleet, name: &str) -> String {
    let mut host = fleet.host(name).runtime.take().unwrap();
    host.terminate();
    let status = host.wait("a host hands its shards over and stops");
    assert_eq!(status.code(), Some(0), "{status}: {}", host.log());
    until("the others have its shards", || {
        let places = fleet.places();
        let mut owners = places.iter().map(|place| &place.owner);
        owners.all(|owner| !owner.is_empty() && owner != name)
    });
    host.log()
}

/// A network namespace with a link to this one. What is in it is removed with it.
struct Network {
    name: String,
    outside: String,
    /// The address of this side.
    address: [u8; 4],
}

impl Network {
    /// None if this user may not make one.
    fn make() -> Option<Self> {
        let id = std::process::id();
        let network = Self {
            name: format!("agentry-{id}"),
            outside: format!("agt{id}"),
            address: [10, 231, (id % 251) as u8, 1],
        };
        let (name, outside) = (&network.name, &network.outside);
        let [a, b, c, d] = network.address;
        let commands = [
            format!("netns add {name}"),
            format!("link add {outside} type veth peer name inside netns {name}"),
            format!("address add {a}.{b}.{c}.{d}/30 dev {outside}"),
            format!("link set {outside} up"),
            format!("-n {name} address add {a}.{b}.{c}.{}/30 dev inside", d + 1),
            format!("-n {name} link set inside up"),
            format!("-n {name} link set lo up"),
        ];
        commands
            .iter()
            .all(|command| ip(command))
            .then_some(network)
    }

    /// Cuts its link, or restores it: nothing that is sent arrives, and nobody is told so.
    fn set(&self, state: &str) {
        assert!(ip(&format!("link set {} {state}", self.outside)));
    }

    /// The same command in this network, for which `localhost` is the other side: a node answers to no
    /// other name. `ip netns exec` gives it mounts of its own.
    fn within(&self, command: &Command, names: &Path) -> Command {
        const NAMED: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let [a, b, c, d] = self.address;
        std::fs::write(names, format!("{a}.{b}.{c}.{d} localhost\n")).unwrap();
        let mut inside = Command::new("ip");
        inside
            .args(["netns", "exec", &self.name, "sh", "-c", NAMED])
            .arg(names)
            .arg(command.get_program());
        inside.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside.stdin(std::process::Stdio::null());
        inside
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The other end of the link goes with it.
        ip(&format!("link delete {}", self.outside));
        ip(&format!("netns delete {}", self.name));
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

/// A host on another network, whose link is cut: packets vanish, which no proxy can do.
#[test]
fn a_network_of_its_own() {
    let test = "a_network_of_its_own";
    let mut dice = Dice::new(test);
    let Some(network) = Network::make() else {
        eprintln!("skipped: this user may not make a network namespace");
        return;
    };
    let mut fleet = Fleet::new(test, &mut dice, setup(), Engine::shared());
    let names = Fleet::names(2);
    fleet.start(&names[0], &[]);
    let links = fleet.links.block_on(async {
        let ports = [
            fleet.engine.primary.port(),
            fleet.engine.standby.port(),
            fleet.world.chain.port(),
        ];
        let mut links = Vec::new();
        for port in ports {
            links.push(Proxy::start_at(network.address, port).await);
        }
        links
    });
    let hosts = fleet.world.path().join("hosts");
    let ports = [links[0].port(), links[1].port()];
    let far = fleet.spawn_at(&names[1], "localhost", ports, links[2].port(), |command| {
        network.within(&command, &hosts)
    });
    fleet.adopt(&names[1], far);
    fleet.await_places();
    let flow = fleet.world.flow(dice.fork(), PACE);
    for _ in 0..2 {
        let agents = fleet.agents_of(&names[1]);
        fleet.await_answer(&agents, fleet.world.chain.head());
        network.set("down");
        until("its shards are taken over", || {
            fleet.places().iter().all(|place| place.owner == names[0])
        });
        fleet.await_answer(&agents, fleet.world.chain.head());
        network.set("up");
        fleet.await_places();
    }
    flow.stop();
    fleet.finish();
}
