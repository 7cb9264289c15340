//! The lines of a stream of server-sent events (WHATWG HTML, section 9.2), of bounded length.

use super::failure::Failure;

/// What a line with data begins with.
const DATA: &[u8] = b"data:";

/// What the last data is.
const DONE: &[u8] = b"[DONE]";

/// Puts lines together from what comes in pieces of any size.
#[derive(Debug)]
pub(super) struct Lines {
    open: Vec<u8>,
    max: usize,
}

/// What a line says that means something here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// An object.
    Object(Vec<u8>),
    /// There will be no other.
    Done,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            open: Vec::new(),
            max,
        }
    }

    /// Takes what came; what the lines say that ended with it. Of an event, each line of data
    /// counts by itself: an object of this protocol stands on one line.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Data>, Failure> {
        let mut found = Vec::new();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.open.len() + piece.len() > self.max {
                let reason = format!("a line of its stream is longer than {} bytes", self.max);
                return Err(Failure::BadAnswer(reason));
            }
            self.open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                found.extend(data(&self.open));
                self.open.clear();
            }
        }
        Ok(found)
    }

    /// What the last line says, where no line end follows it.
    pub(super) fn last(&self) -> Option<Data> {
        data(&self.open)
    }
}

/// What a line says; nothing, if it is empty, a comment, or another field than data.
fn data(line: &[u8]) -> Option<Data> {
    let data = line.strip_prefix(DATA)?.trim_ascii();
    match data {
        b"" => None,
        DONE => Some(Data::Done),
        object => Some(Data::Object(object.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Data {
        Data::Object(text.as_bytes().to_vec())
    }

    #[test]
    fn it_makes_no_difference_how_the_stream_comes() {
        let stream = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\nid: 5\ndata:{\"b\":2}\n\ndata:\ndata: [DONE]\rdata: {}";
        for size in 1..stream.len() {
            let mut lines = Lines::new(100);
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                found.extend(lines.take(piece).unwrap());
            }
            let expected = [object("{\"a\":1}"), object("{\"b\":2}"), Data::Done];
            assert_eq!(found, expected, "pieces of {size}");
            assert_eq!(lines.last(), Some(object("{}")));
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_refused() {
        let mut lines = Lines::new(100);
        for _ in 0..10 {
            lines.take(&[b'x'; 10]).unwrap();
        }
        assert!(matches!(lines.take(b"x"), Err(Failure::BadAnswer(_))));
    }
}
