//! Text from a node, made safe for an error or a log line.

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
}
