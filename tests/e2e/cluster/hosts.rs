//! Hosts that differ, and hosts that are replaced.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::fleet::{Engine, Fleet, PACE, setup};
use super::postgres::proxy::Proxy;
use crate::support::dice::Dice;
use crate::support::until;

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

/// Every host is replaced in turn, as for an upgrade: its shards are handed over and come back.
#[test]
fn a_rolling_upgrade() {
    let test = "a_rolling_upgrade";
    let mut dice = Dice::new(test);
    let mut fleet = Fleet::of(test, &mut dice, setup(), Engine::shared(), 3);
    let flow = fleet.world.flow(dice.fork(), PACE);
    let mut logs = String::new();
    for name in fleet.running() {
        fleet.await_answer(&fleet.everybody(), fleet.world.chain.head());
        let mut old = fleet.host(&name).runtime.take().unwrap();
        old.terminate();
        let status = old.wait("a host hands its shards over and stops");
        assert_eq!(status.code(), Some(0), "{status}: {}", old.log());
        logs.push_str(&old.log());
        until("the others have its shards", || {
            let places = fleet.places();
            places
                .iter()
                .all(|place| !place.owner.is_empty() && place.owner != name)
        });
        fleet.start(&name, &[]);
        fleet.await_places();
    }
    flow.stop();
    for host in &fleet.hosts {
        logs.push_str(&host.runtime.as_ref().unwrap().log());
    }
    let mut silences = silences(&logs);
    silences.sort();
    let worst = silences.last();
    println!(
        "{test}: {} shards were handed over, and were silent for {:?} in the median, for {worst:?} at most",
        silences.len(),
        silences.get(silences.len() / 2),
    );
    fleet.finish();
}

/// From the begin of each handing over to the moment when the agents act on the next host, from all
/// hosts' logs.
fn silences(logs: &str) -> Vec<Duration> {
    let mut moments = Vec::new();
    for line in logs.lines() {
        let is_begin = line.contains("handing a shard over to another host");
        if !is_begin && !line.contains("the agents of a shard act on this host") {
            continue;
        }
        let word = |at| line.split_whitespace().nth(at);
        let time = word(0).and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let shard = line
            .split("shard.id=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        if let (Some(time), Some(shard)) = (time, shard) {
            moments.push((shard, time, is_begin));
        }
    }
    moments.sort();
    let pairs = moments.windows(2);
    let pairs = pairs.filter(|two| two[0].0 == two[1].0 && two[0].2 && !two[1].2);
    pairs
        .map(|two| two[1].1.duration_since(two[0].1).unsigned_abs())
        .collect()
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

    /// Cuts its link, or mends it: nothing that is sent arrives, and nobody is told so.
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
