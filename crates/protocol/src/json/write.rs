//! Events to text, character for character what CPython's `json` writes.

use super::number::{Number, Repr, write_float};
use super::reference::JsonRef;
use super::walk::Event;

/// One of the two canonical spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `separators=(",", ":")`: the hashed and posted text.
    Compact,
    /// `json.dumps`'s default: the signed text.
    Spaced,
}

impl Style {
    fn comma(self) -> &'static str {
        match self {
            Self::Compact => ",",
            Self::Spaced => ", ",
        }
    }

    fn colon(self) -> &'static str {
        match self {
            Self::Compact => ":",
            Self::Spaced => ": ",
        }
    }
}

/// Appends a string as `ensure_ascii` spells it: every character except printable ASCII (DEL is
/// not) is escaped, in lower case, and beyond U+FFFF as a surrogate pair.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, character) in text.char_indices() {
        if matches!(character, ' '..='~') && character != '"' && character != '\\' {
            continue;
        }
        out.push_str(text.get(plain..at).unwrap_or_default());
        plain = at + character.len_utf8();
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str("\\u");
                    for shift in [12, 8, 4, 0] {
                        let digit = u32::from(*unit >> shift & 0xf);
                        out.push(char::from_digit(digit, 16).unwrap_or('0'));
                    }
                }
            }
        }
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// Appends a number.
pub(crate) fn write_number(out: &mut String, number: &Number) {
    match number.repr() {
        Repr::Integer(value) => out.push_str(&value.to_string()),
        Repr::Big(digits) => out.push_str(digits),
        Repr::Float(value) => write_float(out, *value),
    }
}

/// Appends a value.
pub(crate) fn write_value(out: &mut String, value: JsonRef<'_>, style: Style) {
    // Whether a separator is due before the next child.
    let mut due = false;
    for event in value.walk() {
        if due && !matches!(event, Event::EndArray | Event::EndObject(_)) {
            out.push_str(style.comma());
        }
        due = true;
        match event {
            Event::Null => out.push_str("null"),
            Event::Boolean(true) => out.push_str("true"),
            Event::Boolean(false) => out.push_str("false"),
            Event::Integer(value) => out.push_str(&value.to_string()),
            Event::BigInteger(digits) => out.push_str(digits),
            Event::Float(value) => write_float(out, value),
            Event::String(text) => write_string(out, text),
            Event::BeginArray => {
                out.push('[');
                due = false;
            }
            Event::EndArray => out.push(']'),
            Event::BeginObject => {
                out.push('{');
                due = false;
            }
            Event::Key(key) => {
                write_string(out, key);
                out.push_str(style.colon());
                due = false;
            }
            Event::EndObject(_) => out.push('}'),
        }
    }
}

/// A value of an object that is written without being built.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field<'a> {
    Null,
    Text(&'a str),
    Number(&'a Number),
    Json(JsonRef<'a>),
}

/// Writes an object whose fields come in canonical order.
pub(crate) fn write_object(style: Style, fields: &[(&str, Field<'_>)]) -> String {
    debug_assert!(
        fields.is_sorted_by(|(a, _), (b, _)| a < b),
        "fields come sorted, each once"
    );
    let mut out = String::with_capacity(512);
    out.push('{');
    for (index, (key, field)) in fields.iter().enumerate() {
        if index > 0 {
            out.push_str(style.comma());
        }
        write_string(&mut out, key);
        out.push_str(style.colon());
        match field {
            Field::Null => out.push_str("null"),
            Field::Text(text) => write_string(&mut out, text),
            Field::Number(number) => write_number(&mut out, number),
            Field::Json(value) => write_value(&mut out, *value, style),
        }
    }
    out.push('}');
    out
}
