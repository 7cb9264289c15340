//! The spending that budgets allow.

use agentry_protocol::Timestamp;
use proptest::prelude::*;

use super::*;

const AGENT: AgentId = AgentId(1);
const NOON: Timestamp = Timestamp::new(20_000 * DAY_MS + DAY_MS / 2);

fn paid(admission: &Admission) -> bool {
    matches!(admission, Admission::Paid(_))
}

const fn fee(fee: u64) -> Cost {
    Cost {
        amount: Amount::ZERO,
        fee: Amount(fee),
    }
}

fn by(standing: Standing, sender: u8) -> Cause {
    let sender = Address::from_chain(&format!("ait1sender{sender}")).unwrap();
    Cause::of(standing, &sender)
}

fn own(all: u64) -> Spent {
    Spent {
        all: Amount(all),
        ..Spent::default()
    }
}

/// The number of transactions of 10 AIT that are paid for.
fn bought(ledger: &mut Ledger, budget: Budget, cause: &Cause) -> u64 {
    (0..1_000)
        .take_while(|_| paid(&ledger.pay(AGENT, budget, cause, fee(10), NOON)))
        .count() as u64
}

#[test]
fn a_budget_pays_until_it_is_spent_and_again_the_next_day() {
    let mut ledger = Ledger::new(NOON.day(), Vec::new());
    let budget = Budget { all: Amount(25) };
    let mut pay = |agent, cost, now| ledger.pay(agent, budget, &Cause::Own, fee(cost), now);
    assert!(paid(&pay(AGENT, 10, NOON)));
    assert!(paid(&pay(AGENT, 10, NOON)));
    let short = Short {
        limit: Limit::Whole,
        share: Amount(25),
        spent: Amount(20),
    };
    assert_eq!(pay(AGENT, 10, NOON), Admission::Short(short));
    assert!(paid(&pay(AGENT, 5, NOON)));
    assert!(paid(&pay(AgentId(2), 25, NOON)));
    assert!(paid(&pay(AGENT, 25, NOON.plus_ms(DAY_MS))));
    // The clock steps back: that day's budget is spent.
    assert!(!paid(&pay(AGENT, 1, NOON)));
}

#[test]
fn an_empty_budget_pays_nothing() {
    let mut ledger = Ledger::new(NOON.day(), Vec::new());
    for cause in [
        Cause::Own,
        by(Standing::Known, 1),
        by(Standing::Stranger, 1),
    ] {
        let nothing = Budget { all: Amount(0) };
        assert!(!paid(&ledger.pay(AGENT, nothing, &cause, fee(1), NOON)));
    }
    // A tenth of less than ten is zero, too.
    let little = Budget { all: Amount(9) };
    assert!(!paid(&ledger.pay(
        AGENT,
        little,
        &Cause::Unverified,
        fee(1),
        NOON
    )));
}

#[test]
fn one_sender_cannot_spend_the_part_of_the_others() {
    let budget = Budget { all: Amount(1_000) };
    for (standing, each) in [
        (Standing::Unverified, 10),
        (Standing::Stranger, 10),
        (Standing::Listed, 10),
        (Standing::Known, 50),
    ] {
        let mut ledger = Ledger::new(NOON.day(), Vec::new());
        let bought_by = bought(&mut ledger, budget, &by(standing, 1));
        assert_eq!(bought_by, each, "{standing:?}");
        for other in Standing::ALL {
            if (standing, other) != (Standing::Unverified, Standing::Unverified) {
                let paid = paid(&ledger.pay(AGENT, budget, &by(other, 2), fee(10), NOON));
                assert!(paid, "{other:?} after one {standing:?}");
            }
        }
    }
}

#[test]
fn any_number_of_fresh_keys_share_one_part() {
    let budget = Budget { all: Amount(1_000) };
    let mut ledger = Ledger::new(NOON.day(), Vec::new());
    let mut sums = [0; 3];
    let fresh = [Standing::Unverified, Standing::Stranger, Standing::Listed];
    for (sum, standing) in sums.iter_mut().zip(fresh) {
        for sender in 0..100 {
            *sum += bought(&mut ledger, budget, &by(standing, sender));
        }
    }
    assert_eq!(sums, [10, 25, 25]);
    // Two fifths are left for senders known to the operator, and for the operator.
    assert_eq!(bought(&mut ledger, budget, &by(Standing::Known, 1)), 40);
}

#[test]
fn a_small_budget_pays_one_answer_for_each_sender_while_it_lasts() {
    let budget = Budget { all: Amount(30) };
    for standing in [Standing::Stranger, Standing::Listed, Standing::Known] {
        let mut ledger = Ledger::new(NOON.day(), Vec::new());
        assert_eq!(bought(&mut ledger, budget, &by(standing, 1)), 1);
    }
    // An amount is not an answer.
    let mut ledger = Ledger::new(NOON.day(), Vec::new());
    let cost = Cost {
        amount: Amount(1),
        ..fee(10)
    };
    let stranger = by(Standing::Stranger, 1);
    assert!(!paid(&ledger.pay(AGENT, budget, &stranger, cost, NOON)));
}

#[test]
fn a_refund_can_be_spent_again_by_the_same_sender() {
    let budget = Budget { all: Amount(100) };
    let mut ledger = Ledger::new(NOON.day(), Vec::new());
    let cause = by(Standing::Stranger, 1);
    let Admission::Paid(charge) = ledger.pay(AGENT, budget, &cause, fee(10), NOON) else {
        panic!("a tenth pays for it");
    };
    assert!(!paid(&ledger.pay(AGENT, budget, &cause, fee(10), NOON)));
    ledger.refund(&charge);
    assert_eq!(ledger.spent(AGENT, NOON.day()), Spent::default());
    assert!(paid(&ledger.pay(AGENT, budget, &cause, fee(10), NOON)));
}

#[test]
fn a_day_before_the_known_ones_is_read_first() {
    let today = NOON.day();
    let mut ledger = Ledger::new(today, Vec::new());
    let before = NOON.minus_ms(5 * DAY_MS);
    let budget = Budget { all: Amount(10) };
    assert_eq!(
        ledger.pay(AGENT, budget, &Cause::Own, fee(1), before),
        Admission::Unknown
    );
    let since = ledger.missing(before).unwrap();
    ledger.pay(AGENT, budget, &Cause::Own, fee(2), NOON);
    // The known spending of today is newer than the store's.
    ledger.extend(
        since,
        vec![
            (AGENT, today - 5, Cause::Own, Amount(9)),
            (AGENT, today, Cause::Own, Amount(9)),
        ],
    );
    assert_eq!(ledger.missing(before), None);
    assert_eq!(ledger.spent(AGENT, today - 5), own(9));
    assert_eq!(ledger.spent(AGENT, today), own(2));
}

#[test]
fn the_log_reports_a_limit_once_a_day() {
    let mut ledger = Ledger::new(NOON.day(), Vec::new());
    assert!(ledger.tell(AGENT, Limit::Whole, NOON));
    assert!(!ledger.tell(AGENT, Limit::Whole, NOON.plus_ms(1)));
    assert!(ledger.tell(AGENT, Limit::One(Standing::Stranger), NOON));
    ledger.tidy(NOON.plus_ms(DAY_MS));
    assert!(ledger.tell(AGENT, Limit::Whole, NOON.plus_ms(DAY_MS)));
}

#[test]
fn reasons_name_the_exhausted_part() {
    let budget = Budget { all: Amount(100) };
    let spent = Spent {
        all: Amount(95),
        listed: Amount::ZERO,
        strangers: Amount(20),
        unverified: Amount(10),
    };
    let day = Timestamp::new(1_795_300_000_000).day();
    let reason = |spent: Spent, of_sender, cause: Cause, cost| {
        let short = budget
            .check(&spent, Amount(of_sender), &cause, fee(cost))
            .unwrap_err();
        budget.reason(short, &cause, fee(cost), day)
    };
    let whole = reason(spent, 0, Cause::Own, 10);
    assert!(
        whole.contains("95 of 100") && whole.contains("2026-11-21"),
        "{whole}"
    );
    let unverified = reason(spent, 0, Cause::Unverified, 10);
    assert!(
        unverified.contains("10 of 10 ") && unverified.contains("a tenth"),
        "{unverified}"
    );
    assert!(reason(spent, 0, Cause::Own, 101).contains("larger"));
    assert!(reason(spent, 0, Cause::Unverified, 11).contains("larger"));
    let spent = Spent {
        all: Amount(20),
        ..spent
    };
    let together = reason(spent, 0, by(Standing::Stranger, 1), 10);
    assert!(
        together.contains("20 of 25 ") && together.contains("a quarter"),
        "{together}"
    );
    let one = reason(spent, 10, by(Standing::Listed, 1), 10);
    assert!(
        one.contains("10 of 10 ") && one.contains("ait1sender1"),
        "{one}"
    );
}

/// An event in the life of a ledger.
#[derive(Clone, Debug)]
enum Event {
    Pay {
        agent: i64,
        cause: Cause,
        cost: u64,
    },
    /// One of the charged transactions fails.
    Fail(usize),
    /// The clock moves forward or back.
    Clock(i64),
    /// The process restarts: stored charges count.
    Restart,
    Tidy,
}

fn causes() -> impl Strategy<Value = Cause> {
    let standing = prop::sample::select(Standing::ALL.to_vec());
    prop_oneof![
        1 => Just(Cause::Own),
        6 => (standing, 0_u8..4).prop_map(|(standing, sender)| by(standing, sender)),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0_i64..3, causes(), 0_u64..40)
            .prop_map(|(agent, cause, cost)| Event::Pay { agent, cause, cost }),
        1 => (0_usize..50).prop_map(Event::Fail),
        2 => (-3_i64..4).prop_map(Event::Clock),
        1 => Just(Event::Restart),
        1 => Just(Event::Tidy),
    ];
    prop::collection::vec(event, 1..200)
}

proptest! {
    /// The law: on no day do the charges exceed the budget, nor do those of one sender, or of all
    /// senders of a standing, exceed their parts, whatever the clock does and however often the
    /// process restarts.
    #[test]
    fn no_day_costs_more_than_its_budget(all in 0_u64..500, events in events()) {
        let budget = Budget { all: Amount(all) };
        let mut now = NOON;
        // The charges that the store would hold.
        let mut stored: Vec<Charge> = Vec::new();
        let of_store = |stored: &[Charge], since: u64| -> Spending {
            let mut sums: BTreeMap<(AgentId, u64, Cause), Amount> = BTreeMap::new();
            for charge in stored.iter().filter(|charge| charge.day >= since) {
                let key = (charge.agent, charge.day, charge.cause.clone());
                let sum = sums.entry(key).or_default();
                *sum = sum.saturating_add(charge.cost);
            }
            sums.into_iter().map(|((agent, day, cause), spent)| (agent, day, cause, spent)).collect()
        };
        let mut ledger = Ledger::new(first_day(now), Vec::new());
        // A small part is as large as the dearest transaction that was charged.
        let mut dearest = Amount::ZERO;
        for event in events {
            match event {
                Event::Pay { agent, cause, cost } => {
                    if let Some(since) = ledger.missing(now) {
                        ledger.extend(since, of_store(&stored, since));
                    }
                    match ledger.pay(AgentId(agent), budget, &cause, fee(cost), now) {
                        Admission::Paid(charge) => {
                            dearest = dearest.max(Amount(cost));
                            stored.push(charge);
                        }
                        Admission::Short(_) => {}
                        Admission::Unknown => prop_assert!(false, "the day was read"),
                    }
                }
                Event::Fail(index) if !stored.is_empty() => {
                    let charge = stored.swap_remove(index % stored.len());
                    ledger.refund(&charge);
                }
                Event::Fail(_) => {}
                Event::Clock(days) => now = Timestamp::new(now.get().saturating_add_signed(days * 86_400_000)),
                Event::Restart => {
                    let since = first_day(now);
                    ledger = Ledger::new(since, of_store(&stored, since));
                }
                Event::Tidy => ledger.tidy(now),
            }
            let mut sums: BTreeMap<(AgentId, u64), Spent> = BTreeMap::new();
            for (agent, day, cause, spent) in of_store(&stored, 0) {
                sums.entry((agent, day)).or_default().add(&cause, spent);
                if let Cause::Sender(standing, _) = &cause {
                    prop_assert!(spent <= budget.of_one(*standing, dearest), "{cause:?} {spent}");
                }
            }
            for ((agent, day), spent) in sums {
                prop_assert!(spent.all <= budget.all, "{agent} spent {} of {all} on {day}", spent.all);
                prop_assert!(spent.unverified <= budget.all / 10);
                for standing in [Standing::Stranger, Standing::Listed] {
                    prop_assert!(spent.of(standing) <= budget.of_all(standing, dearest));
                }
                if day >= ledger.since {
                    prop_assert_eq!(ledger.spent(agent, day), spent);
                }
            }
        }
    }
}
