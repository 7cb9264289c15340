//! The limits of a connection: what it may spend, and above which cost a person is asked.
//!
//! The cost of a call is the most that it may lead to: the amount and the fee, times the resends that
//! it asks for. It is charged before the runtime is asked to send anything.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentry_protocol::Amount;

use super::super::error::{DoorError, ErrorCode};

/// How many keys of requests are remembered. One that is no longer is charged again.
const KEYS: usize = 4096;

/// The limits of a connection, and what it has spent.
#[derive(Debug, Default)]
pub(super) struct Limits {
    budget: Option<Amount>,
    ask_above: Option<Amount>,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    total: Amount,
    /// The costs of the requests that were charged and can be made again, by their keys: the runtime
    /// carries out one request with a key.
    keys: HashMap<String, Amount>,
}

impl Limits {
    pub(super) fn new(budget: Option<Amount>, ask_above: Option<Amount>) -> Self {
        Self {
            budget,
            ask_above,
            spent: Mutex::default(),
        }
    }

    /// Whether there is any limit.
    pub(super) const fn is_limited(&self) -> bool {
        self.budget.is_some() || self.ask_above.is_some()
    }

    /// Whether a person is asked before a call with this cost.
    pub(super) fn asks(&self, cost: Amount) -> bool {
        self.ask_above.is_some_and(|limit| cost > limit)
    }

    /// Charges a request. Returns whether it was charged now, and not before.
    ///
    /// # Errors
    /// The budget does not suffice.
    pub(super) fn charge(&self, key: Option<&str>, cost: Amount) -> Result<bool, DoorError> {
        let mut spent = self.spent();
        if key.is_some_and(|key| spent.keys.get(key) == Some(&cost)) {
            return Ok(false);
        }
        let total = spent.total.saturating_add(cost);
        if let Some(budget) = self.budget
            && total > budget
        {
            let left = budget.saturating_sub(spent.total);
            return Err(DoorError::new(
                ErrorCode::NotAllowed,
                format!(
                    "this may cost {cost}, and {left} of the {budget} of this connection's \
                     budget are left; nothing was sent"
                ),
            ));
        }
        spent.total = total;
        if let Some(key) = key {
            if spent.keys.len() >= KEYS {
                spent.keys.clear();
            }
            spent.keys.insert(key.to_owned(), cost);
        }
        Ok(true)
    }

    /// Gives back what was charged now for a request that failed. Nothing is given back if it may
    /// have been carried out.
    pub(super) fn refund(&self, key: Option<&str>, cost: Amount, error: &DoorError) {
        if error.code() == ErrorCode::TimedOut {
            return;
        }
        let mut spent = self.spent();
        if let Some(key) = key {
            spent.keys.remove(key);
        }
        spent.total = spent.total.saturating_sub(cost);
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_a_repeated_request_is_charged_once() {
        let limits = Limits::new(Some(Amount(30)), Some(Amount(10)));
        assert!(limits.asks(Amount(11)) && !limits.asks(Amount(10)));
        assert!(limits.charge(Some("a"), Amount(20)).unwrap());
        assert!(!limits.charge(Some("a"), Amount(20)).unwrap());
        let refused = limits.charge(Some("b"), Amount(11)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::NotAllowed);
        let told = refused.to_string();
        assert!(told.contains("10 of the 30"), "{told}");
        // The same key pays for nothing that costs something else.
        assert!(limits.charge(Some("a"), Amount(11)).is_err());
        assert!(limits.charge(None, Amount(10)).unwrap());
        // A request that was refused costs nothing; one that may have been carried out does.
        limits.refund(None, Amount(10), &DoorError::invalid("no"));
        assert!(limits.charge(Some("c"), Amount(10)).unwrap());
        let late = DoorError::new(ErrorCode::TimedOut, "late");
        limits.refund(Some("c"), Amount(10), &late);
        assert!(!limits.charge(Some("c"), Amount(10)).unwrap());
        assert!(limits.charge(None, Amount(1)).is_err());
    }

    #[test]
    fn without_limits_everything_may_be_spent() {
        let limits = Limits::default();
        assert!(!limits.is_limited() && !limits.asks(Amount::MAX));
        assert!(limits.charge(None, Amount(u64::MAX)).unwrap());
        assert!(limits.charge(None, Amount(u64::MAX)).unwrap());
    }
}
