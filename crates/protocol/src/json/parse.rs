//! Text to arena: a strict reader that keeps open containers on the heap.

use super::arena::{Arena, Builder, Node, Open};
use super::{JsonError, Limits};

pub(super) fn parse(text: &[u8], limits: Limits) -> Result<Arena, JsonError> {
    if text.len() > limits.max_bytes {
        return Err(JsonError::TooLarge {
            bytes: text.len(),
            limit: limits.max_bytes,
        });
    }
    let text = std::str::from_utf8(text).map_err(|error| JsonError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let mut parser = Parser {
        text,
        at: 0,
        max_depth: limits.max_depth,
        builder: Builder::with_room(text.len()),
    };
    parser.document()?;
    Ok(parser.builder.finish())
}

struct Parser<'a> {
    text: &'a str,
    /// The byte that is read next; always at the beginning of a character.
    at: usize,
    max_depth: usize,
    builder: Builder,
}

impl<'a> Parser<'a> {
    /// One value, and nothing after it.
    fn document(&mut self) -> Result<(), JsonError> {
        loop {
            let complete = self.value()?;
            if complete && !self.after_value()? {
                return Ok(());
            }
        }
    }

    /// A scalar or an empty container (true), or the beginning of a container up to its first value
    /// (false).
    fn value(&mut self) -> Result<bool, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'[') => {
                self.descend()?;
                self.builder.begin_array();
                self.skip_space();
                if self.peek() != Some(b']') {
                    return Ok(false);
                }
                self.at += 1;
                self.builder.end_array();
            }
            Some(b'{') => {
                self.descend()?;
                self.builder.begin_object();
                self.skip_space();
                if self.peek() != Some(b'}') {
                    self.key("a key or '}'")?;
                    return Ok(false);
                }
                self.at += 1;
                self.builder.end_object(false);
            }
            Some(b'"') => {
                let start = self.string()?;
                self.builder.string_since(start);
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        }
        Ok(true)
    }

    /// Reads the text after a value: closing brackets, then a comma (true: another value follows)
    /// or the end (false).
    fn after_value(&mut self) -> Result<bool, JsonError> {
        loop {
            self.skip_space();
            match (self.builder.open(), self.peek()) {
                (None, None) => return Ok(false),
                (None, Some(_)) => return Err(JsonError::Trailing { at: self.at }),
                (Some(Open::Array), Some(b']')) => {
                    self.at += 1;
                    self.builder.end_array();
                }
                (Some(Open::Object), Some(b'}')) => {
                    self.at += 1;
                    self.builder.end_object(false);
                }
                (Some(open), Some(b',')) => {
                    self.at += 1;
                    if open == Open::Object {
                        self.skip_space();
                        self.key("a key")?;
                    }
                    return Ok(true);
                }
                (Some(Open::Array), _) => return Err(self.unexpected("',' or ']'")),
                (Some(Open::Object), _) => return Err(self.unexpected("',' or '}'")),
            }
        }
    }

    /// Counts a container that opens here.
    fn descend(&mut self) -> Result<(), JsonError> {
        if self.builder.depth() >= self.max_depth {
            return Err(JsonError::TooDeep {
                at: self.at,
                limit: self.max_depth,
            });
        }
        self.at += 1;
        Ok(())
    }

    fn key(&mut self, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected(expected));
        }
        let start = self.string()?;
        self.builder.key_since(start);
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("':'"));
        }
        self.at += 1;
        Ok(())
    }

    /// Appends a string to the builder's text, and returns the offset where it begins.
    fn string(&mut self) -> Result<usize, JsonError> {
        let start = self.builder.text().len();
        self.at += 1;
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|byte| byte == b'"' || byte == b'\\' || byte < b' ')
                .ok_or(JsonError::UnexpectedEnd { expected: "'\"'" })?;
            self.builder
                .text()
                .push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start);
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    self.builder.text().push(character);
                }
                _ => return Err(JsonError::ControlCharacter { at: self.at }),
            }
        }
    }

    /// The character that an escape stands for.
    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        let code = self.rest().as_bytes().get(1).copied();
        self.at += 2;
        Ok(match code {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at = at;
                let unit = self.unit().ok_or(JsonError::Escape { at })?;
                match unit {
                    0xd800..=0xdbff => match self.unit() {
                        Some(low @ 0xdc00..=0xdfff) => {
                            let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                            char::from_u32(code).ok_or(JsonError::LoneSurrogate { at })?
                        }
                        _ => return Err(JsonError::LoneSurrogate { at }),
                    },
                    _ => char::from_u32(unit).ok_or(JsonError::LoneSurrogate { at })?,
                }
            }
            Some(_) => return Err(JsonError::Escape { at }),
            None => {
                return Err(JsonError::UnexpectedEnd {
                    expected: "an escape",
                });
            }
        })
    }

    /// The UTF-16 unit of the `\uXXXX` at this position.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest().strip_prefix("\\u")?.get(..4)?;
        let mut unit = 0;
        for digit in digits.chars() {
            unit = unit << 4 | digit.to_digit(16)?;
        }
        self.at += 6;
        Some(unit)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let at = self.at;
        let rest = self.rest();
        if rest.starts_with("-Infinity") {
            return Err(JsonError::NonFiniteWord {
                at,
                word: "-Infinity",
            });
        }
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // A zero is not followed by digits.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut float = false;
        if self.peek() == Some(b'.') {
            float = true;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            float = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = rest.get(..self.at - at).unwrap_or_default();
        if !float {
            self.builder
                .integer_text(if text == "-0" { "0" } else { text });
            return Ok(());
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => self.builder.value(Node::Float(value)),
            _ => return Err(JsonError::FloatRange { at }),
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(self.unexpected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn word(&mut self) -> Result<(), JsonError> {
        let at = self.at;
        let rest = self.rest();
        for (word, node) in [
            ("null", Node::Null),
            ("true", Node::Boolean(true)),
            ("false", Node::Boolean(false)),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                self.builder.value(node);
                return Ok(());
            }
        }
        for word in ["NaN", "Infinity"] {
            if rest.starts_with(word) {
                return Err(JsonError::NonFiniteWord { at, word });
            }
        }
        Err(self.unexpected("a value"))
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn unexpected(&self, expected: &'static str) -> JsonError {
        match self.rest().chars().next() {
            Some(found) => JsonError::Unexpected {
                at: self.at,
                found,
                expected,
            },
            None => JsonError::UnexpectedEnd { expected },
        }
    }
}
