//! Text from a node, made safe for an error or a log line.

use agentry_protocol::untrusted::printable;

/// How many characters of a node's own text are kept.
const LONGEST: usize = 500;

/// One line of at most 500 characters, with hidden characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    printable(text.trim(), LONGEST)
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
        let cut = one_line(&"x".repeat(9_000));
        assert_eq!(cut, format!("{}… (9000 bytes)", "x".repeat(LONGEST)));
        assert_eq!(one_line(""), "");
    }
}
