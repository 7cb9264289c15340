//! Budgets: how much each wallet may spend in a day, and how much of it each sender may cause.
//!
//! A wallet's `daily_budget` pays for amounts and fees, and is renewed each UTC day. A transaction
//! is charged when it is signed, to the day on which it is signed, and refunded to that day if it
//! fails.
//!
//! Everything that follows from a message is charged to its sender: answers, acknowledgments, and
//! whatever timers and tasks send later. No sender may cause more than its part of the budget, nor
//! may all senders of one [standing](Standing) together, if they are not known to the operator. So
//! inventing senders, keys or cards does not let anybody spend the others' part. Only the
//! transactions that exceed a part wait for the next day.
//!
//! Days are identified by their numbers, so a clock that steps back to an earlier day finds that
//! day's spending.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use agentry_protocol::timestamp::DAY_MS;
use agentry_protocol::{Address, Amount, Timestamp};
use agentry_sdk::Standing;

use agentry_core::rows::{Charge, Spent};
use agentry_core::{AgentId, Cause};
use agentry_store::read::Spending;

/// The limits on a day's spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The whole budget, in AIT.
    pub all: Amount,
}

/// The cost of a transaction, in AIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The amount that it transfers.
    pub amount: Amount,
    /// The fee that it pays.
    pub fee: Amount,
}

impl Cost {
    /// The cost of a transaction that transfers this amount and pays this fee.
    pub const fn new(amount: Amount, fee: Amount) -> Self {
        Self { amount, fee }
    }

    /// The amount and the fee together.
    pub const fn all(self) -> Amount {
        self.amount.saturating_add(self.fee)
    }
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The whole budget.
    Whole,
    /// The part of all senders of this standing together.
    Together(Standing),
    /// The part of one sender of this standing.
    One(Standing),
}

/// The budget is exhausted for this transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// The limit that is exceeded.
    pub limit: Limit,
    /// The size of that limit, in AIT.
    pub share: Amount,
    /// How much of it is spent.
    pub spent: Amount,
}

impl Budget {
    /// The part of all senders of a standing together, for a transaction with this fee.
    ///
    /// A small budget allows one transaction at least. Unverified senders, whom anybody can invent
    /// without a key, never have more than their tenth.
    pub fn of_all(self, standing: Standing, fee: Amount) -> Amount {
        self.at_least(standing, standing.of_all(self.all), fee)
    }

    /// The part of one sender of a standing, for a transaction with this fee.
    pub fn of_one(self, standing: Standing, fee: Amount) -> Amount {
        self.at_least(standing, standing.of_one(self.all), fee)
    }

    fn at_least(self, standing: Standing, part: Amount, fee: Amount) -> Amount {
        match standing {
            Standing::Unverified => part,
            Standing::Stranger | Standing::Listed | Standing::Known => part.max(fee).min(self.all),
        }
    }

    /// Whether the budget suffices for a transaction that somebody caused, given the spending in
    /// all and the spending because of this sender.
    ///
    /// # Errors
    /// It does not: the limit that leaves least.
    pub fn check(
        self,
        spent: &Spent,
        of_sender: Amount,
        cause: &Cause,
        cost: Cost,
    ) -> Result<(), Short> {
        let whole = Short {
            limit: Limit::Whole,
            share: self.all,
            spent: spent.all,
        };
        let together = cause.standing().map(|standing| Short {
            limit: Limit::Together(standing),
            share: self.of_all(standing, cost.fee),
            spent: spent.of(standing),
        });
        let one = cause.sender().and(cause.standing()).map(|standing| Short {
            limit: Limit::One(standing),
            share: self.of_one(standing, cost.fee),
            spent: of_sender,
        });
        let limits = [one, together, Some(whole)].into_iter().flatten();
        match limits.min_by_key(|limit| limit.share.saturating_sub(limit.spent)) {
            Some(least) if cost.all() > least.share.saturating_sub(least.spent) => Err(least),
            _ => Ok(()),
        }
    }

    /// Why a transaction that exceeds the day's budget waits.
    pub fn reason(self, short: Short, cause: &Cause, cost: Cost, day: u64) -> String {
        let all = self.all;
        let Short {
            limit,
            share,
            spent,
        } = short;
        let part = match limit {
            Limit::Whole => format!("daily_budget is {all}"),
            Limit::Together(standing) => format!(
                "daily_budget is {all}, of which at most {} may be caused by {}",
                part_of(share, standing.of_all(all), of_all(standing)),
                all_of(standing)
            ),
            Limit::One(standing) => format!(
                "daily_budget is {all}, of which at most {} may be caused by {cause}, {}",
                part_of(share, standing.of_one(all), of_one(standing)),
                one_of(standing)
            ),
        };
        let cost = cost.all();
        if cost > share {
            format!("waits for a larger budget: it costs {cost}, and {part}")
        } else {
            format!(
                "waits for the next day's budget: it costs {cost}, and {spent} of {share} were \
                 spent on {} ({part})",
                name_of(day)
            )
        }
    }
}

/// The name of a part, if the limit is that part and not the fee of one transaction.
fn part_of(share: Amount, part: Amount, name: &'static str) -> &'static str {
    if share == part {
        name
    } else {
        "one transaction"
    }
}

const fn of_all(standing: Standing) -> &'static str {
    match standing {
        Standing::Unverified => "a tenth",
        Standing::Stranger | Standing::Listed => "a quarter",
        Standing::Known => "all",
    }
}

const fn of_one(standing: Standing) -> &'static str {
    match standing {
        Standing::Unverified | Standing::Stranger | Standing::Listed => "a tenth",
        Standing::Known => "a half",
    }
}

/// All senders of a standing, in words.
pub const fn all_of(standing: Standing) -> &'static str {
    match standing {
        Standing::Unverified => "unverified messages",
        Standing::Stranger => "senders in no directory, contact or allow list",
        Standing::Listed => "senders known only by their cards",
        Standing::Known => "known senders",
    }
}

/// One sender of a standing, in words.
const fn one_of(standing: Standing) -> &'static str {
    match standing {
        Standing::Unverified => "unverified",
        Standing::Stranger => "a stranger",
        Standing::Listed => "known by its card alone",
        Standing::Known => "a known sender",
    }
}

/// A day in the form `2026-11-22`.
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

/// The result of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The charge is made.
    Paid(Charge),
    /// The budget does not suffice.
    Short(Short),
    /// The spending of that day is not known: it must be read from the store first.
    Unknown,
}

/// The spending of one wallet on one day.
#[derive(Clone, Debug, Default)]
struct OfDay {
    sums: Spent,
    /// The spending because of each verified sender. The map has no more entries than the budget
    /// has paid for transactions.
    senders: HashMap<Address, Amount>,
}

impl OfDay {
    fn of_sender(&self, cause: &Cause) -> Amount {
        let sender = cause.sender();
        sender
            .and_then(|sender| self.senders.get(sender))
            .copied()
            .unwrap_or_default()
    }

    fn add(&mut self, cause: &Cause, cost: Amount) {
        self.sums.add(cause, cost);
        if let Some(sender) = cause.sender().filter(|_| cost > Amount::ZERO) {
            let sum = self.senders.entry(sender.clone()).or_default();
            *sum = sum.saturating_add(cost);
        }
    }

    fn subtract(&mut self, cause: &Cause, cost: Amount) {
        self.sums.subtract(cause, cost);
        let Some(sender) = cause.sender() else {
            return;
        };
        if let Some(sum) = self.senders.get_mut(sender) {
            *sum = sum.saturating_sub(cost);
            if *sum == Amount::ZERO {
                self.senders.remove(sender);
            }
        }
    }
}

/// The spending of each wallet on the last days, including transactions that are being signed and
/// not stored yet.
#[derive(Debug)]
pub struct Ledger {
    /// The first day that is known.
    since: u64,
    days: BTreeMap<u64, HashMap<AgentId, OfDay>>,
    /// The limits already reported, with their day, so that the log reports each once.
    told: HashSet<(AgentId, Limit, u64)>,
}

impl Ledger {
    /// A ledger of the days from `since` on, as the store has them.
    pub fn new(since: u64, spending: Spending) -> Self {
        let mut ledger = Self {
            since,
            days: BTreeMap::new(),
            told: HashSet::new(),
        };
        for (agent, day, cause, spent) in spending {
            ledger.of_day(agent, day).add(&cause, spent);
        }
        ledger
    }

    fn of_day(&mut self, agent: AgentId, day: u64) -> &mut OfDay {
        self.days.entry(day).or_default().entry(agent).or_default()
    }

    /// The first day to read from the store, if the spending at this time is not known.
    pub fn missing(&self, now: Timestamp) -> Option<u64> {
        let first = first_day(now);
        (now.day() < self.since).then_some(first)
    }

    /// Adds the store's data for the days from `since` on; known data is kept.
    pub fn extend(&mut self, since: u64, spending: Spending) {
        let known = self.since;
        for (agent, day, cause, spent) in spending {
            if (since..known).contains(&day) {
                self.of_day(agent, day).add(&cause, spent);
            }
        }
        self.since = self.since.min(since);
    }

    /// Prunes the days before yesterday.
    pub fn tidy(&mut self, now: Timestamp) {
        let first = first_day(now);
        if first > self.since {
            self.days = self.days.split_off(&first);
            self.since = first;
        }
        let today = now.day();
        self.told.retain(|(_, _, day)| *day == today);
    }

    /// The spending of a wallet on a day.
    pub fn spent(&self, agent: AgentId, day: u64) -> Spent {
        let of_day = self.days.get(&day).and_then(|days| days.get(&agent));
        of_day.map(|of_day| of_day.sums).unwrap_or_default()
    }

    /// The spending of all wallets together on a day.
    pub fn total(&self, day: u64) -> Spent {
        let mut total = Spent::default();
        for sums in self.days.get(&day).into_iter().flat_map(HashMap::values) {
            let sums = sums.sums;
            total.all = total.all.saturating_add(sums.all);
            total.listed = total.listed.saturating_add(sums.listed);
            total.strangers = total.strangers.saturating_add(sums.strangers);
            total.unverified = total.unverified.saturating_add(sums.unverified);
        }
        total
    }

    /// Charges a transaction that somebody caused, if the budget suffices.
    pub fn pay(
        &mut self,
        agent: AgentId,
        budget: Budget,
        cause: &Cause,
        cost: Cost,
        now: Timestamp,
    ) -> Admission {
        let day = now.day();
        if day < self.since {
            return Admission::Unknown;
        }
        let nothing = OfDay::default();
        let known = self.days.get(&day).and_then(|days| days.get(&agent));
        let of_day = known.unwrap_or(&nothing);
        let of_sender = of_day.of_sender(cause);
        if let Err(short) = budget.check(&of_day.sums, of_sender, cause, cost) {
            return Admission::Short(short);
        }
        let charge = Charge {
            agent,
            day,
            cost: cost.all(),
            cause: cause.clone(),
        };
        self.paid(&charge);
        Admission::Paid(charge)
    }

    /// Records a charge, whatever the budget.
    pub fn paid(&mut self, charge: &Charge) {
        if charge.day < self.since {
            return;
        }
        self.of_day(charge.agent, charge.day)
            .add(&charge.cause, charge.cost);
    }

    /// Refunds a charge whose transaction is not sent.
    pub fn refund(&mut self, charge: &Charge) {
        let days = self.days.get_mut(&charge.day);
        if let Some(of_day) = days.and_then(|days| days.get_mut(&charge.agent)) {
            of_day.subtract(&charge.cause, charge.cost);
        }
    }

    /// Whether the log still has to report that a limit of a wallet's budget is reached on this
    /// day.
    pub fn tell(&mut self, agent: AgentId, limit: Limit, now: Timestamp) -> bool {
        self.told.insert((agent, limit, now.day()))
    }
}

/// The first day of interest: yesterday, since a transaction signed then may fail today.
pub(super) const fn first_day(now: Timestamp) -> u64 {
    now.day().saturating_sub(1)
}
