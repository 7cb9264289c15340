//! A state for one process, which leaves nothing behind.

use agentry_core::state::{Facts, Failure};
use agentry_core::{Changes, Commit, State};

use super::StoreError;
use super::schema;
use super::tables::{Database, archives, is_much, refused, unboxed};

/// A state whose commits are durable nowhere: it ends with the process that made it.
///
/// Only part of its rows is in memory. The others are in a temporary file without a name, which the
/// system removes however the process ends.
#[derive(Debug)]
pub struct Scratch {
    db: Database,
    state: State,
}

impl Scratch {
    /// An empty state.
    ///
    /// # Errors
    /// The temporary file cannot be made.
    pub fn new() -> Result<Self, StoreError> {
        let db = Database::new(schema::temporary()?);
        let state = State::over(Facts::default(), archives(&db));
        Ok(Self { db, state })
    }

    /// Applies a commit. Blocking.
    ///
    /// # Errors
    /// The commit is refused, or the temporary file cannot be used: then the state is lost.
    pub fn apply(&mut self, commit: &Commit) -> Result<Changes, StoreError> {
        let changes = self.state.apply(commit).map_err(|failure| match failure {
            Failure::Refused(refusal) => refused(refusal),
            Failure::Archive(error) => unboxed(error),
        })?;
        if is_much(self.state.unwritten()) {
            self.db.run("BEGIN")?;
            self.state.write().map_err(unboxed)?;
            self.db.run("COMMIT")?;
            self.state.trim();
        }
        Ok(changes)
    }

    /// Asks the state. Blocking.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn query<T>(&self, query: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        self.state.query(query).map_err(unboxed)
    }
}

#[cfg(test)]
mod tests {
    use agentry_core::commit::{Observation, Step};
    use agentry_protocol::{BlockHeight, Timestamp};
    use serde_json::Value;

    use super::*;

    fn observe(steps: Vec<Step>) -> Commit {
        Commit::Observe(Observation {
            steps,
            cursor: Value::Null,
            final_through: None,
            catching_up: None,
            at: Timestamp::new(1),
        })
    }

    #[test]
    fn rows_leave_memory_and_are_found_again() {
        let mut scratch = Scratch::new().unwrap();
        for height in 0..7_000 {
            let gap = Step::Gap {
                height: BlockHeight(height),
                reason: format!("gap {height}"),
            };
            scratch.apply(&observe(vec![gap])).unwrap();
            let unwritten = scratch.query(State::unwritten).unwrap();
            assert!(!is_much(unwritten), "{unwritten:?}");
        }
        let filled = Step::GapFilled {
            height: BlockHeight(1),
        };
        scratch.apply(&observe(vec![filled])).unwrap();
        let of = |height| scratch.query(|state| state.gaps().get(&BlockHeight(height)));
        assert_eq!(of(0).unwrap().unwrap().reason, "gap 0");
        assert!(of(1).unwrap().is_none());
        assert_eq!(of(6_999).unwrap().unwrap().reason, "gap 6999");
    }
}
