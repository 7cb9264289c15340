//! A cause in a row. It takes two columns: `standing`, and `sender`, which is empty for the agent
//! itself and for unverified senders.

use agentry_core::cause::OWN;
use agentry_core::{Cause, Standing};
use agentry_protocol::Address;
use rusqlite::Row;
use rusqlite::types::Type;

/// Reads the two columns: `standing` at index `at`, and `sender` after it.
pub(crate) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Cause> {
    let standing = row.get_ref(at)?.as_str()?;
    let sender = row.get_ref(at + 1)?.as_str()?;
    let known = Standing::ALL
        .into_iter()
        .find(|known| known.as_str() == standing);
    let read = match (known, sender) {
        (None, "") if standing == OWN => Ok(Cause::Own),
        (Some(Standing::Unverified), "") => Ok(Cause::Unverified),
        (Some(Standing::Unverified) | None, _) => Err(UnknownCause(standing.to_owned())),
        (Some(standing), sender) => Address::from_chain(sender)
            .map(|sender| Cause::Sender(standing, sender))
            .map_err(|_| UnknownCause(sender.to_owned())),
    };
    read.map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// A row holds an impossible cause.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a standing, or not a sender of that standing")]
struct UnknownCause(String);

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn read_back(standing: &str, sender: &str) -> rusqlite::Result<Cause> {
        let db = Connection::open_in_memory().unwrap();
        db.query_row("SELECT ?1, ?2", [standing, sender], |row| read(row, 0))
    }

    #[test]
    fn columns_are_read_as_they_were_written() {
        let address = Address::from_chain("ait1sender").unwrap();
        let mut causes = vec![Cause::Own];
        causes.extend(Standing::ALL.map(|standing| Cause::of(standing, &address)));
        for cause in causes {
            let (standing, sender) = cause.words();
            let found = read_back(standing, sender).unwrap();
            assert_eq!(found, cause);
        }
    }

    #[test]
    fn an_impossible_cause_is_an_error() {
        for (standing, sender) in [
            ("", ""),
            ("Own", ""),
            ("own", "ait1sender"),
            ("unverified", "ait1sender"),
            ("stranger", ""),
            ("stranger", "ait1 sender"),
            ("friend", "ait1sender"),
        ] {
            let found = read_back(standing, sender);
            assert!(found.is_err(), "{standing:?} {sender:?}");
        }
    }
}
