//! A parser for streams of bounded server-sent events (WHATWG HTML, section 9.2) or lines of JSON.

use serde::de::IgnoredAny;

/// The data that marks the end of a stream.
const DONE: &[u8] = b"[DONE]";

/// The byte order mark that some programs write first.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The format of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-sent events.
    Events,
    /// One JSON value on each line.
    Lines,
}

/// Parses a stream that is received in pieces of any size.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    /// The incomplete line.
    open: Vec<u8>,
    /// The data of the incomplete event.
    data: Vec<u8>,
    /// Whether that event is an error.
    error: bool,
    max: usize,
    /// Whether the last byte was a carriage return: a line feed after it does not end another line.
    after_return: bool,
    /// Whether no line was received yet.
    first: bool,
}

/// A line or an event of a stream is longer than this many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {0} bytes")]
pub(super) struct Overlong(usize);

/// A relevant item of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// An object.
    Object(Vec<u8>),
    /// An error, as text in any format.
    Error(Vec<u8>),
    /// The end of the stream.
    Done,
}

impl Lines {
    /// A parser for lines and events of at most this many bytes.
    pub(super) fn new(form: Form, max: usize) -> Self {
        Self {
            form,
            open: Vec::new(),
            data: Vec::new(),
            error: false,
            max,
            after_return: false,
            first: true,
        }
    }

    /// Parses received bytes. Returns the items that are complete.
    ///
    /// # Errors
    /// A line or an event is too long.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Data>, Overlong> {
        let mut found = Vec::new();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if std::mem::take(&mut self.after_return) && piece == b"\n" {
                continue;
            }
            if self.open.len() + self.data.len() + piece.len() > self.max {
                return Err(Overlong(self.max));
            }
            let (text, end) = match piece.split_last() {
                Some((end @ (b'\n' | b'\r'), text)) => (text, Some(*end)),
                _ => (piece, None),
            };
            self.open.extend_from_slice(text);
            if let Some(end) = end {
                self.after_return = end == b'\r';
                let line = std::mem::take(&mut self.open);
                self.line(&line, &mut found);
            }
        }
        Ok(found)
    }

    /// The last item, if the stream ends without an end of line.
    pub(super) fn last(mut self) -> Vec<Data> {
        let mut found = Vec::new();
        let line = std::mem::take(&mut self.open);
        self.line(&line, &mut found);
        self.dispatch(&mut found);
        found
    }

    fn line(&mut self, line: &[u8], found: &mut Vec<Data>) {
        let mut line = line;
        if std::mem::take(&mut self.first) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        match self.form {
            Form::Lines => {
                self.data.extend_from_slice(line);
                self.dispatch(found);
            }
            Form::Events => self.field(line, found),
        }
    }

    /// Parses a line of an event: a field, a comment, or the end of the event.
    fn field(&mut self, line: &[u8], found: &mut Vec<Data>) {
        if line.is_empty() {
            return self.dispatch(found);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.error = value.trim_ascii() == b"error",
            // Older builds of llama.cpp's server use this name for the field.
            b"error" => found.push(Data::Error(value.to_vec())),
            b"data" => {
                let is_first = self.data.is_empty();
                if !is_first {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                // An object is on one line, and some services omit the empty line after it.
                if is_first && is_whole(value) {
                    self.say(found);
                }
            }
            // A comment, which keeps the connection alive, or an irrelevant field.
            _ => {}
        }
    }

    /// Ends the event.
    fn dispatch(&mut self, found: &mut Vec<Data>) {
        self.say(found);
        self.error = false;
    }

    fn say(&mut self, found: &mut Vec<Data>) {
        let data = std::mem::take(&mut self.data);
        let data = data.trim_ascii();
        match data {
            b"" => {}
            error if self.error => found.push(Data::Error(error.to_vec())),
            DONE => found.push(Data::Done),
            object => found.push(Data::Object(object.to_vec())),
        }
    }
}

/// Whether this line is complete.
fn is_whole(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    data == DONE || serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Data {
        Data::Object(text.as_bytes().to_vec())
    }

    fn error(text: &str) -> Data {
        Data::Error(text.as_bytes().to_vec())
    }

    /// The items of a stream, the same for every size of pieces.
    fn says(form: Form, stream: &str) -> Vec<Data> {
        let mut all: Option<Vec<Data>> = None;
        for size in 1..=stream.len() {
            let mut lines = Lines::new(form, 1000);
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                found.extend(lines.take(piece).unwrap());
            }
            found.extend(lines.last());
            let expected = all.get_or_insert_with(|| found.clone());
            assert_eq!(&found, expected, "pieces of {size}");
        }
        all.unwrap_or_default()
    }

    #[test]
    fn events_are_found_in_every_spelling() {
        for (stream, expected) in [
            (
                ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\nid: 5\ndata:{\"b\":2}\n\ndata:\n\ndata: [DONE]\rdata: {}",
                vec![
                    object("{\"a\":1}"),
                    object("{\"b\":2}"),
                    Data::Done,
                    object("{}"),
                ],
            ),
            ("\u{feff}data: {\"a\":1}\n\n", vec![object("{\"a\":1}")]),
            // One object on several lines.
            (
                "data: {\r\ndata: \"a\": 1\r\ndata: }\r\n\r\ndata: [DONE]\r\n\r\n",
                vec![object("{\n\"a\": 1\n}"), Data::Done],
            ),
            // No empty line between two objects.
            (
                "data: {\"a\":1}\ndata: {\"b\":2}\n",
                vec![object("{\"a\":1}"), object("{\"b\":2}")],
            ),
            (
                "event: error\ndata: out of memory\n\ndata: {}\n\n",
                vec![error("out of memory"), object("{}")],
            ),
            (
                "event: error\ndata: {\"message\":\"no\"}\n\n",
                vec![error("{\"message\":\"no\"}")],
            ),
            ("error: {\"code\":400}\n\n", vec![error("{\"code\":400}")]),
            ("data\n\nretry: 5\n\n:\n\n", vec![]),
        ] {
            assert_eq!(says(Form::Events, stream), expected, "{stream:?}");
        }
    }

    #[test]
    fn lines_of_json_are_objects() {
        let stream = "\u{feff}{\"a\":1}\n\r\n{\"b\":2}\r\n{\"c\"";
        let expected = [object("{\"a\":1}"), object("{\"b\":2}"), object("{\"c\"")];
        assert_eq!(says(Form::Lines, stream), expected);
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for piece in ["xxxxxxxxxx", "data: [\n"] {
            let mut lines = Lines::new(Form::Events, 100);
            let refused = (0..1000).any(|_| lines.take(piece.as_bytes()).is_err());
            assert!(refused, "{piece:?}");
        }
    }
}
