//! What happens: the steps of a schedule.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{log, machine};
use crate::STEPS;
use crate::world::{self, Action};

use log::AppendOutcome;
use machine::Reply;

/// One step of a schedule. Numbers choose among what is possible at that time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Something that can happen to a single host happens to one that leads a shard.
    One {
        which: u8,
        action: Action,
    },
    /// What is pending is mined; a leading host reads it, handles so many events, and signs what it can.
    /// Perhaps it appends that and posts something, too.
    Round {
        which: u8,
        count: u8,
        posts: bool,
    },
    /// A leading host appends some of what it has decided.
    Append {
        which: u8,
        count: u8,
        outcome: AppendOutcome,
    },
    /// An append that was late arrives.
    Arrive(u8),
    /// A follower reads some records.
    Follow {
        which: u8,
        count: u8,
    },
    /// All machines beat so many times, one after the other.
    Beats(u8),
    /// A machine beats.
    Beat {
        machine: u8,
        reply: Reply,
        /// The standby falls behind meanwhile, and this leading host appends what it has.
        meanwhile: Option<u8>,
    },
    /// A machine freezes. Its monotonic clock may stop, and it may be about to post something.
    Freeze {
        machine: u8,
        stops_clock: bool,
        posts: Option<u8>,
    },
    /// The frozen machines go on.
    Thaw,
    /// A machine with bytes to post stands still while the others beat so many times. Then it posts some
    /// of them, signs others, and posts these.
    Oversleep {
        machine: u8,
        stops_clock: bool,
        beats: u8,
    },
    /// A process ends, and another one starts there. The tables have this share of the log, in 255ths.
    Kill {
        machine: u8,
        tables: u8,
    },
    /// A machine and the database cannot reach each other.
    Cut(u8),
    Heal,
    /// A leading host gives a task to a worker elsewhere, or takes that for lost.
    Give(u8),
    GiveUp(u8),
    /// A worker reports the end of an attempt, perhaps again.
    Report {
        which: u8,
        fails: bool,
    },
    /// A machine is about to leave.
    Drain(u8),
    /// A machine's node does not answer it.
    LoseNode(u8),
    FindNodes,
    /// A machine takes its tables of a shard for wrong.
    Contradict {
        machine: u8,
        shard: u8,
    },
    /// An operator goes on with the logs as they are.
    Decide,
    /// The database's standby falls behind, or has everything again.
    FallBehind,
    CatchUp,
    /// The standby takes the database's place.
    FailOver,
}

/// Schedules with as much of what can happen to a single host as of what happens to several; and some
/// with hardly anything else than that, in which rare orders of few events are found.
pub(crate) fn schedules() -> impl Strategy<Value = Vec<Event>> {
    let any_event = prop_oneof![
        (any::<u8>(), world::action()).prop_map(|(which, action)| Event::One { which, action }),
        event(),
    ];
    prop_oneof![
        3 => vec(any_event, 1..STEPS),
        2 => vec(event(), 1..STEPS / 2),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let some = any::<u8>;
    prop_oneof![
        14 => (some(), some(), any::<bool>()).prop_map(|(to, kind, has_id)| {
            let action = Action::Say { peer: to / 2, to, kind, has_id };
            Event::One { which: 0, action }
        }),
        14 => (some(), 0_u8..4, any::<bool>()).prop_map(|(which, count, posts)| {
            Event::Round { which, count, posts }
        }),
        18 => (some(), some(), log::append_outcome()).prop_map(|(which, count, outcome)| {
            Event::Append { which, count: count % 8, outcome }
        }),
        2 => some().prop_map(Event::Arrive),
        8 => (some(), some()).prop_map(|(which, count)| Event::Follow { which, count: count % 16 }),
        14 => (0_u8..16).prop_map(Event::Beats),
        8 => (some(), machine::reply(), proptest::option::weighted(0.3, some())).prop_map(
            |(machine, reply, meanwhile)| Event::Beat { machine, reply, meanwhile }
        ),
        8 => (some(), any::<bool>(), proptest::option::weighted(0.7, some())).prop_map(
            |(machine, stops_clock, posts)| Event::Freeze { machine, stops_clock, posts }
        ),
        5 => Just(Event::Thaw),
        5 => (some(), any::<bool>(), 4_u8..20).prop_map(|(machine, stops_clock, beats)| {
            Event::Oversleep { machine, stops_clock, beats }
        }),
        2 => (some(), some()).prop_map(|(machine, tables)| Event::Kill { machine, tables }),
        2 => some().prop_map(Event::Cut),
        3 => Just(Event::Heal),
        3 => some().prop_map(Event::Give),
        1 => some().prop_map(Event::GiveUp),
        3 => (some(), any::<bool>()).prop_map(|(which, fails)| Event::Report { which, fails }),
        1 => some().prop_map(Event::Drain),
        1 => some().prop_map(Event::LoseNode),
        2 => Just(Event::FindNodes),
        1 => (some(), some()).prop_map(|(machine, shard)| Event::Contradict { machine, shard }),
        3 => Just(Event::Decide),
        2 => Just(Event::FallBehind),
        5 => Just(Event::CatchUp),
        4 => Just(Event::FailOver),
    ]
}
