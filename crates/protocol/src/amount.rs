//! Amounts of money.

use std::fmt;
use std::iter::Sum;
use std::num::ParseIntError;
use std::ops::Div;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::Number;

/// An amount, a fee, a cost or a budget, in whole AIT.
///
/// It can be more than a transaction can transfer, which is [`Amount::MAX`]: what checks it names
/// it as it was given. A transaction of another program can state any number as its amount, even
/// `-1.5`: see [`StoredTransaction::amount`](crate::StoredTransaction::amount).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Amount(pub u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The most that can be transferred, fee included: the largest value of a signed 64-bit column
    /// of a node's database. A transaction of another program can state more, and a node may accept
    /// it; this program never signs one.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs());

    /// Both together, if they can be transferred: at most [`Amount::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let sum = self.0.checked_add(other.0).map(Self);
        sum.filter(|sum| *sum <= Self::MAX)
    }

    /// Both together, or the largest number there is.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it without the other, or nothing.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Amount {
    /// All together, or the largest number there is.
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

impl Div<u64> for Amount {
    type Output = Self;

    /// A share, rounded down.
    fn div(self, shares: u64) -> Self {
        Self(self.0 / shares)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for Amount {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl From<u64> for Amount {
    fn from(amount: u64) -> Self {
        Self(amount)
    }
}

impl From<Amount> for i128 {
    fn from(amount: Amount) -> Self {
        Self::from(amount.0)
    }
}

impl From<Amount> for Number {
    fn from(amount: Amount) -> Self {
        Self::from(amount.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_do_not_wrap() {
        let largest = Amount(u64::MAX);
        assert_eq!(largest.saturating_add(Amount(1)), largest);
        assert_eq!(Amount(3).saturating_add(Amount(4)), Amount(7));
        assert_eq!(Amount(3).saturating_sub(Amount(4)), Amount::ZERO);
        assert_eq!([largest, Amount(1)].into_iter().sum::<Amount>(), largest);
        assert_eq!(Amount(7) / 2, Amount(3));
    }

    #[test]
    fn what_no_transaction_can_transfer_is_no_sum() {
        let all_but_ten = Amount::MAX.saturating_sub(Amount(10));
        assert_eq!(all_but_ten.checked_add(Amount(10)), Some(Amount::MAX));
        assert_eq!(all_but_ten.checked_add(Amount(11)), None);
        assert_eq!(Amount(u64::MAX).checked_add(Amount(1)), None);
    }

    #[test]
    fn texts_and_json_are_the_number() {
        for amount in [Amount::ZERO, Amount::MAX, Amount(u64::MAX)] {
            assert_eq!(amount.to_string().parse(), Ok(amount));
            let json = serde_json::to_string(&amount).unwrap();
            assert_eq!(json, amount.to_string());
            assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), amount);
            assert_eq!(Number::from(amount).as_u64(), Some(amount.0));
        }
        for not_one in ["-1", "1.0", "", "18446744073709551616"] {
            assert!(not_one.parse::<Amount>().is_err(), "{not_one}");
        }
    }
}
