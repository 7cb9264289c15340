//! Nonces.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json::Number;
use crate::timestamp::Timestamp;

/// The nonce of a transaction that this program signs, or the counter of an account, which is the
/// nonce that its next transaction needs under sequential nonces: 0 to [`Nonce::MAX`].
///
/// A transaction of another program can state any number as its nonce, even `-1.5`: see
/// [`StoredTransaction::nonce`](crate::StoredTransaction::nonce).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(from = "u64", into = "u64")]
pub struct Nonce(u64);

impl Nonce {
    /// The greatest nonce: the largest value of a signed 64-bit column of a node's database.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs());

    /// The nonce of this value, or [`Nonce::MAX`] if that is less.
    pub const fn new(value: u64) -> Self {
        if value > Self::MAX.0 {
            Self::MAX
        } else {
            Self(value)
        }
    }

    /// The nonce of a transaction that is signed at this time, under timestamp nonces.
    pub const fn at(time: Timestamp) -> Self {
        Self::new(time.get())
    }

    /// The nonce that a transaction states, if it is one.
    pub fn of(number: &Number) -> Option<Self> {
        number.as_i64()?.try_into().ok().map(Self)
    }

    /// The value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The nonce above this one; [`Nonce::MAX`] is returned unchanged.
    pub const fn next(self) -> Self {
        Self::new(self.0.saturating_add(1))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl From<u64> for Nonce {
    fn from(value: u64) -> Self {
        Self::new(value)
    }
}

impl From<Nonce> for u64 {
    fn from(nonce: Nonce) -> Self {
        nonce.0
    }
}

impl From<Nonce> for Number {
    fn from(nonce: Nonce) -> Self {
        Self::from(nonce.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_do_not_wrap() {
        assert_eq!(Nonce::new(6).next(), Nonce::new(7));
        for large in [1 << 63, u64::MAX] {
            assert_eq!(Nonce::new(large), Nonce::MAX);
        }
        assert_eq!(Nonce::MAX.next(), Nonce::MAX);
        assert_eq!(Nonce::MAX.to_string(), i64::MAX.to_string());
    }

    #[test]
    fn only_a_whole_number_in_range_is_a_nonce() {
        let of = |text: &str| Nonce::of(&text.parse().unwrap());
        assert_eq!(of("0"), Some(Nonce::default()));
        assert_eq!(of("9223372036854775807"), Some(Nonce::MAX));
        for not_one in ["-1", "7.0", "9223372036854775808", "-9223372036854775808"] {
            assert_eq!(of(not_one), None, "{not_one}");
        }
        for nonce in [Nonce::default(), Nonce::MAX] {
            assert_eq!(Nonce::of(&nonce.into()), Some(nonce));
        }
    }

    #[test]
    fn serde_is_the_number() {
        assert_eq!(serde_json::to_string(&Nonce::new(7)).unwrap(), "7");
        let read = |text: &str| serde_json::from_str::<Nonce>(text).ok();
        assert_eq!(read("7"), Some(Nonce::new(7)));
        assert_eq!(read(&u64::MAX.to_string()), Some(Nonce::MAX));
        assert_eq!(read("-1"), None);
    }
}
