//! What the logs of hosts tell.

use std::time::Duration;

use jiff::Timestamp;

/// The moment of a line.
fn time(line: &str) -> Option<Timestamp> {
    line.split_whitespace().next()?.parse().ok()
}

/// How long the agents of each shard that was handed over were silent: from the begin of the handing
/// over to the moment when they act on the next host. From the logs of all hosts, in order of length.
pub fn silences(logs: &str) -> Vec<Duration> {
    let mut moments = Vec::new();
    for line in logs.lines() {
        let is_begin = line.contains("handing a shard over to another host");
        if !is_begin && !line.contains("the agents of a shard act on this host") {
            continue;
        }
        let shard = line
            .split("shard.id=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        if let (Some(time), Some(shard)) = (time(line), shard) {
            moments.push((shard, time, is_begin));
        }
    }
    moments.sort_unstable();
    let pairs = moments.windows(2);
    let pairs = pairs.filter(|two| two[0].0 == two[1].0 && two[0].2 && !two[1].2);
    let mut silences: Vec<_> = pairs
        .map(|two| two[1].1.duration_since(two[0].1).unsigned_abs())
        .collect();
    silences.sort_unstable();
    silences
}

/// How many transactions a node has accepted from a host from a moment on, until the host claimed a
/// shard.
pub fn posts_of_a_zombie(log: &str, from: Timestamp) -> usize {
    let is_late = |line: &&str| time(line).is_some_and(|time| time >= from);
    let claimed = "this host has claimed a shard";
    let lines = log.lines().filter(is_late);
    let lines = lines.take_while(|line| !line.contains(claimed));
    let accepted = "the node accepted the transaction";
    lines.filter(|line| line.contains(accepted)).count()
}
