//! Addresses in lists, by their names.

use super::output::printable;
use crate::ops::names::{Name, Names};

/// Maximum length of a displayed name, in characters.
const SHOWN: usize = 40;

/// Addresses up to this length are shown whole.
const SHORT: usize = 20;

/// An address for display, by its name. An announced name is followed by its address.
pub(super) fn shown(address: &str, names: &Names<'_>) -> String {
    match names.of(address) {
        Some(Name::Own(name)) => printable(&name, SHOWN),
        Some(Name::Announced(name)) => {
            format!("{} ({})", printable(&name, SHOWN), short(address))
        }
        None => short(address),
    }
}

/// The beginning and the end of an address, for display.
fn short(address: &str) -> String {
    let shown = printable(address, usize::MAX);
    let characters: Vec<char> = shown.chars().collect();
    let (Some(begin), Some(end)) = (
        characters.get(..12),
        characters.get(characters.len().saturating_sub(6)..),
    ) else {
        return shown;
    };
    if characters.len() <= SHORT {
        return shown;
    }
    let (begin, end): (String, String) = (begin.iter().collect(), end.iter().collect());
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn addresses_are_told_by_both_their_ends() {
        let address = "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7";
        assert_eq!(short(address), "ait1d04ab232…224ab7");
        assert_eq!(short("ait1nobody"), "ait1nobody");
        assert_eq!(short(""), "");
        assert_eq!(short("a\u{1b}b"), "a\\u{1b}b");
    }
}
