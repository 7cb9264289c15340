//! What a stream is made of: server-sent events (WHATWG HTML, section 9.2), or lines of JSON; of
//! bounded length.

use serde::de::IgnoredAny;

use super::failure::Failure;

/// What the last data is.
const DONE: &[u8] = b"[DONE]";

/// What some programs write before everything else.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-sent events.
    Events,
    /// One JSON value on each line.
    Lines,
}

/// Puts a stream together from what comes in pieces of any size.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    /// The line that has no end yet.
    open: Vec<u8>,
    /// The data of the event that has no end yet.
    data: Vec<u8>,
    /// Whether that event is an error.
    error: bool,
    max: usize,
    /// Whether the last byte was a carriage return: a line feed behind it ends no other line.
    after_return: bool,
    /// Whether no line has come yet.
    first: bool,
}

/// What a stream says that means something here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// An object.
    Object(Vec<u8>),
    /// An error, in a text of any form.
    Error(Vec<u8>),
    /// There will be no other.
    Done,
}

impl Lines {
    /// A stream whose lines and events have at most so many bytes.
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

    /// Takes what came; what was said in it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Data>, Failure> {
        let mut found = Vec::new();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if std::mem::take(&mut self.after_return) && piece == b"\n" {
                continue;
            }
            if self.open.len() + self.data.len() + piece.len() > self.max {
                let reason = format!("an event of its stream is longer than {} bytes", self.max);
                return Err(Failure::BadAnswer(reason));
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

    /// What was said last, where no end follows it.
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

    /// A line of an event: a field, a comment, or the event's end.
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
            // Older builds of llama.cpp's server name the field so.
            b"error" => found.push(Data::Error(value.to_vec())),
            b"data" => {
                let is_first = self.data.is_empty();
                if !is_first {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                // An object stands on one line, and some services forget the empty line behind it.
                if is_first && is_whole(value) {
                    self.say(found);
                }
            }
            // A comment, which keeps the connection alive, or what does not matter here.
            _ => {}
        }
    }

    /// The event ends.
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

/// Whether nothing is missing of what this line says.
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

    /// What a stream says, however it comes.
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
