//! Schedules that failed once, each with the reason.

use agentry_core::nonce::NoncePolicy;

use super::cluster::{self, Event, Reply, Size};
use super::defect::Defect;
use super::world;
use super::world::Action::{
    self, Drop, Handle, Look, Lose, Mine, Post, Read, Reorganise, Replay, Restore, Say, Send, Sign,
    Sync, Wait, Work,
};

fn say(kind: u8, has_id: bool) -> Action {
    Say {
        peer: 0,
        to: 0,
        kind,
        has_id,
    }
}

fn handle(sign: bool) -> Action {
    Handle {
        which: 0,
        sign,
        late: false,
    }
}

fn work() -> Action {
    Work {
        which: 0,
        fails: false,
    }
}

fn reorganise(depth: u8, blocks: u8, places: u16) -> Action {
    Reorganise {
        depth,
        blocks,
        places,
    }
}

fn post() -> Action {
    Post {
        which: 0,
        answer: 0,
    }
}

fn keeps(schedule: &[Action]) {
    world::run(NoncePolicy::Timestamp, schedule).unwrap();
}

/// The store was restored from a copy whose last blocks had been replaced meanwhile. Agents acted as
/// soon as the first of the new blocks were read, and sent again what was in the others.
#[test]
fn blocks_that_were_replaced_before_the_start_are_read_to_the_end() {
    keeps(&[
        Send { from: 0, kind: 0 },
        Mine(0),
        Read(0),
        Read(0),
        Sign(0),
        Sync,
        reorganise(1, 0, 0),
        post(),
        Read(0),
        Sync,
        Mine(1),
        Restore(147),
        Read(28),
        Sign(0),
    ]);
}

/// A reorganisation put the question above its answer, and a restored store took the answer for an
/// older message.
#[test]
fn an_answer_that_names_its_question_may_be_below_it() {
    keeps(&[
        Send { from: 0, kind: 0 },
        say(128, true),
        Mine(1),
        Read(9),
        handle(true),
        Sync,
        post(),
        reorganise(1, 80, 24740),
        say(0, false),
        say(0, false),
        Restore(0),
    ]);
}

/// A reorganisation removed the question for good, and a restored store did not recognise the result
/// of its task.
#[test]
fn the_result_of_a_task_may_outlive_its_question() {
    keeps(&[
        say(118, false),
        Mine(1),
        Read(9),
        handle(false),
        work(),
        say(0, false),
        reorganise(1, 0, 13198),
        Lose(0),
        Sync,
        work(),
        work(),
        say(0, false),
        handle(false),
        handle(true),
        Sync,
        post(),
        Restore(110),
    ]);
}

/// The answer was mined on a branch that was shorter than what the runtime had read of another one.
/// Two looks at that branch took it for absent.
#[test]
fn a_transaction_on_a_shorter_branch_is_not_posted_again() {
    keeps(&[
        Send { from: 0, kind: 0 },
        say(16, false),
        Look { mines: true },
        say(0, false),
        say(0, false),
        Mine(1),
        Read(66),
        handle(true),
        Sync,
        post(),
        reorganise(2, 42, 0),
        Look { mines: false },
        Look { mines: false },
    ]);
}

/// A message was not acknowledged, and an operator dropped the transaction that was to carry it again.
/// Its sender was never told that it stays unacknowledged.
#[test]
fn an_acknowledgment_is_given_up_although_its_resend_is_dropped() {
    keeps(&[
        Say {
            peer: 0,
            to: 125,
            kind: 74,
            has_id: false,
        },
        say(77, false),
        Mine(1),
        Read(1),
        handle(true),
        Sync,
        post(),
        Replay(0),
        Say {
            peer: 9,
            to: 44,
            kind: 0,
            has_id: false,
        },
        Say {
            peer: 3,
            to: 152,
            kind: 0,
            has_id: false,
        },
        Mine(1),
        Look { mines: true },
        Mine(0),
        Read(0),
        Mine(0),
        Mine(0),
        Read(0),
        Mine(0),
        Mine(0),
        Sync,
        Wait(30),
        Handle {
            which: 137,
            sign: false,
            late: true,
        },
        post(),
        Drop(109),
    ]);
}

/// A host claimed a shard and, with the same beat, began to follow it: it led nothing, and claimed again.
#[test]
fn a_shard_is_not_claimed_and_followed_at_once() {
    for shards in 1..=2 {
        let size = Size {
            machines: 2,
            shards,
        };
        cluster::run(NoncePolicy::Timestamp, size, &[], None).unwrap();
    }
}

/// The owner reads a block, and appends that.
fn appends() -> Event {
    Event::Round {
        which: 1,
        count: 0,
        posts: true,
    }
}

/// An owner's wait for the standby was cancelled, and a machine saw the record. A failover lost it, and the
/// owner froze. Runs what follows when another machine has claimed the shard, for each machine and some
/// numbers of beats; some of these schedules show the defect.
fn after_a_failover_to_another_owner(
    defect: Defect,
    then: impl Fn(&dyn Fn() -> Event) -> Vec<Event>,
) {
    let size = Size {
        machines: 3,
        shards: 1,
    };
    let mut is_shown = false;
    for (machine, beats) in (0..3).flat_map(|machine| (4..14).map(move |beats| (machine, beats))) {
        let beat = || Event::Beat {
            machine,
            reply: Reply::Arrives,
            meanwhile: Some(1),
        };
        let freeze = Event::Freeze {
            machine: 2,
            stops_clock: false,
            posts: None,
        };
        let mut schedule = vec![Event::Beats(20), appends(), beat(), Event::FailOver, freeze];
        schedule.push(Event::Beats(beats));
        schedule.extend(then(&beat));
        let run = |defect| cluster::run(NoncePolicy::Timestamp, size, &schedule, defect);
        run(None).unwrap();
        is_shown |= run(Some(defect)).is_err();
    }
    assert!(is_shown, "no schedule shows {defect:?}");
}

/// The new owner's record took the lost one's place, and the next failover lost that, too. A beat to the
/// second database proves nothing of what the first one has shown.
#[test]
fn a_head_that_was_shown_before_a_failover_is_not_durable_after_it() {
    after_a_failover_to_another_owner(Defect::ProofKept, |beat| {
        let connect = Event::Follow { which: 0, count: 0 };
        vec![connect, beat(), Event::FailOver]
    });
}

/// The new owner's record took the lost one's place, and is durable; but the first database still shows the
/// lost one.
#[test]
fn a_head_is_durable_of_the_database_that_has_shown_it() {
    after_a_failover_to_another_owner(Defect::ReadLeftBehind, |_| {
        let reads = Event::Follow {
            which: 0,
            count: 16,
        };
        vec![appends(), Event::Beats(3), reads]
    });
}
