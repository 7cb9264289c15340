//! A law over two hosts that share a log: one leads, the other follows, and they change places at
//! random. A host finds out that it no longer leads by its next append, answers are lost, reads fail,
//! and processes end. A state in memory is the referee: what was acknowledged is in the log once, and
//! both hosts come to the same rows.

use agentry_core::cluster::Epoch;
use agentry_core::record;
use proptest::prelude::*;

use super::{
    Builds, Changes, Commit, Database, Memory, Pending, Rows, State, Tables, apply_to, builds,
    catch_up, commits, difference, due, following, rows, schema, text,
};
use crate::StoreError;
use crate::error::Trouble;
use crate::log::{self, LogError};
use crate::testing::Fault;

/// What follows a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next one is in the same group.
    More,
    /// The group is applied.
    Apply,
    /// The group is applied, and its answer is lost.
    Lose(Fault),
    /// The other host leads before the group is applied, and the one that led is not told.
    Depose,
    /// The group is applied, and the other host follows.
    Follow,
    /// The group is applied, and the other host's first read fails.
    FailRead,
    /// The group is applied, and one host's tables are written: of the one that leads, or the other.
    Write(bool),
    /// The group is applied, and the process of one host ends: of the one that leads, or the other.
    Crash(bool),
    /// The group is applied, and the host that leads claims the log again.
    ClaimAgain,
}

fn then() -> impl Strategy<Value = Then> {
    let fault = (any::<bool>(), any::<bool>());
    prop_oneof![
        4 => Just(Then::More),
        3 => Just(Then::Apply),
        1 => fault.prop_map(|(arrives, is_claimed)| Then::Lose(Fault { arrives, is_claimed })),
        1 => Just(Then::Depose),
        2 => Just(Then::Follow),
        1 => Just(Then::FailRead),
        2 => any::<bool>().prop_map(Then::Write),
        1 => any::<bool>().prop_map(Then::Crash),
        1 => Just(Then::ClaimAgain),
    ]
}

/// Two hosts, of which the first leads.
struct Hosts {
    memory: Memory,
    hosts: [(Database, Tables); 2],
}

impl Hosts {
    fn new() -> Self {
        let memory = Memory::default();
        let hosts = [(); 2].map(|()| {
            let db = schema::in_memory().unwrap();
            db.pragma_update(None, "foreign_keys", true).unwrap();
            let db = Database::new(db);
            let tables = following(&db, &memory);
            (db, tables)
        });
        let mut hosts = Self { memory, hosts };
        hosts.lead();
        hosts
    }

    fn leader(&mut self) -> &mut Tables {
        &mut self.hosts[0].1
    }

    fn follower(&mut self) -> &mut Tables {
        &mut self.hosts[1].1
    }

    /// The first host claims the log and leads.
    fn lead(&mut self) {
        super::lead(&mut self.hosts[0].1, &self.memory);
    }

    /// The second host claims the log and leads: it is the first now.
    fn change_places(&mut self) {
        self.hosts.swap(0, 1);
        self.lead();
    }

    /// The process of a host ends, and begins again.
    fn restart(&mut self, host: usize) {
        let db = self.hosts[host].0.clone();
        self.hosts[host].1 = following(&db, &self.memory);
    }

    /// The rows of both, once they have written what the log has.
    fn rows(&mut self) -> [Rows; 2] {
        catch_up(self.follower());
        let marks = self.hosts.each_mut().map(|(db, tables)| {
            tables.write().unwrap();
            log::mark(&db.lock()).unwrap().unwrap()
        });
        assert_eq!(marks[0], marks[1]);
        assert_eq!(marks[0].at, self.memory.now().1);
        self.hosts
            .each_ref()
            .map(|(db, _)| rows::of_tables(&db.lock()))
    }
}

/// The state to which the records of a log lead.
fn replay(memory: &Memory) -> State {
    let mut state = State::default();
    for (at, text) in (1..).zip(memory.texts()) {
        for commit in record::decode(at, &text).unwrap() {
            state.apply(&commit).unwrap();
        }
    }
    state
}

/// What a host answers that no longer leads.
fn assert_ended(tables: &mut Tables) {
    assert!(matches!(tables.query(|_| ()), Err(StoreError::Fenced)));
    assert!(matches!(tables.write(), Err(StoreError::Fenced)));
    assert!(matches!(tables.claim(Epoch(0)), Err(StoreError::Fenced)));
    let head = log::Position(0);
    assert!(matches!(tables.lead(head), Err(StoreError::Fenced)));
}

fn agree(history: &[(commits::Step, Builds, Then)]) -> Result<(), TestCaseError> {
    let mut hosts = Hosts::new();
    let mut state = State::default();
    let (mut group, mut wanted) = (Vec::new(), Vec::new());
    let mut is_applied = true;
    for (at, (step, builds, then)) in history.iter().enumerate() {
        let commit = commits::commit(step, &state);
        let is_void = *builds == Builds::OnTheLast && !group.is_empty() && !is_applied;
        let answer = match is_void {
            true => Some(Changes::stale()),
            false => state.apply(&commit).ok(),
        };
        is_applied = answer.as_ref().is_some_and(Changes::is_applied);
        wanted.push(answer.as_ref().map(text));
        group.push((commit, *builds));
        let is_last = at + 1 == history.len();
        if *then == Then::More && !is_last {
            continue;
        }
        let (group, wanted) = (std::mem::take(&mut group), std::mem::take(&mut wanted));
        let (_, before) = hosts.memory.now();
        match then {
            Then::Lose(fault) => hosts.memory.lose(*fault),
            Then::Depose => {
                hosts.change_places();
                hosts.hosts.swap(0, 1);
            }
            _ => {}
        }
        let ends = ends(hosts.leader(), &group, &wanted)?;
        hosts.memory.lose_nothing();
        let (_, after) = hosts.memory.now();
        prop_assert!(after.0 <= before.0 + 1, "the group is in the log once");
        if ends {
            assert_ended(hosts.leader());
            if after == before {
                // None of the group is in the log.
                state = replay(&hosts.memory);
            }
        }
        if ends || *then == Then::Depose {
            hosts.restart(0);
            hosts.change_places();
        }
        match then {
            Then::Follow => catch_up(hosts.follower()),
            Then::FailRead => {
                hosts.memory.fail_reads(1);
                let failed = hosts.follower().catch_up();
                prop_assert!(matches!(failed, Err(StoreError::Refused(_))));
                catch_up(hosts.follower());
            }
            Then::Write(of_leader) => hosts.hosts[usize::from(!of_leader)].1.write().unwrap(),
            Then::Crash(of_leader) => {
                hosts.restart(usize::from(!of_leader));
                if *of_leader {
                    hosts.lead();
                }
            }
            Then::ClaimAgain => hosts.lead(),
            Then::More | Then::Apply | Then::Lose(_) | Then::Depose => {}
        }
        prop_assert_eq!(hosts.leader().query(due).unwrap(), due(&state));
        if *then == Then::Follow {
            prop_assert_eq!(hosts.follower().query(due).unwrap(), due(&state));
        }
        if is_last {
            let of_state = rows::of_state(&state);
            for rows in hosts.rows() {
                prop_assert!(rows == of_state, "{}", difference(&rows, &of_state));
            }
            let replayed = rows::of_state(&replay(&hosts.memory));
            prop_assert!(replayed == of_state, "{}", difference(&replayed, &of_state));
        }
    }
    Ok(())
}

/// Applies a group. Returns whether the host found out that it no longer leads; otherwise its answers
/// are compared with those that are wanted.
fn ends(
    leader: &mut Tables,
    group: &[(Commit, Builds)],
    wanted: &[Option<String>],
) -> Result<bool, TestCaseError> {
    let mut pending: Vec<Pending> = Vec::new();
    for (commit, builds) in group {
        let before = pending.last().filter(|_| *builds == Builds::OnTheLast);
        pending.push(Pending::new(commit.clone(), before.map(Pending::applied)));
    }
    let (answers, trouble) = leader.apply(&pending.iter().collect::<Vec<_>>());
    match trouble {
        Some(Trouble::Fenced) => {
            prop_assert!(answers.is_empty());
            return Ok(true);
        }
        trouble => prop_assert_eq!(trouble, None),
    }
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.ok().as_ref().map(text))
        .collect();
    prop_assert_eq!(answers, wanted);
    Ok(false)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        max_shrink_iters: 4_000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_hosts_that_share_a_log_come_to_the_same_rows(
        history in prop::collection::vec((commits::step(), builds(), then()), 1..60),
    ) {
        agree(&history)?;
    }
}

fn halt(reason: &str) -> Commit {
    let reason = reason.to_owned();
    Commit::Halt { reason }
}

/// The state is read again after an error, and then has records of a host that leads since. It must
/// not be acted on.
#[test]
fn a_host_that_meets_the_records_of_another_one_while_it_leads_ends() {
    for finds_out in [
        (|tables| tables.query(|_| ())) as fn(&mut Tables) -> Result<(), StoreError>,
        Tables::write,
        Tables::probe,
    ] {
        let mut hosts = Hosts::new();
        hosts.change_places();
        let group = [(halt("a"), Builds::OnNothing)];
        apply_to(hosts.leader(), &group);
        let deposed = hosts.follower();
        deposed.version = None;
        let found = finds_out(deposed);
        assert!(matches!(found, Err(StoreError::Fenced)), "{found:?}");
        assert_ended(deposed);
    }
}

#[test]
fn a_host_leads_only_with_all_records_up_to_its_claim() {
    for (head, is_fenced) in [(0, true), (2, false)] {
        let mut hosts = Hosts::new();
        let group = [(halt("a"), Builds::OnNothing)];
        apply_to(hosts.leader(), &group);
        let (epoch, _) = hosts.memory.claim();
        let follower = hosts.follower();
        follower.claim(epoch).unwrap();
        catch_up(follower);
        match follower.lead(log::Position(head)) {
            Err(StoreError::Fenced) => assert!(is_fenced),
            Err(StoreError::Log(LogError::Diverged { .. })) => assert!(!is_fenced),
            other => panic!("{other:?}"),
        }
    }
}

/// A log that lost what it had acknowledged may have other records by now.
#[test]
fn a_follower_checks_the_log_again_after_an_error_and_before_it_leads() {
    for leads in [false, true] {
        let mut hosts = Hosts::new();
        let group = |reason| [(halt(reason), Builds::OnNothing)];
        apply_to(hosts.leader(), &group("a"));
        catch_up(hosts.follower());
        hosts.memory.rewind(log::Position(0));
        hosts.restart(0);
        hosts.lead();
        apply_to(hosts.leader(), &group("b"));
        let (epoch, _) = hosts.memory.claim();
        let found = if leads {
            hosts.follower().claim(epoch)
        } else {
            hosts.memory.fail_reads(1);
            assert!(hosts.follower().catch_up().is_err());
            hosts.follower().catch_up().map(drop)
        };
        let diverged = matches!(found, Err(StoreError::Log(LogError::Diverged { .. })));
        assert!(diverged, "{found:?}");
    }
}

/// Each host finds out that its tables are not those that the other one has.
#[test]
fn a_follower_finds_out_that_it_came_to_something_else() {
    let mut hosts = Hosts::new();
    let group = [(halt("a"), Builds::OnNothing)];
    for _ in 0..4 {
        apply_to(hosts.leader(), &group);
    }
    catch_up(hosts.follower());
    let follower = hosts.follower();
    // As if it had computed something else.
    follower.outcomes.add(&Changes::stale());
    for _ in 0..3 {
        apply_to(hosts.leader(), &group);
    }
    let follower = hosts.follower();
    let found = follower.catch_up().unwrap_err();
    assert!(found.is_damage(), "{found}");
    assert!(found.to_string().contains("up to 6"), "{found}");
    // It cannot be used any more, and another one goes on from the log.
    assert!(follower.query(|_| ()).is_err());
    let texts = hosts.memory.texts();
    let compared = texts.iter().filter(|text| text.contains("Outcomes"));
    assert_eq!(compared.count(), 2);
    hosts.restart(1);
    hosts.rows();
}

/// A host that only follows refuses commits, and says that they were not applied.
#[test]
fn a_follower_makes_no_changes() {
    let mut hosts = Hosts::new();
    let group = [
        (halt("a"), Builds::OnNothing),
        (halt("b"), Builds::OnTheLast),
    ];
    assert_eq!(apply_to(hosts.follower(), &group), [None, None]);
    assert_eq!(hosts.memory.now().1, log::Position(0));
}
