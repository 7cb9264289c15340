//! The names of agents, fleets and behaviour instances.

use super::document::Given;
use super::values::{Kind, Reader};

/// The longest name, in bytes.
const LONGEST: usize = 64;

/// The name that a key holds. An invalid one is reported.
pub(super) fn read(key: &str, given: &Given, reader: &mut Reader) -> Option<String> {
    let mut value = reader.unchecked(key, given);
    let name = String::read(&mut value)?;
    match check(&name) {
        Ok(()) => Some(name),
        Err(reason) => value.wrong(reason),
    }
}

/// Checks that a name is 1 to 64 of `[A-Za-z0-9._-]` and begins with a letter or digit.
///
/// # Errors
/// The reason, to be appended to the key.
fn check(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > LONGEST {
        return Err(format!(
            "{name:?} has {} bytes; a name has 1 to {LONGEST}",
            name.len()
        ));
    }
    if let Some(wrong) = name
        .chars()
        .find(|c| !matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-'))
    {
        return Err(format!(
            "{name:?} contains {wrong:?}; a name consists of letters, digits, `.`, `_` and `-`"
        ));
    }
    if name.starts_with(['.', '_', '-']) {
        return Err(format!("{name:?} must begin with a letter or a digit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names() {
        for good in ["a", "temp-agent1", "A.b_c", "0", &"x".repeat(64)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".a",
            "-a",
            "_a",
            "a b",
            "a/b",
            "é",
            "..",
            &"x".repeat(65),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
