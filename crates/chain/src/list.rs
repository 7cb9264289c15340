//! Splitting the one long list of an answer into its items while the answer arrives.
//!
//! A node may answer with a list of any length. Its items are handed out one by one and are not
//! kept, so an answer takes no more memory than its longest item, however long it is. The text
//! around the list is small, and is kept for whoever reads it.
//!
//! This finds where items begin and end and checks nothing inside them: the reader of
//! an item does.

/// Why an answer cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It is not the kind of JSON that was expected.
    #[error("{0}")]
    Malformed(&'static str),
    /// The text around the list is too long.
    #[error("the text around its list is longer than {0} bytes")]
    RestTooLong(usize),
}

/// One item of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Its text.
    Text(&'a [u8]),
    /// It is longer than items may be; its text was discarded.
    TooLong,
}

/// Splits `{…, "key": [item, item, …], …}`.
#[derive(Debug)]
pub struct ListCutter {
    key: &'static str,
    longest_item: usize,
    longest_rest: usize,
    /// The text around the list, with an empty list in its place.
    rest: Vec<u8>,
    item: Vec<u8>,
    is_too_long: bool,
    place: Place,
    /// How deep the brackets are, around the list or within an item.
    depth: usize,
    string: Option<Escape>,
    /// Where in `rest` the text of the last string begins.
    string_start: usize,
    expects_key: bool,
    is_key: bool,
    list_was_seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// In the list. True: after a comma.
    List(bool),
}

/// Whether the next byte of a string is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    Yes,
}

impl ListCutter {
    /// A cutter of the list under `key`. Items and the text around the list may have so many bytes.
    pub fn new(key: &'static str, longest_item: usize, longest_rest: usize) -> Self {
        Self {
            key,
            longest_item,
            longest_rest,
            rest: Vec::new(),
            item: Vec::new(),
            is_too_long: false,
            place: Place::Outside,
            depth: 0,
            string: None,
            string_start: 0,
            expects_key: false,
            is_key: false,
            list_was_seen: false,
        }
    }

    /// Processes the next bytes of the answer, and hands out the items that end in them.
    ///
    /// # Errors
    /// The answer cannot be split.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        take: &mut (dyn FnMut(Item<'_>) + Send),
    ) -> Result<(), ListError> {
        while let Some((&byte, after)) = bytes.split_first() {
            if let Some(escape) = self.string {
                // Strings are usually long: as much of one as has arrived is processed at once.
                let end = match escape {
                    Escape::Yes => 0,
                    Escape::No => bytes
                        .iter()
                        .position(|byte| matches!(byte, b'"' | b'\\'))
                        .unwrap_or(bytes.len()),
                };
                if end > 0 {
                    let (text, after) = bytes.split_at(end);
                    self.store(text)?;
                    bytes = after;
                    continue;
                }
                self.store(&[byte])?;
                self.string = match (escape, byte) {
                    (Escape::No, b'"') => None,
                    (Escape::No, b'\\') => Some(Escape::Yes),
                    _ => Some(Escape::No),
                };
                if self.string.is_none() {
                    self.string_ended();
                }
            } else {
                match self.place {
                    Place::Outside => self.outside(byte)?,
                    Place::List(after_comma) => self.inside(byte, after_comma, take)?,
                }
            }
            bytes = after;
        }
        Ok(())
    }

    /// The answer has ended: returns the text around the list.
    ///
    /// # Errors
    /// It breaks off.
    pub fn finish(self) -> Result<Vec<u8>, ListError> {
        if self.place != Place::Outside || self.string.is_some() || self.depth > 0 {
            return Err(ListError::Malformed("it breaks off"));
        }
        Ok(self.rest)
    }

    fn string_ended(&mut self) {
        if self.place == Place::Outside && self.depth == 1 && self.expects_key {
            let text = self.rest.get(self.string_start..self.rest.len() - 1);
            self.is_key = text == Some(self.key.as_bytes());
        }
    }

    fn outside(&mut self, byte: u8) -> Result<(), ListError> {
        self.store(&[byte])?;
        match byte {
            b'"' => {
                self.string = Some(Escape::No);
                self.string_start = self.rest.len();
            }
            b'[' if self.depth == 1 && !self.expects_key && self.is_key => {
                if std::mem::replace(&mut self.list_was_seen, true) {
                    return Err(ListError::Malformed("it has its list twice"));
                }
                self.place = Place::List(false);
                self.depth = 0;
            }
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth == 1 {
                    self.expects_key = byte == b'{';
                }
            }
            b'}' | b']' => {
                let Some(depth) = self.depth.checked_sub(1) else {
                    return Err(ListError::Malformed("a bracket is closed that is not open"));
                };
                self.depth = depth;
            }
            b':' if self.depth == 1 => self.expects_key = false,
            b',' if self.depth == 1 => {
                self.expects_key = true;
                self.is_key = false;
            }
            _ => {}
        }
        Ok(())
    }

    fn inside(
        &mut self,
        byte: u8,
        after_comma: bool,
        take: &mut (dyn FnMut(Item<'_>) + Send),
    ) -> Result<(), ListError> {
        let is_empty = self.item.is_empty() && !self.is_too_long;
        match byte {
            b'"' => {
                self.string = Some(Escape::No);
                self.store(&[byte])?;
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.store(&[byte])?;
            }
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                self.store(&[byte])?;
            }
            b',' | b']' if self.depth == 0 => {
                let closes = byte == b']';
                match is_empty {
                    true if !closes || after_comma => {
                        return Err(ListError::Malformed("a value was expected in its list"));
                    }
                    true => {}
                    false => self.hand_out(take),
                }
                self.place = if closes {
                    self.depth = 1;
                    self.rest.push(byte);
                    Place::Outside
                } else {
                    Place::List(true)
                };
            }
            b'}' => return Err(ListError::Malformed("a bracket is closed that is not open")),
            b' ' | b'\t' | b'\n' | b'\r' if is_empty => {}
            _ => self.store(&[byte])?,
        }
        Ok(())
    }

    fn hand_out(&mut self, take: &mut (dyn FnMut(Item<'_>) + Send)) {
        if self.is_too_long {
            take(Item::TooLong);
        } else {
            take(Item::Text(self.item.trim_ascii_end()));
        }
        self.item.clear();
        self.is_too_long = false;
    }

    fn store(&mut self, bytes: &[u8]) -> Result<(), ListError> {
        match self.place {
            Place::Outside => {
                if self.rest.len() + bytes.len() > self.longest_rest {
                    return Err(ListError::RestTooLong(self.longest_rest));
                }
                self.rest.extend_from_slice(bytes);
            }
            Place::List(_) if self.is_too_long => {}
            Place::List(_) if self.item.len() + bytes.len() > self.longest_item => {
                self.is_too_long = true;
                self.item = Vec::new();
            }
            Place::List(_) => {
                // It grows by doubling, but never beyond the longest length of an item.
                let needed = self.item.len() + bytes.len();
                if needed > self.item.capacity() {
                    let goal = (self.item.capacity() * 2).min(self.longest_item);
                    let more = goal.max(needed) - self.item.len();
                    self.item.reserve_exact(more);
                }
                self.item.extend_from_slice(bytes);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;

    /// Splits a text that arrives in pieces of this size.
    fn cut(text: &str, size: usize) -> Result<(Vec<String>, String), ListError> {
        cut_longest(text, size, 20)
    }

    fn cut_longest(
        text: &str,
        size: usize,
        longest: usize,
    ) -> Result<(Vec<String>, String), ListError> {
        let mut cutter = ListCutter::new("list", longest, 100);
        let mut items = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            cutter.feed(piece, &mut |item| {
                items.push(match item {
                    Item::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    Item::TooLong => "too long".to_owned(),
                });
            })?;
        }
        Ok((items, String::from_utf8(cutter.finish()?).unwrap()))
    }

    #[test]
    fn the_list_is_cut_out_however_the_answer_arrives() {
        let long = format!("[{}]", "1,".repeat(30).trim_end_matches(','));
        let text = format!(
            r#" {{"a": {{"list":[9]}}, "b":["list"], "list" : [ 1, {{"x":[1,"],\""]}} ,"\\",{long},null ], "c":"list"}} "#
        );
        for size in [1, 2, 3, 7, 1_000] {
            let (items, rest) = cut(&text, size).unwrap();
            assert_eq!(
                items,
                ["1", r#"{"x":[1,"],\""]}"#, r#""\\""#, "too long", "null"],
                "{size}"
            );
            let object = raw::Object::parse(rest.as_bytes()).unwrap();
            assert_eq!(object.get("a"), Some(&br#"{"list":[9]}"#[..]));
            assert_eq!(object.get("list"), Some(&b"[]"[..]));
            assert_eq!(object.string("c").unwrap(), "list");
        }
    }

    #[test]
    fn an_answer_without_the_list_is_handed_on_whole() {
        for text in [
            r#"{"list":null}"#,
            r#"{"list":{"list":[1]}}"#,
            "[1]",
            r#"["list",[1]]"#,
            "17",
            "",
        ] {
            assert_eq!(cut(text, 3), Ok((Vec::new(), text.to_owned())), "{text}");
        }
        assert_eq!(cut(r#"{"list":[ ]}"#, 1).unwrap().1, r#"{"list":[]}"#);
    }

    #[test]
    fn broken_answers_are_errors() {
        for text in [
            "{",
            r#"{"list":["#,
            r#"{"list":[1"#,
            r#"{"list":[1,"#,
            r#"{"list":[1,]}"#,
            r#"{"list":[,1]}"#,
            r#"{"list":[1}]}"#,
            r#"{"list":["]}"#,
            r#"{"list":[1]"#,
            r#"{"list":[1],"list":[2]}"#,
            "}",
        ] {
            assert!(cut(text, 2).is_err(), "{text}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(200));
        assert_eq!(cut(&long, 9), Err(ListError::RestTooLong(100)));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_cutting_the_whole_text(
            text in proptest::collection::vec(
                proptest::sample::select(&br#"[]{},:"\ 1an"#[..]), 0..30,
            ),
            size in 1_usize..9,
        ) {
            let text = String::from_utf8(text).unwrap();
            let whole = format!(r#"{{"list":[{text}]}}"#);
            let cut = cut_longest(&whole, size, 50);
            if let Ok(items) = raw::items(format!("[{text}]").as_bytes()) {
                let items: Vec<String> = items
                    .into_iter()
                    .map(|item| String::from_utf8_lossy(item).into_owned())
                    .collect();
                proptest::prop_assert_eq!(cut.unwrap().0, items);
            }
        }
    }
}
