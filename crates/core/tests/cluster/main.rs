//! The rules of a cluster: hosts that beat, claim, follow and release in simulated time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod database;
mod model;

use std::collections::BTreeSet;
use std::time::Duration;

use agentry_core::cluster::{Action, BEAT, Duty, Epoch, GAP, LEASE, ShardId, TURN, ranks};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use model::{Model, Weather, weather};

/// Longer than it takes to find a host dead and to let each host have its turn, in beats.
const DEATH: usize = 20;

/// How many beats a move takes at most: it is decided, done, seen, and claimed.
const MOVE: usize = 4;

/// One step of a schedule.
#[derive(Clone, Debug)]
enum Event {
    Beat(Index, Weather),
    Wait(u16),
    Start,
    Drain(Index),
    End(Index),
    Append(Index),
}

fn event() -> impl Strategy<Value = Event> {
    let some = any::<Index>;
    prop_oneof![
        20 => (some(), weather()).prop_map(|(which, weather)| Event::Beat(which, weather)),
        10 => (0_u16..700).prop_map(Event::Wait),
        1 => (0_u16..5_000).prop_map(Event::Wait),
        1 => Just(Event::Start),
        1 => some().prop_map(Event::Drain),
        1 => some().prop_map(Event::End),
        2 => some().prop_map(Event::Append),
    ]
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set("[a-z]{1,6}", 1..5)
}

/// Hosts of which each has the shards that it is best for.
fn settled(shards: u16, names: &BTreeSet<String>) -> Model {
    let mut model = Model::new(shards);
    for name in names {
        model.start(name, 1);
        model.run(1);
    }
    model.run(DEATH + MOVE * usize::from(shards));
    model
}

/// Every shard is where it belongs, and followed by the second host.
fn check_placement(model: &Model, names: &[&str]) -> Result<(), TestCaseError> {
    for (id, owner) in (0..).map(ShardId).zip(model.owners()) {
        let best = ranks(id, names.iter().copied());
        prop_assert_eq!(owner, best.first().copied(), "shard {}", id);
        let following = model.processes.iter();
        let following = following.filter(|one| one.duties.get(&id) == Some(&Duty::Follows));
        let following: Vec<_> = following.map(|one| one.name.as_str()).collect();
        prop_assert_eq!(
            following,
            best.get(1).copied().into_iter().collect::<Vec<_>>()
        );
    }
    let actions = model.processes.iter().flat_map(|one| &one.actions);
    prop_assert_eq!(actions.count(), 0, "there is nothing left to do");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_claims_what_another_may_act_for(
        shards in 1_u16..4,
        events in vec(event(), 1..300),
    ) {
        let mut model = Model::new(shards);
        model.start("host0", 1);
        let mut leaders = BTreeSet::new();
        for event in events {
            let count = model.processes.len();
            match event {
                Event::Beat(..) | Event::Drain(_) | Event::End(_) if count == 0 => {}
                Event::Beat(which, weather) => {
                    let which = which.index(count);
                    let (me, now) = (model.processes[which].id, model.now);
                    for (shard, before) in model.beat(which, weather) {
                        let mut others = model.processes.iter().filter(|one| one.id != me);
                        let owner = others.find(|one| Some(one.id) == before);
                        prop_assert!(!owner.is_some_and(|owner| owner.may_act(now)), "{shard}");
                        let epoch = model.database.shard(shard).epoch;
                        prop_assert!(leaders.insert((shard, epoch)), "{shard} has two owners");
                    }
                }
                Event::Wait(ms) => model.now += Duration::from_millis(ms.into()),
                Event::Start if count < 4 => {
                    let name = format!("host{}", model.database.hosts.len() % 4);
                    model.start(&name, 1);
                }
                Event::Start => {}
                Event::Drain(which) => model.processes[which.index(count)].member.drain(),
                Event::End(which) => {
                    model.processes.remove(which.index(count));
                }
                Event::Append(_) if count == 0 => {}
                Event::Append(which) => model.append(which.index(count), 100),
            }
            for id in (0..shards).map(ShardId) {
                let epochs = model.processes.iter().filter_map(|one| one.leads(id));
                let epochs: Vec<_> = epochs.collect();
                let distinct: BTreeSet<_> = epochs.iter().collect();
                prop_assert_eq!(distinct.len(), epochs.len(), "two lead {} in an epoch", id);
            }
        }
    }

    #[test]
    fn a_stable_set_of_hosts_has_each_shard_where_it_belongs(
        shards in 1_u16..9,
        names in names(),
        before in vec((any::<Index>(), weather(), 0_u16..2_000), 0..100),
    ) {
        let mut model = Model::new(shards);
        for name in &names {
            model.start(name, 1);
        }
        for (which, weather, ms) in before {
            model.now += Duration::from_millis(ms.into());
            model.beat(which.index(names.len()), weather);
        }
        model.run(DEATH + MOVE * usize::from(shards));
        check_placement(&model, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    }

    #[test]
    fn hosts_that_come_and_go_move_only_their_own_shards(
        shards in 1_u16..9,
        names in names(),
        drains in any::<bool>(),
    ) {
        let mut model = settled(shards, &names);
        let owners = |model: &Model| -> Vec<_> {
            model.database.shards.iter().map(|shard| (shard.owner, shard.epoch)).collect()
        };
        let before = owners(&model);
        let newcomer = model.start("newcomer", 1);
        model.run(DEATH + MOVE * usize::from(shards));
        let mut all: Vec<_> = names.iter().map(String::as_str).collect();
        all.push("newcomer");
        check_placement(&model, &all)?;
        let with = owners(&model);
        let id = Some(model.processes[newcomer].id);
        for (before, with) in before.iter().zip(&with) {
            prop_assert!(before == with || (with.0 == id && with.1 == before.1.next()));
        }
        if drains {
            model.processes[newcomer].member.drain();
            model.run(MOVE * usize::from(shards));
            prop_assert!(model.processes[newcomer].duties.is_empty(), "it may end");
        }
        model.processes.remove(newcomer);
        model.run(DEATH + MOVE * usize::from(shards));
        all.pop();
        check_placement(&model, &all)?;
        for (with, after) in with.iter().zip(owners(&model)) {
            prop_assert!(*with == after || (with.0 == id && with.1.next() == after.1));
        }
    }

    /// The database stands still, and hosts come back one after the other.
    #[test]
    fn nobody_claims_because_the_database_stood_still_for_all(
        shards in 1_u16..9,
        names in names(),
        outage in 0_u64..100_000,
        late in vec(0_u64..500, 5),
    ) {
        let mut model = settled(shards, &names);
        let before = model.database.shards.iter().map(|shard| shard.epoch).collect::<Vec<_>>();
        model.now += Duration::from_millis(outage);
        let start = model.now;
        let mut beats: Vec<_> = (0..names.len())
            .flat_map(|which| (0..10).map(move |beat| (which, beat)))
            .map(|(which, beat)| {
                (start + Duration::from_millis(late[which]) + BEAT * beat, which)
            })
            .collect();
        beats.sort();
        for (at, which) in beats {
            model.now = at;
            let claimed = model.beat(which, Weather::default());
            prop_assert!(claimed.is_empty(), "{claimed:?}");
        }
        let after = model.database.shards.iter().map(|shard| shard.epoch).collect::<Vec<_>>();
        prop_assert_eq!(before, after);
    }

    /// The owner beats for the last time; another host looks as often as it should, and requests and
    /// answers take their time.
    #[test]
    fn nobody_claims_before_the_lease_that_the_owner_counts_is_over(
        last in weather(),
        looks in vec((100_u64..700, weather()), 30),
    ) {
        let mut model = Model::new(1);
        let owner = model.start("owner", 1);
        model.run(2);
        let other = model.start("other", 1);
        model.run(1);
        model.beat(owner, Weather { is_lost: false, ..last });
        let mut was_claimed = false;
        for (ms, look) in looks {
            let look = Weather { is_lost: false, ..look };
            let may_act = model.processes[owner].may_act(model.now);
            if !model.beat(other, look).is_empty() {
                was_claimed = true;
                prop_assert!(!may_act);
            }
            model.now += Duration::from_millis(ms);
        }
        prop_assert!(was_claimed || model.owners() == [Some("other")]);
    }

    /// A host died. How long its shards have no owner is bounded.
    #[test]
    fn the_shards_of_a_dead_host_are_claimed_as_soon_as_its_lease_is_over(
        shards in 1_u16..9,
        mut names in btree_set("[a-z]{1,6}", 2..5),
    ) {
        let mut model = settled(shards, &names);
        let dead = model.processes.remove(0);
        names.remove(&dead.name);
        let beaten = model.now;
        let has_owned = model.database.shards.iter().any(|shard| shard.owner == Some(dead.id));
        while model.database.shards.iter().any(|shard| shard.owner == Some(dead.id)) {
            model.run(1);
            prop_assert!(model.now - beaten <= LEASE + BEAT * 3);
        }
        prop_assert!(!has_owned || model.now - beaten >= LEASE - BEAT);
    }
}

#[test]
fn the_times_fit_together() {
    assert!(
        GAP + 2 * BEAT < LEASE,
        "a short pause of the database ends no lease"
    );
    assert!(
        BEAT * 2 <= GAP,
        "one lost beat does not end the observation"
    );
    assert!(BEAT * 2 < TURN, "the first has its turn before the second");
}

#[test]
fn who_is_first_and_does_not_claim_gives_way_to_the_second() {
    let mut model = Model::new(1);
    // So long that nobody is level.
    model.database.shards[0].log = vec![(Epoch(0), String::new()); 100_000];
    let names = ranks(ShardId(0), ["a", "b"].into_iter());
    let first = model.start(names[0], 1);
    model.processes[first]
        .duties
        .insert(ShardId(0), Duty::HandsOver(Epoch(9)));
    model.start(names[1], 1);
    model.run(2);
    assert_eq!(model.owners(), [None]);
    model.run(4);
    assert_eq!(model.owners(), [Some(names[1])]);
    model.run(DEATH);
    assert_eq!(model.owners(), [Some(names[1])], "it stays there");
}

#[test]
fn a_shard_in_a_newer_format_is_left_to_those_that_read_it() {
    for newer in ["a", "b", "c"] {
        let mut model = Model::new(4);
        let new = model.start(newer, 2);
        model.run(2);
        for name in ["a", "b", "c"].into_iter().filter(|name| *name != newer) {
            model.start(name, 1);
        }
        model.run(DEATH);
        assert_eq!(model.owners(), [Some(newer); 4]);
        let older = &model.processes[1..];
        assert!(
            older.iter().all(|one| one.duties.is_empty()),
            "they cannot follow"
        );
        model.processes.remove(new);
        model.run(2 * DEATH);
        let mut left = model.processes.iter();
        assert!(left.all(|one| one.duties.is_empty()), "they cannot claim");
        model.start(newer, 2);
        model.run(2 * DEATH);
        assert_eq!(model.owners(), [Some(newer); 4]);
    }
}

/// The other way round: a newer host takes over what older ones have written.
#[test]
fn a_newer_host_takes_its_shards_from_older_ones() {
    let mut model = settled(8, &["a".to_owned(), "b".to_owned()].into());
    model.start("c", 2);
    model.run(DEATH + MOVE * 8);
    check_placement(&model, &["a", "b", "c"]).unwrap_err();
    let best = (0..8).map(|id| Some(ranks(ShardId(id), ["a", "b", "c"].into_iter())[0]));
    assert_eq!(model.owners(), best.collect::<Vec<_>>());
}

#[test]
fn a_halted_shard_is_nobodys_until_an_operator_decides() {
    let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let mut model = settled(2, &names.into());
    let owner = |model: &Model| model.owners()[0].unwrap().to_owned();
    let (before, kept) = (owner(&model), model.owners()[1].map(str::to_owned));
    let halts = |one: &model::Process| one.duties.get(&ShardId(0)) == Some(&Duty::Follows);
    let halts = model.processes.iter().position(halts).unwrap();
    let halted = Duty::Halted { is_marked: false };
    model.processes[halts].duties.insert(ShardId(0), halted);
    model.run(MOVE);
    let ends = model.processes.iter().find(|one| one.name == before);
    assert_eq!(ends.unwrap().leads(ShardId(0)), None, "its owner ends it");
    let ended = model.processes.iter().position(|one| one.name == before);
    model.processes.remove(ended.unwrap());
    model.run(DEATH);
    let runs = |model: &Model| {
        let mut all = model.processes.iter();
        all.any(|one| one.leads(ShardId(0)).is_some())
    };
    assert!(!runs(&model), "nobody claims it");
    let mut all = model.processes.iter();
    assert!(all.all(|one| one.duties.get(&ShardId(0)) == Some(&Duty::Halted { is_marked: true })));
    let other = model.owners()[1].map(str::to_owned);
    assert!(other.is_some(), "the other shard goes on");
    assert!(other == kept || kept.as_deref() == Some(&*before));
    model.database.shards[0].halted = None;
    model.run(DEATH);
    assert!(runs(&model), "it goes on");
    let mut all = model.processes.iter();
    assert!(all.all(|one| !matches!(one.duties.get(&ShardId(0)), Some(Duty::Halted { .. }))));
}

#[test]
fn a_host_without_its_node_leaves_its_shards_to_those_with_one() {
    let names: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    let mut model = settled(8, &names);
    let set = |model: &mut Model, which: usize, without: bool| {
        model.processes[which].without_node = without;
        model.run(DEATH + MOVE * 8);
    };
    set(&mut model, 0, true);
    let owners = model.owners();
    assert!(
        owners.iter().all(|owner| matches!(owner, Some("b" | "c"))),
        "{owners:?}"
    );
    set(&mut model, 1, true);
    assert_eq!(model.owners(), [Some("c"); 8]);
    // Nobody has one: that would be no reason to move anything from where it belongs.
    set(&mut model, 2, true);
    check_placement(&model, &["a", "b", "c"]).unwrap();
    for which in 0..3 {
        set(&mut model, which, false);
    }
    check_placement(&model, &["a", "b", "c"]).unwrap();
}

/// Its log is long: the newcomer takes the shard over only when it has read that.
#[test]
fn a_shard_stays_until_the_newcomer_is_level() {
    let mut model = Model::new(1);
    let names = ranks(ShardId(0), ["a", "b"].into_iter());
    model.start(names[1], 1);
    model.run(2);
    model.database.shards[0].log = vec![(Epoch(1), String::new()); 10_000];
    let newcomer = model.start(names[0], 1);
    for _ in 0..8 {
        model.run(1);
        assert_eq!(model.owners(), [Some(names[1])]);
    }
    model.run(8);
    assert_eq!(model.owners(), [Some(names[0])]);
    assert!(
        !model.processes[newcomer]
            .actions
            .contains(&Action::Follow(ShardId(0)))
    );
}

/// It may have been dead for days.
#[test]
fn nothing_is_handed_over_to_a_host_of_which_only_a_row_was_found() {
    let mut model = Model::new(1);
    let names = ranks(ShardId(0), ["a", "b"].into_iter());
    let dead = model.start(names[0], 1);
    model.processes[dead]
        .duties
        .insert(ShardId(0), Duty::Follows);
    model.beat(
        dead,
        Weather {
            is_lost: true,
            ..Weather::default()
        },
    );
    model.processes.remove(dead);
    model.start(names[1], 1);
    while model.owners() == [None] {
        model.run(1);
    }
    for gap in [Duration::ZERO, GAP * 2] {
        model.now += gap;
        for _ in 0..DEATH {
            model.run(1);
            assert_eq!(model.owners(), [Some(names[1])]);
        }
    }
}

#[test]
fn a_newcomer_gets_a_shard_when_it_has_taken_the_one_before() {
    let names = ["a", "b"];
    let best = (0..32).map(|id| ranks(ShardId(id), names.into_iter())[0]);
    let its = best.filter(|best| *best == "b").count();
    let mut model = Model::new(32);
    let owner = model.start("a", 1);
    model.run(2);
    let newcomer = model.start("b", 1);
    let mut rounds = 0;
    while model.owners().contains(&Some("a")) && rounds < 100 {
        rounds += 1;
        model.beat(newcomer, Weather::default());
        for _ in 0..3 {
            model.now += BEAT / 3;
            model.beat(owner, Weather::default());
            let free = model.owners().into_iter().filter(Option::is_none);
            assert!(free.count() <= 1);
        }
    }
    let moved = model
        .owners()
        .into_iter()
        .filter(|owner| *owner == Some("b"));
    assert_eq!(moved.count(), its);
}
