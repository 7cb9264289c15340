//! Wallets on disk: keystore files in a folder, and vaults.
//!
//! | module | holds |
//! |---|---|
//! | [`store`] | [`WalletStore`]: finding, listing, making, renaming and deleting wallets |
//! | [`snapshot`] | [`Snapshot`]: a store as it is at one moment, for looking up many wallets |
//! | [`vault`] | [`OpenVault`] and the changes of a vault file |
//! | [`pack`] | many keystore files into one vault, and many new wallets at once |
//! | [`password`] | where passwords come from |
//! | [`prompt`] | asking on the terminal, and leaving it as it was |
//! | [`name`] | what a wallet may be called |
//! | [`error`] | [`WalletError`] |
//! | `files` | bounded reading, atomic writing that never overwrites |
//! | `parallel` | work over the cores |
//!
//! Reading a wallet's name and address takes no password. Nothing here writes a seed that is not
//! encrypted, and no error or `Debug` shows one.

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
