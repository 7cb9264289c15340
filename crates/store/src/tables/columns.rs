//! A row as the values of its columns.

use std::borrow::Cow;

use agentry_core::Cause;
use agentry_protocol::{Json, MessageId, Nonce, PublicKey, Timestamp, Trail};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use crate::cause;
use crate::column;
use crate::number::integer;

/// The value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
    /// A hash, a key or an id.
    Bytes(&'a [u8]),
}

impl Cell<'_> {
    /// A text of its own.
    pub(super) fn text(value: &impl ToString) -> Self {
        Cell::Text(Cow::Owned(value.to_string()))
    }

    /// A height, or another number of which the largest that a column holds means the same
    /// as all above it.
    pub(super) fn whole(value: u64) -> Self {
        Cell::Integer(integer(value))
    }

    pub(super) fn flag(value: bool) -> Self {
        Cell::Integer(i64::from(value))
    }

    pub(super) fn some<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Cell::Null, cell)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(value: &'a str) -> Self {
        Cell::Text(Cow::Borrowed(value))
    }
}

impl From<i64> for Cell<'_> {
    fn from(value: i64) -> Self {
        Cell::Integer(value)
    }
}

impl From<Nonce> for Cell<'_> {
    fn from(nonce: Nonce) -> Self {
        Cell::whole(nonce.get())
    }
}

impl From<Timestamp> for Cell<'_> {
    fn from(time: Timestamp) -> Self {
        Cell::whole(time.get())
    }
}

impl From<u32> for Cell<'_> {
    fn from(value: u32) -> Self {
        Cell::Integer(i64::from(value))
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Null => ToSqlOutput::Owned(Value::Null),
            Cell::Integer(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Cell::Real(value) => ToSqlOutput::Owned(Value::Real(*value)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// Reads the columns of a row one after the other.
pub(crate) struct Columns<'a> {
    row: &'a rusqlite::Row<'a>,
    next: usize,
}

type Result<T> = rusqlite::Result<T>;

impl<'a> Columns<'a> {
    pub(super) const fn of(row: &'a rusqlite::Row<'a>) -> Self {
        Self { row, next: 0 }
    }

    const fn step(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    pub(super) fn id(&mut self) -> Result<i64> {
        let at = self.step();
        self.row.get(at)
    }

    pub(super) fn optional_id(&mut self) -> Result<Option<i64>> {
        let at = self.step();
        self.row.get(at)
    }

    pub(super) fn whole(&mut self) -> Result<u64> {
        let at = self.step();
        column::natural(self.row, at)
    }

    pub(super) fn optional_whole(&mut self) -> Result<Option<u64>> {
        let at = self.step();
        column::optional_natural(self.row, at)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp> {
        self.whole().map(Timestamp::new)
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.optional_whole()?.map(Timestamp::new))
    }

    pub(super) fn count(&mut self) -> Result<u32> {
        let at = self.step();
        let value = column::natural(self.row, at)?;
        u32::try_from(value).map_err(|_| {
            column::undecodable(self.row, at, format!("holds {value}, which is too large"))
        })
    }

    pub(super) fn optional_real(&mut self) -> Result<Option<f64>> {
        let at = self.step();
        self.row.get(at)
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        let at = self.step();
        match column::natural(self.row, at)? {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                let what = format!("holds {other}, not 0 or 1");
                Err(column::undecodable(self.row, at, what))
            }
        }
    }

    pub(super) fn string(&mut self) -> Result<String> {
        self.text(|text| Ok::<_, std::convert::Infallible>(text.to_owned()))
    }

    pub(super) fn optional_string(&mut self) -> Result<Option<String>> {
        self.optional_text(|text| Ok::<_, std::convert::Infallible>(text.to_owned()))
    }

    pub(super) fn text<T, E: std::fmt::Display>(
        &mut self,
        parse: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Result<T> {
        let at = self.step();
        column::text(self.row, at, parse)
    }

    pub(super) fn optional_text<T, E: std::fmt::Display>(
        &mut self,
        parse: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Result<Option<T>> {
        let at = self.step();
        column::optional_text(self.row, at, parse)
    }

    pub(super) fn bytes<T>(&mut self, make: impl FnOnce([u8; 32]) -> T) -> Result<T> {
        let at = self.step();
        column::bytes(self.row, at, make)
    }

    pub(super) fn optional_bytes<T>(
        &mut self,
        make: impl FnOnce([u8; 32]) -> T,
    ) -> Result<Option<T>> {
        let at = self.step();
        column::optional_bytes(self.row, at, make)
    }

    /// The payload of a transaction. The column after it is read next.
    pub(super) fn payload(&mut self) -> Result<Json> {
        let at = self.step();
        column::payload(self.row, at)
    }

    pub(super) fn public_key(&mut self) -> Result<PublicKey> {
        let at = self.step();
        column::public_key(self.row, at)
    }

    pub(super) fn message_id(&mut self) -> Result<Option<MessageId>> {
        let at = self.step();
        column::message_id(self.row, at)
    }

    pub(super) fn word<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let at = self.step();
        column::word(self.row, at, parse)
    }

    /// The error that the column that was read last does not fit the others.
    pub(super) fn wrong(&self, what: &str) -> rusqlite::Error {
        column::undecodable(self.row, self.next.saturating_sub(1), what.to_owned())
    }

    /// Two columns: the hops and the trace.
    pub(super) fn trail(&mut self) -> Result<Trail> {
        Ok(Trail {
            hops: self.count()?,
            trace: self.optional_text(str::parse)?,
        })
    }

    /// Two columns: the standing and the sender.
    pub(super) fn cause(&mut self) -> Result<Cause> {
        let at = self.step();
        self.step();
        cause::read(self.row, at)
    }
}
