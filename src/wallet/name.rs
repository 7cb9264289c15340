//! Wallet names.

use std::fmt;
use std::str::FromStr;

/// A wallet's name: 1 to 64 of `[A-Za-z0-9._-]`, not beginning with `.` or `-`. It is a valid file
/// name on every system, and never a hidden file or a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalletName(String);

/// Why a text is not a wallet name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or too long.
    #[error("the wallet name has {0} bytes; a name has 1 to 64")]
    Length(usize),
    /// A character that is not allowed.
    #[error(
        "the wallet name {0:?} contains {1:?}; a name consists of letters, digits, `.`, `_` and `-`"
    )]
    Character(String, char),
    /// It begins with a dot or a dash.
    #[error("the wallet name {0:?} must not begin with `.` or `-`")]
    Start(String),
}

impl WalletName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WalletName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(wrong) = text
            .chars()
            .find(|c| !matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-'))
        {
            let start = text.chars().take(80).collect();
            return Err(NameError::Character(start, wrong));
        }
        if text.is_empty() || text.len() > 64 {
            return Err(NameError::Length(text.len()));
        }
        if text.starts_with(['.', '-']) {
            return Err(NameError::Start(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for WalletName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for good in ["a", "temp-agent1", "_A.b", &"x".repeat(64)] {
            assert!(good.parse::<WalletName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".password",
            "-x",
            "a/b",
            "a\\b",
            "a\0",
            "é",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<WalletName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_component_of_a_path(text in ".{0,70}") {
            if let Ok(name) = text.parse::<WalletName>() {
                let path = std::path::Path::new("dir").join(format!("{name}.json"));
                prop_assert_eq!(path.components().count(), 2);
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
