//! Wallets on disk: keystore files in a folder, and vaults.
//!
//! | module | holds |
//! |---|---|
//! | [`store`] | [`WalletStore`]: finding, listing, creating, renaming and deleting wallets |
//! | [`snapshot`] | [`Snapshot`]: a store at one moment, for looking up many wallets |
//! | [`vault`] | [`OpenVault`], and changing a vault file |
//! | [`pack`] | packing keystore files into a vault, and creating many wallets at once |
//! | [`password`] | sources of passwords |
//! | [`prompt`] | asking on the terminal, and restoring it |
//! | [`name`] | [`WalletName`]: a valid wallet name |
//! | [`error`] | [`WalletError`] |
//! | `files` | bounded reading, atomic writing that never overwrites |
//! | `parallel` | work on all cores |
//!
//! Reading a wallet's name and address needs no password. Nothing here writes an unencrypted seed,
//! and no error or `Debug` output shows a seed.

pub mod error;
mod files;
pub mod name;
pub mod pack;
mod parallel;
pub mod password;
pub mod prompt;
pub mod snapshot;
pub mod store;
pub mod vault;

pub use error::WalletError;
pub use files::write_new;
pub use name::WalletName;
pub use password::{PasswordError, PasswordSource, ensure_password_file};
pub use snapshot::Snapshot;
pub use store::{Unlocked, Wallet, WalletInfo, WalletStore};
pub use vault::OpenVault;
