//! The tokens of those who may call the runtime from outside.

use agentry_core::state::row::Token;
use agentry_protocol::ContentHash;
use rusqlite::params;

use crate::tables::{read_row, select_where};
use crate::{Reader, StoreError};

/// The token whose secret has this SHA-256.
///
/// # Errors
/// Any error of SQLite.
pub fn token_of(db: &Reader, secret: &ContentHash) -> Result<Option<Token>, StoreError> {
    db.row("secret = ?1", params![secret.as_bytes()])
}

/// All tokens, by name.
///
/// # Errors
/// Any error of SQLite.
pub fn tokens(db: &Reader) -> Result<Vec<Token>, StoreError> {
    let sql = format!("{} ORDER BY name", select_where::<Token>("true"));
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(read_row(row)?);
    }
    Ok(tokens)
}
