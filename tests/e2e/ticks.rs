//! A behaviour with a schedule, killed at every point that a tick passes: each tick runs once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use agentry::runtime::kill::Point;
use agentry_protocol::{Address, Envelope, Seed};

use agentry_testbed::dice::Dice;
use agentry_testbed::world::{Setup, World};
use agentry_testbed::{PATIENCE, until, within};

/// Sends each tick's time to the address in its settings.
const PROGRAM: &str = r#"#!/usr/bin/env python3
import json, sys

def say(line):
    print(json.dumps(line), flush=True)

for line in sys.stdin:
    line = json.loads(line)
    if line["type"] == "hello":
        to = line["settings"]["to"]
        say({"type": "ready", "protocol": 1})
    elif line["type"] == "event":
        text = str(line["event"]["at_ms"])
        say({"type": "effects", "id": line["id"], "effects": [{"do": "send", "to": to, "text": text}]})
"#;

/// How far the ticks are apart, in milliseconds.
const PERIOD: u64 = 1_000;

/// The points that a tick passes.
const POINTS: [Point; 5] = [
    Point::BeforeCommit,
    Point::AfterCommit,
    Point::BeforePost,
    Point::AfterPost,
    Point::BeforeMined,
];

/// The ticks that each agent has reported on the chain, and how often each of them.
fn reported(world: &World, to: &Address) -> BTreeMap<String, BTreeMap<u64, usize>> {
    let mut reported: BTreeMap<String, BTreeMap<u64, usize>> = BTreeMap::new();
    for mined in world.chain.transactions() {
        if mined.recipient != to.as_str() {
            continue;
        }
        let envelope = Envelope::read(&mined.stored.unwrap().payload);
        let tick = envelope.payload.text().unwrap().parse().unwrap();
        *reported
            .entry(mined.sender)
            .or_default()
            .entry(tick)
            .or_default() += 1;
    }
    reported
}

/// Whether there is a tick for each second between the first and the last.
fn has_no_gap(ticks: &BTreeMap<u64, usize>) -> bool {
    let times: Vec<u64> = ticks.keys().copied().collect();
    times.windows(2).all(|pair| pair[1] - pair[0] == PERIOD)
}

#[test]
fn every_tick_runs_once_killed_at_every_point() {
    let test = "every_tick_runs_once_killed_at_every_point";
    let to = Address::from_public_key(&Seed::from_bytes([9; 32]).public_key());
    let behaviours = format!(
        "{{ kind = \"process\", program = \"./ticks.py\", settings = {{ to = \"{to}\" }}, \
         schedules = [{{ every = \"{PERIOD}ms\", missed = \"all\" }}] }}"
    );
    let mut dice = Dice::new(test);
    let setup = Setup {
        agents: 2,
        senders: 0,
        behaviours: behaviours.leak(),
        ..Setup::default()
    };
    let world = World::new(test, &mut dice, setup);
    let program = world.path().join("ticks.py");
    fs::write(&program, PROGRAM).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    for point in POINTS {
        for passing in 1..=2 {
            let wish = format!("{}:{passing}", point.as_str());
            let mut runtime = world.spawn(&[], &[("AGENTRY_KILL_AT", &wish)]);
            let death = within(PATIENCE, || runtime.ended());
            let death = death.unwrap_or_else(|| panic!("{wish} was not reached"));
            assert_eq!(death.signal(), Some(9), "{wish}: {death}");
        }
    }
    let runtime = world.run();
    until("every tick up to the last is on the chain", || {
        let reported = reported(&world, &to);
        reported.len() == 2
            && reported
                .values()
                .all(|ticks| ticks.len() > 8 && has_no_gap(ticks))
    });
    runtime.stop();
    let reported = reported(&world, &to);
    for (agent, ticks) in &reported {
        assert!(
            ticks.values().all(|count| *count == 1),
            "{agent}: {ticks:?}"
        );
    }
    let ticks: usize = reported.values().map(BTreeMap::len).sum();
    println!("{test}: {ticks} ticks, {} kills", POINTS.len() * 2);
}
