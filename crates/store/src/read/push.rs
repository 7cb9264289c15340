//! Where clients are told of tasks.

use agentry_core::TokenName;
use agentry_core::state::row::Push;
use rusqlite::params;

use crate::tables::{read_row, select_where};
use crate::{Reader, StoreError};

/// The receivers that the holder of a token has set up, by task and id. They are few.
///
/// # Errors
/// Any error of SQLite.
pub fn pushes(db: &Reader, owner: &TokenName) -> Result<Vec<Push>, StoreError> {
    let of_owner = select_where::<Push>("owner = ?1");
    let mut statement = db.prepare(&format!("{of_owner} ORDER BY task, id"))?;
    let mut rows = statement.query(params![owner.as_str()])?;
    let mut pushes = Vec::new();
    while let Some(row) = rows.next()? {
        pushes.push(read_row(row)?);
    }
    Ok(pushes)
}
