//! Transactions: what a wallet signs, what it posts, and what a node keeps of it.
//!
//! | form | keys | spelling |
//! |---|---|---|
//! | signing text | the eight of [`Transaction`] | spaced, signed |
//! | posted body | those, `signature`, `public_key` | compact |
//! | stored form | the eight without `type`, and `signature` | compact, hashed |

pub(crate) mod error;
mod signed;
mod stored;
mod unsigned;

/// The most that can be transferred, fee included: the largest value of a signed 64-bit column of a
/// node's database. A transaction of another program can state more, and a node may accept it; this
/// program never signs one.
pub const AMOUNT_MAX: u64 = i64::MAX.unsigned_abs();

pub use error::TransactionError;
pub use signed::SignedTransaction;
pub use stored::{StoredTransaction, Verification};
pub use unsigned::{Fields, Transaction};
