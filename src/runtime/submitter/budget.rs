//! Budgets: what each wallet may spend in a day.
//!
//! A wallet's `daily_budget` pays for amounts and fees, each UTC day anew. What is signed is paid
//! for at once, by the day on which it is signed, and paid back to that day if it fails. Answers
//! to messages whose senders are not proven may cost a tenth of it: who invents senders cannot
//! spend what is there for the others.
//!
//! Days are told apart by their numbers, so a clock that steps back finds the day that it was
//! before with what was spent on it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::store::AgentId;
use crate::store::read::Spending;
use crate::store::rows::{Charge, DAY_MS, Spent, day_of};

/// What part of a budget answers to unproven senders may cost: one in so many.
const UNVERIFIED_PART: u64 = 10;

/// What may be spent in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// All of it, in AIT.
    pub all: u64,
}

impl Budget {
    /// What of it answers to unproven senders may cost.
    pub const fn unverified(self) -> u64 {
        self.all / UNVERIFIED_PART
    }

    /// What is left when this is spent: of all, and for answers to unproven senders.
    pub fn left(self, spent: Spent) -> (u64, u64) {
        let all = self.all.saturating_sub(spent.all);
        let unverified = self.unverified().saturating_sub(spent.unverified);
        (all, unverified.min(all))
    }

    /// Whether this much is left.
    pub fn allows(self, spent: Spent, cost: u64, unverified: bool) -> bool {
        let (all, for_unverified) = self.left(spent);
        cost <= if unverified { for_unverified } else { all }
    }

    /// Why a draft waits for which it does not suffice.
    pub fn reason(self, spent: Spent, cost: u64, unverified: bool, day: u64) -> String {
        let day = name_of(day);
        let (part, all, of_it) = if unverified {
            (
                ", of which a tenth is for answers to unverified messages",
                self.unverified(),
                spent.unverified,
            )
        } else {
            ("", self.all, spent.all)
        };
        if cost > all {
            format!(
                "waits for a larger budget: it costs {cost} AIT, and daily_budget is {}{part}",
                self.all
            )
        } else {
            format!(
                "waits for the next day's budget: it costs {cost} AIT, and {of_it} of {all} were \
                 spent on {day} (daily_budget is {}{part})",
                self.all
            )
        }
    }
}

/// A day as people write it, `2026-11-22`.
pub fn name_of(day: u64) -> String {
    let at = std::time::Duration::from_millis(day.saturating_mul(DAY_MS));
    std::time::UNIX_EPOCH.checked_add(at).map_or_else(
        || format!("day {day}"),
        |at| {
            let text = humantime::format_rfc3339_seconds(at).to_string();
            text.split('T').next().unwrap_or_default().to_owned()
        },
    )
}

/// What came of asking for money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is paid for.
    Paid(Charge),
    /// The budget does not suffice: so much was spent.
    Spent(Spent),
    /// What was spent on that day is not known: it must be read from the store first.
    Unknown,
}

/// What each wallet has spent on the last days, with what is being signed and not stored yet.
#[derive(Debug)]
pub struct Ledger {
    /// The first day that is known.
    since: u64,
    days: BTreeMap<u64, HashMap<AgentId, Spent>>,
    /// Who was told of on which day, so that the log says it once.
    told: HashSet<(AgentId, bool, u64)>,
}

impl Ledger {
    /// A ledger of the days from `since` on, as the store has them.
    pub fn new(since: u64, spending: impl IntoIterator<Item = (AgentId, u64, Spent)>) -> Self {
        let mut ledger = Self {
            since,
            days: BTreeMap::new(),
            told: HashSet::new(),
        };
        for (agent, day, spent) in spending {
            ledger.days.entry(day).or_default().insert(agent, spent);
        }
        ledger
    }

    /// The first day to read from the store, if what was spent at this time is not known.
    pub fn missing(&self, now_ms: u64) -> Option<u64> {
        let first = first_day(now_ms);
        (day_of(now_ms) < self.since).then_some(first)
    }

    /// Takes in what the store says of the days from `since` on; what is known already counts.
    pub fn extend(&mut self, since: u64, spending: Spending) {
        let known = self.since;
        for (agent, day, spent) in spending {
            if (since..known).contains(&day) {
                self.days.entry(day).or_default().insert(agent, spent);
            }
        }
        self.since = self.since.min(since);
    }

    /// Forgets the days before yesterday.
    pub fn tidy(&mut self, now_ms: u64) {
        let first = first_day(now_ms);
        if first > self.since {
            self.days = self.days.split_off(&first);
            self.since = first;
        }
        let today = day_of(now_ms);
        self.told.retain(|(_, _, day)| *day == today);
    }

    /// What a wallet has spent on a day.
    pub fn spent(&self, agent: AgentId, day: u64) -> Spent {
        let of_day = self.days.get(&day);
        of_day
            .and_then(|of_day| of_day.get(&agent))
            .copied()
            .unwrap_or_default()
    }

    /// What all wallets together have spent on a day.
    pub fn total(&self, day: u64) -> u64 {
        let of_day = self.days.get(&day);
        of_day.map_or(0, |of_day| {
            of_day
                .values()
                .fold(0, |sum: u64, spent| sum.saturating_add(spent.all))
        })
    }

    /// Pays for a draft, if the budget suffices.
    pub fn pay(
        &mut self,
        agent: AgentId,
        budget: Budget,
        cost: u64,
        unverified: bool,
        now_ms: u64,
    ) -> Admission {
        let day = day_of(now_ms);
        if day < self.since {
            return Admission::Unknown;
        }
        let spent = self.spent(agent, day);
        if !budget.allows(spent, cost, unverified) {
            return Admission::Spent(spent);
        }
        let charge = Charge {
            agent,
            day,
            cost,
            unverified,
        };
        self.paid(charge);
        Admission::Paid(charge)
    }

    /// Something was paid for, whatever the budget.
    pub fn paid(&mut self, charge: Charge) {
        if charge.day < self.since {
            return;
        }
        let spent = self
            .days
            .entry(charge.day)
            .or_default()
            .entry(charge.agent)
            .or_default();
        spent.all = spent.all.saturating_add(charge.cost);
        spent.unverified = spent.unverified.saturating_add(charge.unverified_cost());
    }

    /// What was paid for is not sent.
    pub fn refund(&mut self, charge: Charge) {
        let of_day = self.days.get_mut(&charge.day);
        if let Some(spent) = of_day.and_then(|of_day| of_day.get_mut(&charge.agent)) {
            spent.all = spent.all.saturating_sub(charge.cost);
            spent.unverified = spent.unverified.saturating_sub(charge.unverified_cost());
        }
    }

    /// Whether the log has still to say that a wallet's budget of this day does not suffice.
    pub fn tell(&mut self, agent: AgentId, unverified: bool, now_ms: u64) -> bool {
        self.told.insert((agent, unverified, day_of(now_ms)))
    }
}

/// The first day that is of interest: yesterday, since what was signed then may fail today.
pub(super) const fn first_day(now_ms: u64) -> u64 {
    day_of(now_ms).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AGENT: AgentId = AgentId(1);
    const NOON: u64 = 20_000 * DAY_MS + DAY_MS / 2;

    fn paid(admission: Admission) -> bool {
        matches!(admission, Admission::Paid(_))
    }

    #[test]
    fn a_budget_pays_until_it_is_spent_and_again_the_next_day() {
        let mut ledger = Ledger::new(day_of(NOON), []);
        let budget = Budget { all: 25 };
        assert!(paid(ledger.pay(AGENT, budget, 10, false, NOON)));
        assert!(paid(ledger.pay(AGENT, budget, 10, false, NOON)));
        let spent = Spent {
            all: 20,
            unverified: 0,
        };
        assert_eq!(
            ledger.pay(AGENT, budget, 10, false, NOON),
            Admission::Spent(spent)
        );
        assert!(paid(ledger.pay(AGENT, budget, 5, false, NOON)));
        assert!(paid(ledger.pay(AgentId(2), budget, 25, false, NOON)));
        assert!(paid(ledger.pay(AGENT, budget, 25, false, NOON + DAY_MS)));
        // The clock steps back: nothing is left of that day.
        assert!(!paid(ledger.pay(AGENT, budget, 1, false, NOON)));
    }

    #[test]
    fn nothing_is_paid_of_nothing() {
        let mut ledger = Ledger::new(day_of(NOON), []);
        assert!(!paid(ledger.pay(AGENT, Budget { all: 0 }, 1, false, NOON)));
        // A tenth of less than ten is nothing, too.
        assert!(!paid(ledger.pay(AGENT, Budget { all: 9 }, 1, true, NOON)));
    }

    #[test]
    fn unverified_messages_cannot_spend_what_is_for_the_others() {
        let mut ledger = Ledger::new(day_of(NOON), []);
        let budget = Budget { all: 100 };
        assert!(paid(ledger.pay(AGENT, budget, 10, true, NOON)));
        assert!(!paid(ledger.pay(AGENT, budget, 1, true, NOON)));
        assert!(paid(ledger.pay(AGENT, budget, 90, false, NOON)));
        assert!(!paid(ledger.pay(AGENT, budget, 1, false, NOON)));
    }

    #[test]
    fn a_day_before_those_that_are_known_is_read_first() {
        let today = day_of(NOON);
        let mut ledger = Ledger::new(today, []);
        let before = NOON - 5 * DAY_MS;
        let budget = Budget { all: 10 };
        assert_eq!(
            ledger.pay(AGENT, budget, 1, false, before),
            Admission::Unknown
        );
        let since = ledger.missing(before).unwrap();
        let spent = Spent {
            all: 9,
            unverified: 0,
        };
        ledger.pay(AGENT, budget, 2, false, NOON);
        // What is known of today is newer than what the store said.
        ledger.extend(
            since,
            vec![(AGENT, today - 5, spent), (AGENT, today, spent)],
        );
        assert_eq!(ledger.missing(before), None);
        assert_eq!(ledger.spent(AGENT, today - 5).all, 9);
        assert_eq!(ledger.spent(AGENT, today).all, 2);
    }

    #[test]
    fn the_log_says_it_once_a_day() {
        let mut ledger = Ledger::new(day_of(NOON), []);
        assert!(ledger.tell(AGENT, false, NOON));
        assert!(!ledger.tell(AGENT, false, NOON + 1));
        assert!(ledger.tell(AGENT, true, NOON));
        ledger.tidy(NOON + DAY_MS);
        assert!(ledger.tell(AGENT, false, NOON + DAY_MS));
    }

    #[test]
    fn reasons_say_what_is_missing() {
        let budget = Budget { all: 100 };
        let spent = Spent {
            all: 95,
            unverified: 10,
        };
        let day = day_of(1_795_300_000_000);
        let reason = budget.reason(spent, 10, false, day);
        assert!(
            reason.contains("95 of 100") && reason.contains("2026-11-21"),
            "{reason}"
        );
        let reason = budget.reason(spent, 10, true, day);
        assert!(
            reason.contains("10 of 10 ") && reason.contains("a tenth"),
            "{reason}"
        );
        assert!(budget.reason(spent, 101, false, day).contains("larger"));
        assert!(budget.reason(spent, 11, true, day).contains("larger"));
    }

    /// What happens to a ledger.
    #[derive(Clone, Debug)]
    enum Event {
        Pay {
            agent: i64,
            cost: u64,
            unverified: bool,
        },
        /// One of those that were paid for fails.
        Fail(usize),
        /// The clock moves, forth or back.
        Clock(i64),
        /// The process starts again: what is stored counts.
        Restart,
        Tidy,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            6 => (0_i64..3, 0_u64..40, any::<bool>())
                .prop_map(|(agent, cost, unverified)| Event::Pay { agent, cost, unverified }),
            1 => (0_usize..50).prop_map(Event::Fail),
            2 => (-3_i64..4).prop_map(Event::Clock),
            1 => Just(Event::Restart),
            1 => Just(Event::Tidy),
        ];
        prop::collection::vec(event, 1..200)
    }

    proptest! {
        /// The law: on no day is more paid for than its budget, and a tenth of it for answers to
        /// unproven senders, whatever the clock does and however often the process starts.
        #[test]
        fn no_day_costs_more_than_its_budget(all in 0_u64..300, events in events()) {
            let budget = Budget { all };
            let mut now = NOON;
            // What the store would hold.
            let mut stored: Vec<Charge> = Vec::new();
            let of_store = |stored: &[Charge], since: u64| {
                let mut sums: HashMap<(AgentId, u64), Spent> = HashMap::new();
                for charge in stored.iter().filter(|charge| charge.day >= since) {
                    let spent = sums.entry((charge.agent, charge.day)).or_default();
                    spent.all += charge.cost;
                    spent.unverified += charge.unverified_cost();
                }
                sums.into_iter().map(|((agent, day), spent)| (agent, day, spent)).collect::<Vec<_>>()
            };
            let mut ledger = Ledger::new(first_day(now), []);
            for event in events {
                match event {
                    Event::Pay { agent, cost, unverified } => {
                        if let Some(since) = ledger.missing(now) {
                            ledger.extend(since, of_store(&stored, since));
                        }
                        match ledger.pay(AgentId(agent), budget, cost, unverified, now) {
                            Admission::Paid(charge) => stored.push(charge),
                            Admission::Spent(_) => {}
                            Admission::Unknown => prop_assert!(false, "the day was read"),
                        }
                    }
                    Event::Fail(index) if !stored.is_empty() => {
                        let charge = stored.swap_remove(index % stored.len());
                        ledger.refund(charge);
                    }
                    Event::Fail(_) => {}
                    Event::Clock(days) => now = now.saturating_add_signed(days * 86_400_000),
                    Event::Restart => {
                        let since = first_day(now);
                        ledger = Ledger::new(since, of_store(&stored, since));
                    }
                    Event::Tidy => ledger.tidy(now),
                }
                for (agent, day, spent) in of_store(&stored, 0) {
                    prop_assert!(spent.all <= all, "{agent} spent {} of {all} on {day}", spent.all);
                    prop_assert!(spent.unverified <= all / 10);
                    if day >= ledger.since {
                        prop_assert_eq!(ledger.spent(agent, day), spent);
                    }
                }
            }
        }
    }
}
