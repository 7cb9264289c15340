//! The tokens of those who may call the runtime from outside.

use agentry_core::state::row::Token;

use crate::tables::{read_row, select_where};
use crate::{Reader, StoreError};

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
