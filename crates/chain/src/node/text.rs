//! Text made safe: a node's for an error or a log line, anyone's for a path.

use agentry_protocol::untrusted::line;

/// How many characters of a node's own text are kept.
const LONGEST: usize = 500;

/// One line of at most 500 characters, with hidden characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line(text.get(..end).unwrap_or_default())),
        None => line(text).into_owned(),
    }
}

/// A text as one segment of a path, or as a value in a query. A dot is encoded, too: two of them are no
/// segment.
pub(crate) fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown_and_length_is_bounded() {
        assert_eq!(
            one_line("  a\nb\u{1b}[31m\u{202e}\u{ad}é "),
            "a\\nb\\u{1b}[31m\\u{202e}\\u{ad}é"
        );
        assert_eq!(one_line(&"x".repeat(9_000)).chars().count(), LONGEST + 1);
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn an_address_is_one_segment() {
        assert_eq!(segment("ait1ab"), "ait1ab");
        assert_eq!(segment("../a?b#c/%"), "%2E%2E%2Fa%3Fb%23c%2F%25");
    }
}
