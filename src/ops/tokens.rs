//! Tokens: who may call the runtime from outside, over HTTP.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use agentry_core::state::row;
use agentry_core::{Rights, Token, TokenName};
use agentry_protocol::{Address, Amount, ContentHash, Timestamp};
use agentry_store::{Reader, StoreError, read};
use serde::Serialize;
use zeroize::Zeroizing;

use super::change::{self, ChangeError, StoreChange};
use crate::runtime::clock::Clock;

/// What a secret begins with, so that tools that look for leaked secrets recognise it.
const PREFIX: &str = "agentry_";

/// The random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// The secret of a token: `agentry_`, and 64 hexadecimal digits. It is shown once, when it is made.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A new secret.
    ///
    /// # Errors
    /// The system grants no random bytes.
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; SECRET_BYTES]);
        getrandom::fill(&mut *bytes)?;
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * SECRET_BYTES));
        text.push_str(PREFIX);
        text.push_str(&Zeroizing::new(hex::encode(*bytes)));
        Ok(Self(text))
    }

    /// A secret that a caller presents.
    pub fn presented(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A token to make.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its name.
    pub name: TokenName,
    /// The hosted wallets that its holder may use; all if `None`.
    pub agents: Option<BTreeSet<Address>>,
    /// What its holder may do.
    pub rights: Rights,
    /// The addresses to which its holder may send; all if `None`.
    pub recipients: Option<BTreeSet<Address>>,
    /// What its holder may spend on a day (UTC), in AIT.
    pub daily_budget: Option<Amount>,
    /// For how long it is valid; without an end if `None`.
    pub valid_for: Option<std::time::Duration>,
}

/// A token, as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct TokenEntry {
    /// Its name.
    pub name: TokenName,
    /// What its holder may do.
    pub rights: Rights,
    /// The hosted wallets that its holder may use; all if `null`.
    pub agents: Option<BTreeSet<Address>>,
    /// The addresses to which its holder may send; all if `null`.
    pub recipients: Option<BTreeSet<Address>>,
    /// What its holder may spend on a day (UTC), in AIT; no limit of its own if `null`.
    pub daily_budget: Option<Amount>,
    /// What its holder has spent today, in AIT.
    pub spent_today: Amount,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl TokenEntry {
    fn of(row: row::Token, now: Timestamp) -> Self {
        let token = row.token;
        Self {
            name: token.name,
            rights: token.rights,
            agents: token.agents,
            recipients: token.recipients,
            daily_budget: token.daily_budget,
            spent_today: if row.day == now.day() {
                row.spent
            } else {
                Amount::ZERO
            },
            made_at: token.made_at,
            expires_at: token.expires_at,
        }
    }
}

/// Makes a token, in each of these stores: those of all shards of a cluster. Only the SHA-256 of its
/// secret is stored.
///
/// # Errors
/// [`TokenError`]. Some stores may have the token; revoking it removes it from them.
pub async fn create(new: NewToken, stores: &[&Path]) -> Result<(TokenEntry, Secret), TokenError> {
    let secret = Secret::random()?;
    let now = Clock::default().now();
    let token = Token {
        name: new.name,
        secret: ContentHash::of(secret.expose().as_bytes()),
        agents: new.agents,
        rights: new.rights,
        recipients: new.recipients,
        daily_budget: new.daily_budget,
        made_at: now,
        expires_at: new.valid_for.map(|valid| now.plus(valid)),
    };
    let entry = TokenEntry::of(
        row::Token {
            token: token.clone(),
            day: 0,
            spent: Amount::ZERO,
        },
        now,
    );
    for store in stores {
        change::make(store, StoreChange::CreateToken(token.clone())).await?;
    }
    Ok((entry, secret))
}

/// All tokens, by name.
///
/// # Errors
/// The store's.
pub fn list(db: &Reader) -> Result<Vec<TokenEntry>, StoreError> {
    let now = Clock::default().now();
    let tokens = read::tokens(db)?.into_iter();
    Ok(tokens.map(|row| TokenEntry::of(row, now)).collect())
}

/// Ends a token in each of these stores: its holder may do nothing from now on.
///
/// # Errors
/// [`TokenError`].
pub async fn revoke(name: TokenName, stores: &[&Path]) -> Result<(), TokenError> {
    let mut revoked = 0;
    for store in stores {
        revoked += change::make(store, StoreChange::RevokeToken(name.clone())).await?;
    }
    match (revoked, stores.first()) {
        (0, Some(store)) => Err(TokenError::Unknown {
            name,
            store: store.to_path_buf(),
        }),
        _ => Ok(()),
    }
}

/// Why a token was not made or ended.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no such token.
    #[error("there is no token {name} in {}; `agentry token list` prints them", store.display())]
    Unknown {
        /// Its name.
        name: TokenName,
        /// The store.
        store: PathBuf,
    },
    /// No secret could be made.
    #[error("generating the secret of a token: {0}")]
    Random(#[from] getrandom::Error),
    /// The change was not made.
    #[error(transparent)]
    Change(#[from] ChangeError),
}
