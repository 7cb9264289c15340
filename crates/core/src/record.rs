//! A record of the log, as text: a group of commits that become durable together.
//!
//! A byte that changed within a text or a number leaves JSON that can be read, so a record begins
//! with a checksum: the SHA-256 of its place in the log and of the JSON.

use std::fmt;

use agentry_protocol::ContentHash;
use serde::{Deserialize, Serialize};

use crate::Commit;

/// The format in which this version writes records. A version reads its own and all earlier ones.
pub const FORMAT: u32 = 1;

/// What a record holds.
#[derive(Debug, Serialize, Deserialize)]
struct Body<C> {
    format: u32,
    commits: Vec<C>,
}

/// The format of a record, whatever else it holds.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why a record cannot be read.
#[derive(Debug)]
pub enum RecordError {
    /// It is not what was written at its place.
    Damaged,
    /// It has a format of a later version.
    Later(u32),
    /// It is what was written, but no group of commits.
    Invalid(serde_json::Error),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("is damaged: it does not match its checksum"),
            Self::Later(format) => write!(
                f,
                "has the format {format}, and this agentry reads formats up to {FORMAT} only"
            ),
            Self::Invalid(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for RecordError {}

fn checksum(place: u64, json: &str) -> String {
    ContentHash::of(format!("{place} {json}").as_bytes()).to_string()
}

/// The text of a record at a place in the log.
///
/// # Errors
/// A commit cannot be written as JSON.
pub fn encode(place: u64, group: &[&Commit]) -> serde_json::Result<String> {
    let body = Body {
        format: FORMAT,
        commits: group.to_vec(),
    };
    let json = serde_json::to_string(&body)?;
    Ok(format!("{} {json}", checksum(place, &json)))
}

/// The commits of the record at a place in the log.
///
/// # Errors
/// Why it cannot be read.
pub fn decode(place: u64, text: &str) -> Result<Vec<Commit>, RecordError> {
    let json = match text.split_once(' ') {
        Some((sum, json)) if sum == checksum(place, json) => json,
        _ => return Err(RecordError::Damaged),
    };
    let Format { format } = serde_json::from_str(json).map_err(RecordError::Invalid)?;
    if format > FORMAT {
        return Err(RecordError::Later(format));
    }
    let Body { commits, .. } = serde_json::from_str(json).map_err(RecordError::Invalid)?;
    Ok(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A later agentry may have written the log.
    #[test]
    fn a_record_of_a_later_format_is_refused_by_name() {
        let json = r#"{"format":2,"commits":[{"Levitate":{}}]}"#;
        let error = decode(7, &format!("{} {json}", checksum(7, json))).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("format 2") && error.contains("up to 1"),
            "{error}"
        );
    }

    #[test]
    fn a_flipped_bit_anywhere_and_another_place_are_damage() {
        let reason = "posting stops here".to_owned();
        let commits = [Commit::Halt { reason }, Commit::Resume];
        let text = encode(7, &commits.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(decode(7, &text).unwrap(), commits);
        assert!(matches!(decode(8, &text), Err(RecordError::Damaged)));
        for at in 0..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let flipped = String::from_utf8(bytes).unwrap();
                assert!(
                    matches!(decode(7, &flipped), Err(RecordError::Damaged)),
                    "{at}"
                );
            }
        }
    }
}
