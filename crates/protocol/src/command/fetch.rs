//! FETCH_RESULT and JOB_RESULT: the rest of a result that was cut, part by part.

use super::error::{CommandError, CommandFault};
use super::field::{Entries, Fields, count, parsed};
use super::job::RESULT_MAX;
use crate::bounded::{Bounded, cut};
use crate::hash::ContentHash;

/// The shortest part of a result, in bytes, unless the result ends there; up to 3 less where a
/// character would be cut. Each part costs fees, so who asks need not accept shorter ones.
pub const PART_MIN: usize = 1 << 10;

/// The parameters of FETCH_RESULT. Its header's `re` names the transaction of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchResult {
    /// Where the part begins: a byte of the whole result, from 0, at which a character begins.
    pub offset: u64,
}

impl FetchResult {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            offset: fields.required("offset", count)?,
        })
    }

    pub(super) fn write(self, entries: &mut Entries) {
        entries.count("offset", Some(self.offset));
    }
}

/// The parameters of JOB_RESULT: a part of a result, and the length and hash of all of it. A part is never empty, and lies within
/// the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultPart {
    offset: u64,
    text: Box<str>,
    bytes: u64,
    sha256: ContentHash,
}

impl ResultPart {
    /// The part of a whole result that begins at `offset` and has at most `limit` bytes, and at most
    /// [`RESULT_MAX`]; `None` if no character of the result begins there, or the first one is longer.
    pub fn of(whole: &str, offset: u64, limit: usize) -> Option<Self> {
        let rest = whole.get(usize::try_from(offset).ok()?..)?;
        let text = cut(rest, limit.min(RESULT_MAX));
        (!text.is_empty()).then(|| Self {
            offset,
            text: text.into(),
            bytes: u64::try_from(whole.len()).unwrap_or(u64::MAX),
            sha256: ContentHash::of(whole.as_bytes()),
        })
    }

    /// Whether it has as many bytes as it must: [`PART_MIN`], unless the result ends with it.
    pub fn is_long_enough(&self) -> bool {
        let length = u64::try_from(self.text.len()).unwrap_or(u64::MAX);
        self.text.len() + 3 >= PART_MIN || self.offset.saturating_add(length) >= self.bytes
    }

    /// Where it begins, in bytes.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The part.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The length of the whole result, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 of the whole result.
    pub const fn sha256(&self) -> &ContentHash {
        &self.sha256
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<Self, CommandError> {
        let text: Bounded<RESULT_MAX> = fields.required("part", parsed)?;
        let part = Self {
            offset: fields.required("offset", count)?,
            text: text.as_str().into(),
            bytes: fields.required("result_bytes", count)?,
            sha256: fields.required("result_sha256", parsed)?,
        };
        let length = u64::try_from(part.text.len()).unwrap_or(u64::MAX);
        let end = part.offset.checked_add(length);
        if length == 0 || end.is_none_or(|end| end > part.bytes) {
            return Err(fields.error("part", CommandFault::Contradiction));
        }
        Ok(part)
    }

    pub(super) fn write(&self, entries: &mut Entries) {
        entries.count("offset", Some(self.offset));
        entries.text("part", &self.text);
        entries.count("result_bytes", Some(self.bytes));
        entries.text("result_sha256", &self.sha256);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_long_enough_if_it_is_the_last_or_no_character_more_fits() {
        let whole = "€".repeat(1000);
        let part = |offset, limit| ResultPart::of(&whole, offset, limit).unwrap();
        assert_eq!(part(0, PART_MIN).text().len(), 1023);
        assert!(part(0, PART_MIN).is_long_enough());
        assert!(!part(0, PART_MIN - 4).is_long_enough());
        assert!(!part(0, 3).is_long_enough());
        assert_eq!(part(2997, PART_MIN).text(), "€");
        assert!(part(2997, PART_MIN).is_long_enough());
        for nothing in [1, 3000, u64::MAX] {
            assert_eq!(ResultPart::of(&whole, nothing, PART_MIN), None);
        }
        assert_eq!(ResultPart::of(&whole, 0, 2), None);
    }
}
