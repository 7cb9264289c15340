//! Showing untrusted text safely: nothing in it controls a terminal, hides, or reverses the text
//! next to it.
//!
//! Text from a chain, a node, a model or a file is untrusted. It is shown in three places, and each
//! escapes the same [hidden](is_hidden) characters in its own notation: a table or a sentence as
//! `\u{202e}` ([`escaped`], [`line()`], [`printable`]), JSON as `\u202e` ([`json_escaped`]), and the
//! log as either.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Starts a control sequence of a terminal.
const ESCAPE: char = '\u{1b}';

/// Whether a character is invisible and changes how its neighbours are shown: control characters
/// (C0, DEL and C1), line and paragraph separators, direction controls, joiners, fillers and other
/// zero-width characters, and tags.
///
/// Variation selectors 1 to 16 are not among them, since emoji use them.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A text on one line, with hidden characters escaped, cut after `limit` characters.
pub fn printable(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}… ({} bytes)", line(&text[..end]), text.len()),
        None => line(text).into_owned(),
    }
}

/// A text on one line, with hidden characters escaped.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, push)
}

/// A text of several lines, with hidden characters escaped except newlines and tabs.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let hidden = |character| is_hidden(character) && !matches!(character, '\n' | '\t');
    replaced(text, hidden, push)
}

/// As [`escaped`], but keeps the terminal sequences for colour and weight.
pub fn styled(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPE) {
        return escaped(text);
    }
    let mut parts = text.split(ESCAPE);
    let mut shown = parts.next().map(escaped).unwrap_or_default().into_owned();
    for part in parts {
        let end = style_end(part).unwrap_or(0);
        let (style, rest) = part.split_at(end);
        if end == 0 {
            push(&mut shown, ESCAPE);
        } else {
            shown.push(ESCAPE);
        }
        let _ = write!(shown, "{style}{}", escaped(rest));
    }
    Cow::Owned(shown)
}

/// The end of a style sequence at the start of a text: `[`, digits and semicolons, then `m`.
fn style_end(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix('[')?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters.get(end..)?.starts_with('m').then_some(end + 2)
}

/// A JSON document with the hidden characters in its strings written as `\uXXXX`, which means the
/// same. Everything outside of strings is unchanged.
pub fn json_escaped(json: &str) -> Cow<'_, str> {
    // Outside of strings, JSON has spaces and newlines; within them, its writer escapes C0.
    let hidden = |character: char| is_hidden(character) && character >= '\u{7f}';
    replaced(json, hidden, |text, character| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(text, "\\u{unit:04x}");
        }
    })
}

fn push(text: &mut String, character: char) {
    if is_hidden(character) {
        text.extend(character.escape_default());
    } else {
        text.push(character);
    }
}

fn replaced(
    text: &str,
    hidden: impl Fn(char) -> bool,
    write: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if hidden(character) {
            write(&mut shown, character);
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind: C0, DEL, C1, soft hyphen, direction, width, lines, fillers, tags.
    const HIDDEN: &str = "\u{1b}\u{7f}\u{80}\u{9b}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\
                          \u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{3164}\u{feff}\u{fff9}\u{e0041}";

    #[test]
    fn nothing_of_others_steers_the_terminal() {
        assert_eq!(printable("ping é 😀 ❤️", 80), "ping é 😀 ❤️");
        assert_eq!(printable("\u{1b}[31mred\r\n", 80), "\\u{1b}[31mred\\r\\n");
        assert_eq!(printable("a\u{202e}b", 80), "a\\u{202e}b");
        assert_eq!(printable("aaaa", 3), "aaa… (4 bytes)");
        assert_eq!(printable("aaa", 3), "aaa");
        for shown in [printable(HIDDEN, 80), escaped(HIDDEN).into_owned()] {
            assert!(shown.is_ascii(), "{shown:?}");
            assert_eq!(shown.matches('\\').count(), HIDDEN.chars().count());
        }
        assert_eq!(escaped("one\n\ttwo\u{9b}"), "one\n\ttwo\\u{9b}");
        assert!(matches!(escaped("as it is"), Cow::Borrowed(_)));
    }

    #[test]
    fn of_all_control_sequences_styles_alone_pass() {
        let text = "\u{1b}[1mbold\u{1b}[0m\n\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\u{1b}";
        assert_eq!(
            styled(text),
            "\u{1b}[1mbold\u{1b}[0m\n\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{9b}31m\\u{1b}"
        );
        assert!(!escaped(text).contains(ESCAPE));
        assert_eq!(styled("plain\n"), "plain\n");
    }

    #[test]
    fn json_means_the_same_and_shows_no_hidden_character() {
        let value = serde_json::json!({ HIDDEN: [HIDDEN, "é", 1], "b": "\u{9b}2J\n" });
        for written in [
            serde_json::to_string(&value).unwrap(),
            serde_json::to_string_pretty(&value).unwrap(),
        ] {
            let shown = json_escaped(&written);
            let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(read, value);
            assert!(!shown.chars().any(|c| is_hidden(c) && c != '\n'), "{shown}");
            assert!(
                shown.contains("\\u009b") && shown.contains("\\udb40\\udc41"),
                "{shown}"
            );
        }
    }
}
