//! Why a name or an address does not tell who is meant.

use agentry_protocol::{AddressError, Dialect};
use agentry_sdk::NameError;
use agentry_store::StoreError;

use crate::runtime::control::ControlError;
use crate::wallet::WalletError;

/// Why a name or an address does not tell who is meant.
#[derive(Debug, thiserror::Error)]
pub enum WhoError {
    /// It begins like an address, and is none.
    #[error("{text:?} is not an address: {source}")]
    Address {
        /// The text as given.
        text: String,
        /// The problem with it.
        source: AddressError,
    },
    /// It is an address that no wallet of such a chain has.
    #[error(
        "{text:?} is an address of another dialect than {dialect}, which is that of this chain \
         (`chain.dialect`): wallets of such a chain have `ait1` or `0x` and 40 digits"
    )]
    Form {
        /// The text as given.
        text: String,
        /// The dialect of the chain.
        dialect: Dialect,
    },
    /// Nobody has the name.
    #[error(
        "{name:?} is neither an address (ait1…) nor an agent or contact of {file}, which has \
         {known}{hint}; no wallet and no agent in the directory has that name either \
         (`agentry agent list`)"
    )]
    Unknown {
        /// The name.
        name: String,
        /// The configuration that has no such name.
        file: String,
        /// The names that it has.
        known: String,
        /// The name that may have been meant, as the rest of a sentence.
        hint: String,
    },
    /// The name is that of somebody whose key is not here.
    #[error("{name:?} is a {what}: its key is not here, so nothing can be sent from it")]
    NotOwn {
        /// The name.
        name: String,
        /// What has it, such as `contact worker`.
        what: String,
    },
    /// Several of the operator's own have the name.
    #[error("{name:?} means several addresses: {meanings}; use the address")]
    Several {
        /// The name.
        name: String,
        /// What has it, and at which addresses.
        meanings: String,
    },
    /// Several agents have announced the name.
    #[error(transparent)]
    Announced(#[from] NameError),
    /// Neither the wallet nor the store states the address.
    #[error("the address of {0} is not known; use the address instead")]
    NoAddress(String),
    /// The wallet cannot be used.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The wallet is not known, and no runtime is running that could have created it.
    #[error(transparent)]
    Runtime(ControlError),
}
