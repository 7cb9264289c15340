//! Texts of bounded length, for the fields of a message.
//!
//! The bound is part of the type, so every value fits its field: a written text always reads back.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// Why a text does not fit its field. Positions count characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// The text is empty, and may not be.
    #[error("it is empty")]
    Empty,
    /// The text is too long.
    #[error("it has {found} bytes, over the limit of {limit}")]
    TooLong {
        /// How many bytes it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A character is not allowed in the field.
    #[error("its character {position} is {found:?}, which is not allowed there")]
    Character {
        /// The character.
        found: char,
        /// Its position.
        position: usize,
    },
    /// A name looks like an address, and could be confused with one.
    #[error("it begins with \"ait1\", as an address does")]
    LikeAnAddress,
    /// The text is not the URL of a host.
    #[error("it is not the http or https URL of a host, without a user name")]
    NotAUrl,
}

fn check_length(text: &str, limit: usize) -> Result<(), BoundError> {
    if text.len() > limit {
        let found = text.len();
        return Err(BoundError::TooLong { found, limit });
    }
    Ok(())
}

fn check_characters(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), BoundError> {
    match text.chars().enumerate().find(|(_, found)| !allowed(*found)) {
        Some((index, found)) => Err(BoundError::Character {
            found,
            position: index + 1,
        }),
        None => Ok(()),
    }
}

macro_rules! bounded_text {
    ([$($generics:tt)*] $name:ty) => {
        impl<$($generics)*> $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<$($generics)*> fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl<$($generics)*> AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<$($generics)*> FromStr for $name {
            type Err = BoundError;

            fn from_str(text: &str) -> Result<Self, BoundError> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }
        }
    };
}

/// Any text of at most `MAX` bytes, such as a prompt. It may hold line ends and any other character
/// that an untrusted sender wrote: code that shows it on a terminal has to escape it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bounded<const MAX: usize>(Box<str>);

bounded_text!([const MAX: usize] Bounded<MAX>);

impl<const MAX: usize> Bounded<MAX> {
    /// The beginning of a text: as much of it as fits, truncated between characters.
    pub fn cut(text: &str) -> Self {
        Self(cut(text, MAX).into())
    }

    fn check(text: &str) -> Result<(), BoundError> {
        check_length(text, MAX)
    }
}

/// As much of a text as fits in `limit` bytes, truncated between characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let end = text.floor_char_boundary(limit);
    text.get(..end).unwrap_or_default()
}

/// A text on one line: 1 to `MAX` printable ASCII characters, space to `~`. Programs create and
/// compare it, and a terminal can show it without escapes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word<const MAX: usize>(Box<str>);

bounded_text!([const MAX: usize] Word<MAX>);

impl<const MAX: usize> Word<MAX> {
    fn check(text: &str) -> Result<(), BoundError> {
        if text.is_empty() {
            return Err(BoundError::Empty);
        }
        check_length(text, MAX)?;
        check_characters(text, |found| matches!(found, ' '..='~'))
    }
}

impl<const MAX: usize> serde::Serialize for Word<MAX> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> serde::Deserialize<'de> for Word<MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An absolute `http` or `https` URL of at most `MAX` bytes, in printable ASCII: with a host, and
/// without a user name, a password or a fragment. Scheme and host are checked for their characters
/// only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpUrl<const MAX: usize>(Box<str>);

bounded_text!([const MAX: usize] HttpUrl<MAX>);

impl<const MAX: usize> HttpUrl<MAX> {
    fn check(text: &str) -> Result<(), BoundError> {
        check_length(text, MAX)?;
        check_characters(text, |found| {
            matches!(found, '!'..='~') && !"\"#<>\\^`{|}".contains(found)
        })?;
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or(BoundError::NotAUrl)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let is_host = authority
            .chars()
            .all(|found| found.is_ascii_alphanumeric() || ".-_:[]".contains(found));
        if authority.is_empty() || authority.starts_with(':') || !is_host {
            return Err(BoundError::NotAUrl);
        }
        Ok(())
    }
}

/// Longest name of an agent, in bytes: the same limit as in agents.toml.
pub const AGENT_NAME_MAX: usize = 64;

/// The name of an agent: 1 to 64 of `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit, and
/// not with `ait1`, so that a name cannot be confused with an address. Case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(Box<str>);

bounded_text!([] AgentName);
serde_as_text!(AgentName, Self::from_str);

impl AgentName {
    fn check(text: &str) -> Result<(), BoundError> {
        if text.is_empty() {
            return Err(BoundError::Empty);
        }
        check_length(text, AGENT_NAME_MAX)?;
        check_characters(text, |found| {
            found.is_ascii_alphanumeric() || matches!(found, '.' | '_' | '-')
        })?;
        check_characters(text.get(..1).unwrap_or_default(), |found| {
            found.is_ascii_alphanumeric()
        })?;
        if text
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("ait1"))
        {
            return Err(BoundError::LikeAnAddress);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_in_bytes_and_cut_between_characters() {
        assert!("abcd".parse::<Bounded<4>>().is_ok());
        assert!("".parse::<Bounded<4>>().is_ok());
        assert_eq!(
            "aéé".parse::<Bounded<4>>(),
            Err(BoundError::TooLong { found: 5, limit: 4 })
        );
        assert_eq!(Bounded::<4>::cut("aéé").as_str(), "aé");
        assert_eq!(Bounded::<4>::cut("abcd").as_str(), "abcd");
        assert_eq!(Bounded::<1>::cut("é").as_str(), "");
    }

    #[test]
    fn a_word_is_on_one_line() {
        for good in ["a", " ", "llama3.1:8b", "org/model ~"] {
            assert!(good.parse::<Word<16>>().is_ok(), "{good}");
        }
        assert_eq!("".parse::<Word<4>>(), Err(BoundError::Empty));
        assert_eq!(
            "abcde".parse::<Word<4>>(),
            Err(BoundError::TooLong { found: 5, limit: 4 })
        );
        for (bad, found) in [
            ("a\n", '\n'),
            ("aé", 'é'),
            ("a\u{7f}", '\u{7f}'),
            ("a\u{202e}", '\u{202e}'),
        ] {
            let position = 2;
            assert_eq!(
                bad.parse::<Word<4>>(),
                Err(BoundError::Character { found, position })
            );
        }
    }

    #[test]
    fn a_name_is_never_taken_for_an_address() {
        for good in [
            "ponger",
            "a",
            "Agent-1.x_y",
            "0",
            &"n".repeat(64),
            "ait",
            "ait2x",
        ] {
            assert_eq!(good.parse::<AgentName>().unwrap().as_str(), good);
        }
        for bad in ["ait1", "ait1d04a", "AIT1x", "Ait1"] {
            assert_eq!(bad.parse::<AgentName>(), Err(BoundError::LikeAnAddress));
        }
        for bad in ["", ".a", "-a", "_a", "a b", "é", "a/b", &"n".repeat(65)] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_names_a_host_and_no_user() {
        for good in [
            "https://h",
            "http://127.0.0.1:1/a?b=c",
            "https://[::1]:8443/%20~",
        ] {
            assert_eq!(good.parse::<HttpUrl<64>>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "h",
            "https://",
            "https:///a",
            "https://:1",
            "https://u@h",
            "ftp://h",
            "HTTPS://h",
        ] {
            let found = bad.parse::<HttpUrl<64>>();
            assert_eq!(found, Err(BoundError::NotAUrl), "{bad}");
        }
        for bad in ["https://h/#a", "https://h/ a", "https://h/\n", "https://é"] {
            let found = bad.parse::<HttpUrl<64>>();
            assert!(matches!(found, Err(BoundError::Character { .. })), "{bad}");
        }
        assert!("https://h/".parse::<HttpUrl<10>>().is_ok());
        assert!("https://h/a".parse::<HttpUrl<10>>().is_err());
    }

    #[test]
    fn serde_checks_what_it_reads() {
        let name: AgentName = serde_json::from_str("\"ponger\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"ponger\"");
        assert!(serde_json::from_str::<AgentName>("\"a b\"").is_err());
        let word: Word<4> = serde_json::from_str("\"a b\"").unwrap();
        assert_eq!(serde_json::to_string(&word).unwrap(), "\"a b\"");
        assert!(serde_json::from_str::<Word<4>>("\"\"").is_err());
    }
}
