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

pub use error::TransactionError;
pub use signed::SignedTransaction;
pub use stored::{StoredTransaction, Verification};
pub use unsigned::{Fields, Transaction};
