//! What systemd is told of a runtime that it supervises (`Type=notify`): that it is ready, reloads or
//! stops, what it does, and that it has not hung. A process that was not started that way, without
//! `NOTIFY_SOCKET` in its environment, tells nobody.
//!
//! The watchdog is fed by the progress of the watchers of the chain ([`Pulse`]): what hangs there, or
//! in what they wait for, is restarted by systemd. Waiting for a node, a disk or a database is no
//! hang: a restart would not help.

use std::env;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::runtime::metrics::{Condition, Metrics, Pulse};

/// How often the status is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How many times the watchdog is fed within its limit: a feed may be late for half of it.
const FEEDS: u32 = 4;

/// The service manager that has started this process, if one has.
#[derive(Debug)]
pub(super) struct Manager {
    is_there: bool,
    watchdog: Option<Watchdog>,
    /// The status that was told last, and when it was looked at.
    status: String,
    looked: Option<Instant>,
}

/// A watchdog, which has to be fed.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    fed: Instant,
    pulses: Vec<Pulse>,
}

impl Watchdog {
    fn new(limit: Duration, now: Instant) -> Self {
        Self {
            every: limit / FEEDS,
            fed: now,
            pulses: Vec::new(),
        }
    }

    /// Whether it is to be fed now, with the pulses of all shards.
    fn is_due(&mut self, pulses: Vec<Pulse>, now: Instant) -> bool {
        if now.saturating_duration_since(self.fed) < self.every {
            return false;
        }
        let beats = |pulse: &Pulse| {
            let before = self.pulses.iter().find(|one| one.shard == pulse.shard);
            before.is_none_or(|before| pulse.beats_since(before))
        };
        let is_well = pulses.iter().all(beats);
        if is_well {
            (self.pulses, self.fed) = (pulses, now);
        }
        is_well
    }
}

impl Manager {
    /// The manager that the environment names.
    pub(super) fn of_environment() -> Self {
        let is_there = env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let watchdog = sd_notify::watchdog_enabled().filter(|limit| is_there && !limit.is_zero());
        Self {
            is_there,
            watchdog: watchdog.map(|limit| Watchdog::new(limit, Instant::now())),
            status: String::new(),
            looked: None,
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if !self.is_there {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "systemd was not told");
        }
    }

    /// The start has begun.
    pub(super) fn starting(&self) {
        self.tell(&[NotifyState::Status("starting")]);
    }

    /// The agents are hosted, or the configuration was read again.
    pub(super) fn ready(&mut self) {
        self.looked = None;
        self.tell(&[NotifyState::Ready]);
    }

    /// The configuration is read again.
    pub(super) fn reloading(&self) {
        if self.is_there {
            // systemd ignores an older message, which came before it asked, by this time.
            let now = NotifyState::monotonic_usec_now().ok();
            let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
            self.tell(&states);
        }
    }

    /// The runtime is asked to stop.
    pub(super) fn stopping(&self) {
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::Status("finishing what is in progress"),
        ]);
    }

    /// Feeds the watchdog, if that is due and nothing hangs, and tells the status if it has changed.
    pub(super) fn look(&mut self, agents: usize, metrics: &Metrics) {
        if !self.is_there {
            return;
        }
        let now = Instant::now();
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.is_due(metrics.pulses(), now)
        {
            self.tell(&[NotifyState::Watchdog]);
        }
        let is_early = |looked: Instant| now.saturating_duration_since(looked) < LOOK;
        if self.looked.is_some_and(is_early) {
            return;
        }
        self.looked = Some(now);
        let status = status(agents, &metrics.condition());
        if status != self.status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// The state of a runtime in one line, as `systemctl status` shows it.
fn status(agents: usize, condition: &Condition) -> String {
    let agents = match agents {
        1 => "1 agent".to_owned(),
        count => format!("{count} agents"),
    };
    let height = condition
        .height
        .map_or_else(String::new, |height| format!(", block {height}"));
    let trouble = match condition {
        Condition {
            store_up: false, ..
        } => "the store does not work",
        Condition { posting: false, .. } => "posting is stopped until `agentry queue resume`",
        Condition {
            source_up: false, ..
        } => "the chain cannot be read",
        Condition { node_up: false, .. } => "the node that is posted to does not answer",
        Condition { acting: false, .. } => "reading the chain up to its head",
        Condition {
            caught_up: false, ..
        } => "the node is behind",
        _ => return format!("{agents}{height}"),
    };
    format!("{agents}{height}; not ready: {trouble}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(shard: usize, turns: u64, waits: bool) -> Pulse {
        Pulse {
            shard,
            turns,
            waits,
        }
    }

    #[test]
    fn the_watchdog_is_fed_while_every_watcher_moves_or_waits_for_others() {
        let mut now = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(4), now);
        let mut look = |pulses: Vec<Pulse>, after_ms: u64| {
            now += Duration::from_millis(after_ms);
            watchdog.is_due(pulses, now)
        };
        // Not yet.
        assert!(!look(vec![pulse(1, 5, false)], 900));
        assert!(look(vec![pulse(1, 5, false)], 100));
        // It does not move: nothing is fed, until it does.
        assert!(!look(vec![pulse(1, 5, false)], 1_000));
        assert!(!look(vec![pulse(1, 5, false)], 5_000));
        assert!(look(vec![pulse(1, 6, false)], 1));
        // It waits for the disk.
        assert!(look(vec![pulse(1, 6, true)], 1_000));
        // Another shard begins, whose watcher has not, and ends; a third hangs.
        assert!(look(vec![pulse(1, 7, false), pulse(2, 0, false)], 1_000));
        assert!(look(vec![pulse(1, 8, false), pulse(2, 0, false)], 1_000));
        assert!(look(vec![pulse(1, 9, false), pulse(3, 2, false)], 1_000));
        assert!(!look(vec![pulse(1, 10, false), pulse(3, 2, false)], 1_000));
        // A host without a shard is alive.
        assert!(look(Vec::new(), 1_000));
    }

    #[test]
    fn the_status_names_what_is_wrong() {
        let well = Condition {
            ready: true,
            source_up: true,
            node_up: true,
            posting: true,
            acting: true,
            caught_up: true,
            behind: 0,
            store_up: true,
            reason: None,
            height: Some(4711),
        };
        assert_eq!(status(3, &well), "3 agents, block 4711");
        let down = Condition {
            source_up: false,
            height: None,
            ..well
        };
        assert_eq!(
            status(1, &down),
            "1 agent; not ready: the chain cannot be read"
        );
    }
}
