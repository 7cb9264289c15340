//! What this process does with the log.
//!
//! The log of a store that one process has is in the tables' own file. A log that is elsewhere is
//! shared: one host leads, the others follow, and each has tables of its own. No transaction of
//! SQLite that writes is open while such a log is waited for.

use agentry_core::Changes;
use agentry_core::cluster::Epoch;

use super::{Begin, Database, Pending, Tables};
use crate::error::Trouble;
use crate::log::{self, Log, LogError, Mark, Position};
use crate::{StoreError, meta};

/// What this process does with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It has the log for itself, in the file of the tables.
    Alone,
    /// It applies the records that another host appends.
    Following {
        /// Whether the log was found to have the last record that the state has, and nothing failed
        /// since.
        is_checked: bool,
    },
    /// It appends to the log, which is elsewhere.
    Leading {
        /// The last record that the log is known to have. All before it are in the state, too.
        acknowledged: Mark,
    },
    /// It does nothing more with the log, which is elsewhere.
    Ended(Trouble),
}

impl Role {
    /// Whether the log is elsewhere.
    pub(super) const fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::Alone)
    }
}

impl Tables {
    /// The tables behind a log that is elsewhere, which this host follows.
    ///
    /// # Errors
    /// The log cannot be used, or does not go on from what the tables have; the tables have another
    /// log, or cannot be read.
    pub(crate) fn follow(db: &Database, log: Box<dyn Log>) -> Result<Self, StoreError> {
        mark_as_copy(db)?;
        let mut tables = Self::over(db, log, Role::Following { is_checked: false });
        // The first records show whether the log still has those that the tables lack.
        tables.catch_up()?;
        Ok(tables)
    }

    /// Whether the log is in the tables' own file.
    pub(crate) fn is_alone(&self) -> bool {
        self.role == Role::Alone
    }

    /// Whether another host makes the changes.
    pub(crate) const fn is_following(&self) -> bool {
        matches!(self.role, Role::Following { .. })
    }

    /// Applies some of the records that another host has appended. Returns how many.
    ///
    /// # Errors
    /// The log cannot be read, or does not go on from what the state has.
    pub(crate) fn catch_up(&mut self) -> Result<usize, StoreError> {
        self.refresh()?;
        if self.role == (Role::Following { is_checked: false }) {
            let applied = self.applied;
            self.check(&applied)?;
        }
        self.advance()
    }

    /// Begins to lead under an epoch that this host has claimed. Until [`lead`](Self::lead), it
    /// follows.
    ///
    /// # Errors
    /// Another host has claimed the log since, or it does not have the last record of the state.
    pub(crate) fn claim(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        if matches!(self.role, Role::Leading { .. }) {
            self.role = Role::Following { is_checked: false };
        }
        self.refresh()?;
        self.log.lead(epoch).map_err(|error| self.ended(error))?;
        let applied = self.applied;
        self.check(&applied)
    }

    /// Checks that the log has a record that the tables, or the state, had last.
    pub(super) fn check(&mut self, mark: &Mark) -> Result<(), StoreError> {
        let checked = self.log.check(mark);
        checked.map_err(|error| self.ended(error))?;
        if let Role::Following { is_checked } = &mut self.role {
            *is_checked = true;
        }
        Ok(())
    }

    /// Leads from now on, if the state has all records up to the one that was the last when this host
    /// claimed the log.
    ///
    /// # Errors
    /// The log ends before or after that record.
    pub(crate) fn lead(&mut self, head: Position) -> Result<(), StoreError> {
        self.refresh()?;
        self.role = Role::Leading {
            acknowledged: Mark {
                at: head,
                ..self.applied
            },
        };
        self.still_leads()
    }

    /// Checks that the state has what this host has appended, and nothing else.
    pub(super) fn still_leads(&mut self) -> Result<(), StoreError> {
        let Role::Leading { acknowledged } = self.role else {
            return Ok(());
        };
        let (ends, wanted) = (self.applied.at, acknowledged.at);
        if self.applied == acknowledged {
            return Ok(());
        }
        Err(self.ended(match ends > wanted {
            true => LogError::Fenced,
            false => LogError::Diverged {
                at: wanted,
                what: match ends < wanted {
                    true => format!("it ends at {ends}, and had a record {wanted}"),
                    false => format!("its record {wanted} is another one"),
                },
            },
        }))
    }

    /// Checks that the log can be reached, if this host leads.
    ///
    /// # Errors
    /// It cannot, or another host has appended to it.
    pub(crate) fn probe(&mut self) -> Result<(), StoreError> {
        if !matches!(self.role, Role::Leading { .. }) {
            return Ok(());
        }
        self.refresh()?;
        let read = self.log.read(self.applied.at, 1);
        match read.map_err(|error| self.ended(error))?.is_empty() {
            true => Ok(()),
            false => Err(self.ended(LogError::Fenced)),
        }
    }

    /// Applies commits, and appends them to a log that is elsewhere as one record.
    pub(super) fn apply_elsewhere(
        &mut self,
        pending: &[&Pending],
    ) -> Result<Vec<Result<Changes, StoreError>>, StoreError> {
        self.refresh()?;
        let (answers, mut group) =
            self.transaction(Begin::ToRead, |tables| tables.apply_each(pending))?;
        if group.is_empty() {
            return Ok(answers);
        }
        let wanted = self.applied.at.next();
        let outcomes = self.outcomes.of(wanted);
        group.extend(&outcomes);
        let appended = self.log.append(&group).and_then(|mark| match mark.at {
            at if at == wanted => Ok(mark),
            at => Err(LogError::Diverged {
                at: wanted,
                what: format!("it took the record {wanted} as its record {at}"),
            }),
        });
        match appended {
            Ok(mark) => {
                self.applied = mark;
                self.outcomes.end(mark.at);
                self.role = Role::Leading { acknowledged: mark };
                Ok(answers)
            }
            Err(error) => {
                self.version = None;
                Err(self.ended(error))
            }
        }
    }

    /// The store's error for one of the log. It ends what this host does with a log that is
    /// elsewhere, unless the log can be used again later.
    pub(super) fn ended(&mut self, error: LogError) -> StoreError {
        let error = match (&self.role, error) {
            // It is damage of the store.
            (Role::Alone, LogError::Damaged { at, what }) => {
                StoreError::value("log", &at.to_string(), &what)
            }
            (_, error) => StoreError::from(error),
        };
        match &mut self.role {
            Role::Alone | Role::Ended(_) => {}
            role => {
                if let Role::Following { is_checked } = role {
                    *is_checked = false;
                }
                if let Some(end) = error.trouble().filter(Trouble::is_end) {
                    *role = Role::Ended(end);
                    self.version = None;
                }
            }
        }
        error
    }
}

/// Marks new tables as a copy of what a log elsewhere holds.
fn mark_as_copy(db: &Database) -> Result<(), StoreError> {
    let db = db.lock();
    if log::mark(&db)?.is_some() {
        return Ok(());
    }
    let is_new = log::written(&db)? == Position(0) && log::last(&db)? == Position(0);
    if !is_new {
        return Err(StoreError::NoCopy {
            path: db.path().unwrap_or_default().into(),
        });
    }
    meta::write(&db, meta::SUM, Some(Mark::START.sum.to_string()))?;
    Ok(())
}
