//! The log in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::Commit;

use super::{Log, Position, Record, decode, encode};
use crate::StoreError;

/// A log in memory. Its clones are the same log: one that is kept survives the state that wrote it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    texts: BTreeMap<Position, String>,
    last: Position,
}

impl Memory {
    /// A log of these records, from the first place on.
    pub(crate) fn of(texts: impl Iterator<Item = String>) -> Self {
        let texts: BTreeMap<_, _> = (1..).map(Position).zip(texts).collect();
        let last = texts.keys().last().copied().unwrap_or_default();
        Self(Arc::new(Mutex::new(Records { texts, last })))
    }

    /// The records as they are written.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.with(|records| records.texts.values().cloned().collect())
    }

    fn with<T>(&self, run: impl FnOnce(&mut Records) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Log for Memory {
    fn append(&mut self, group: &[&Commit]) -> Result<Position, StoreError> {
        self.with(|records| {
            let at = records.last.next();
            records.texts.insert(at, encode(at, group)?);
            records.last = at;
            Ok(at)
        })
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, StoreError> {
        let (mut read, mut size) = (Vec::new(), 0);
        self.with(|records| {
            for (at, text) in records.texts.range(after.next()..) {
                if size >= bytes {
                    break;
                }
                size += text.len();
                let record = decode(*at, text);
                read.push(
                    record.map_err(|error| StoreError::value("log", &at.0.to_string(), &error))?,
                );
            }
            Ok(read)
        })
    }

    /// Deletes nothing: a log that others read, too, may be cut later. So what the tables have must
    /// not be read again.
    fn cut(&mut self, _: Position) -> Result<(), StoreError> {
        Ok(())
    }
}
