//! Text from a node, made safe for an error or a log line.

use std::fmt::Write as _;

/// How many characters of a node's own text are kept.
const LONGEST: usize = 500;

/// One line of at most 500 characters, control characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut room = LONGEST;
    for character in text.trim().chars() {
        if room == 0 {
            line.push('…');
            break;
        }
        room -= 1;
        // Control characters, and those that reorder or hide text on a terminal.
        let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if character.is_control() || hidden {
            // Writing to a String cannot fail.
            let _ = write!(line, "\\u{{{:x}}}", u32::from(character));
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_length_is_bounded() {
        assert_eq!(
            one_line("  a\nb\u{1b}[31m\u{202e}é "),
            "a\\u{a}b\\u{1b}[31m\\u{202e}é"
        );
        assert_eq!(one_line(&"x".repeat(9_000)).chars().count(), LONGEST + 1);
        assert_eq!(one_line(""), "");
    }
}
