//! Splitting JSON text into the texts of its parts, without parsing them.
//!
//! There are two reasons not to parse an answer or a metadata column as a whole. One bad
//! transaction (a NaN, a lone surrogate, a million brackets) would make the whole text unreadable
//! and hide the others; after splitting, each is parsed alone. And unwanted parts need not be
//! parsed at all.
//!
//! Splitting is iterative and linear in the length of the text. It assumes what a JSON writer
//! guarantees, balanced brackets and closed strings, and checks nothing inside a part: the reader
//! of the part does.

use std::borrow::Cow;

use agentry_protocol::json::{Json, Limits};

/// The text cannot be split: it is not the expected kind of JSON value, or it is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct RawError {
    what: &'static str,
    at: usize,
}

/// The items of an array, one by one. After an error there are no more.
pub(crate) fn each(text: &[u8]) -> Each<'_> {
    Each {
        scan: Scan { text, at: 0 },
        next: Next::First,
    }
}

/// The items of a short array.
pub(crate) fn items(text: &[u8]) -> Result<Vec<&[u8]>, RawError> {
    each(text).collect()
}

/// See [`each`].
#[derive(Debug)]
pub(crate) struct Each<'a> {
    scan: Scan<'a>,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    First,
    Another,
    Nothing,
}

impl<'a> Each<'a> {
    fn item(&mut self) -> Result<Option<&'a [u8]>, RawError> {
        let is_first = self.next == Next::First;
        if is_first {
            self.scan.expect(b'[', "an array was expected")?;
        }
        if is_first && self.scan.close(b']') || !is_first && !self.scan.comma_or(b']')? {
            self.scan.end()?;
            return Ok(None);
        }
        self.next = Next::Another;
        self.scan.value().map(Some)
    }
}

impl<'a> Iterator for Each<'a> {
    type Item = Result<&'a [u8], RawError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == Next::Nothing {
            return None;
        }
        let item = self.item().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.next = Next::Nothing;
        }
        item
    }
}

/// The text of a key and the text of its value.
type Entry<'a> = (&'a [u8], &'a [u8]);

/// The entries of an object: the texts of the keys without their quotes, and of the values.
pub(crate) fn entries(text: &[u8]) -> Result<Vec<Entry<'_>>, RawError> {
    let mut scan = Scan { text, at: 0 };
    let mut entries = Vec::new();
    scan.expect(b'{', "an object was expected")?;
    if !scan.close(b'}') {
        loop {
            let key = scan.string()?;
            scan.expect(b':', "a colon was expected")?;
            entries.push((key, scan.value()?));
            if !scan.comma_or(b'}')? {
                break;
            }
        }
    }
    scan.end()?;
    Ok(entries)
}

/// An object whose values are looked up by key.
#[derive(Debug, Clone)]
pub(crate) struct Object<'a>(Vec<Entry<'a>>);

impl<'a> Object<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, RawError> {
        entries(text).map(Self)
    }

    /// The text of a value; of duplicate keys the last counts, as it does for CPython.
    pub(crate) fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| *value)
    }

    /// A string, if it is one.
    pub(crate) fn string(&self, key: &str) -> Option<Cow<'a, str>> {
        string(self.get(key)?)
    }

    /// A whole number of at most 64 bits, if it is one.
    pub(crate) fn unsigned(&self, key: &str) -> Option<u64> {
        std::str::from_utf8(self.get(key)?).ok()?.parse().ok()
    }

    /// A boolean, if it is one.
    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }
}

/// Reads the text of a string, if it is one.
pub(crate) fn string(text: &[u8]) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'"' | 0..=0x1f))
    {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    let json = Json::parse(text, Limits::default()).ok()?;
    json.root().as_str().map(|text| Cow::Owned(text.to_owned()))
}

#[derive(Debug)]
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn error<T>(&self, what: &'static str) -> Result<T, RawError> {
        Err(RawError { what, at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn close(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), RawError> {
        if self.close(byte) {
            Ok(())
        } else {
            self.error(what)
        }
    }

    /// True: another one follows.
    fn comma_or(&mut self, end: u8) -> Result<bool, RawError> {
        if self.close(b',') {
            Ok(true)
        } else if self.close(end) {
            Ok(false)
        } else {
            self.error("a comma or the end was expected")
        }
    }

    fn end(&mut self) -> Result<(), RawError> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.error("something follows the value")
        }
    }

    /// A string's text, without its quotes.
    fn string(&mut self) -> Result<&'a [u8], RawError> {
        self.expect(b'"', "a string was expected")?;
        let start = self.at;
        self.close_string()?;
        Ok(&self.text[start..self.at - 1])
    }

    /// Moves from inside a string to after its closing quote.
    fn close_string(&mut self) -> Result<(), RawError> {
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.error("a string is not closed")
    }

    /// The text of any value.
    fn value(&mut self) -> Result<&'a [u8], RawError> {
        self.space();
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None => return self.error("a value breaks off"),
                Some(b'"') => {
                    self.at += 1;
                    self.close_string()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') if depth > 0 => self.at += 1,
                Some(b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') => {
                    return self.error("a value was expected");
                }
                Some(_) => self.scalar(),
            }
            if depth == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }

    /// A number or a word, up to the character that ends it.
    fn scalar(&mut self) {
        while let Some(byte) = self.peek() {
            if matches!(
                byte,
                b'{' | b'[' | b'}' | b']' | b',' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r'
            ) {
                return;
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(parts: &[&'a [u8]]) -> Vec<&'a str> {
        parts
            .iter()
            .map(|part| std::str::from_utf8(part).unwrap())
            .collect()
    }

    #[test]
    fn items_are_cut_and_not_read() {
        let text = br#" [ 1, {"a":[1,2,{"]":"}"}]} ,"x\"],[\\", NaN , [[ ]],-1e999, null] "#;
        assert_eq!(
            texts(&items(text).unwrap()),
            [
                "1",
                r#"{"a":[1,2,{"]":"}"}]}"#,
                r#""x\"],[\\""#,
                "NaN",
                "[[ ]]",
                "-1e999",
                "null"
            ]
        );
        assert!(items(b"[]").unwrap().is_empty());
        assert!(items(b" [ ] ").unwrap().is_empty());
    }

    #[test]
    fn entries_are_found_by_key_and_the_last_wins() {
        let object = Object::parse(br#"{"a": "x\ny", "n":17, "b":true, "a": "last", "o":{"a":1}}"#);
        let object = object.unwrap();
        assert_eq!(object.string("a").unwrap(), "last");
        assert_eq!(object.unsigned("n"), Some(17));
        assert_eq!(object.boolean("b"), Some(true));
        assert_eq!(object.get("o"), Some(&br#"{"a":1}"#[..]));
        assert_eq!(object.get("missing"), None);
        assert_eq!(object.unsigned("a"), None);
        assert_eq!(string(br#""x\ny\u00e9""#).unwrap(), "x\ny\u{e9}");
        assert_eq!(string(br#""\ud800""#), None);
    }

    #[test]
    fn broken_texts_are_errors() {
        for text in [
            "", "[", "[1", "[1,", "[1,]", "[1 2]", "[1]]", "{}", "[\"a]", "[\"a\\", "[{]", "[,1]",
        ] {
            assert!(items(text.as_bytes()).is_err(), "{text}");
        }
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[]",
            "{\"a\":1}x",
        ] {
            assert!(entries(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        let mut text = vec![b'['; 2_000_000];
        text.extend(vec![b']'; 2_000_000]);
        assert_eq!(items(&text).unwrap().len(), 1);
        assert!(items(&text[..3_999_999]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(
            proptest::sample::select(&br#"[]{},:"\ 1an"#[..]), 0..40,
        )) {
            let _ = items(&text);
            let _ = entries(&text);
        }
    }
}
