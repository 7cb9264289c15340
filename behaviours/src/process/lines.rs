//! A reader for lines of bounded length from a pipe.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of one read, in bytes.
const CHUNK: usize = 64 << 10;

/// How a line over the limit is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlong {
    /// It ends the reading.
    Refuse,
    /// It is cut at the limit, and the rest is skipped.
    Cut,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A line without its end, or the rest after the last line.
    Line(Vec<u8>),
    /// A line over the limit, if such lines are refused.
    Overlong,
    /// The end of the stream.
    End,
}

/// Reads lines. The buffer holds at most the limit and one chunk.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    limit: usize,
    overlong: Overlong,
    buffer: Vec<u8>,
    /// The start of the next line in the buffer; the lines before it were returned.
    start: usize,
    /// The position up to which the buffer was searched for the end of the next line.
    searched: usize,
    /// Whether the rest of a cut line is being skipped.
    skipping: bool,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(source: R, limit: usize, overlong: Overlong) -> Self {
        Self {
            source,
            limit,
            overlong,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            skipping: false,
            ended: false,
        }
    }

    /// The next line. Dropping the future loses no data: what was read stays in the buffer.
    pub(super) async fn next(&mut self) -> io::Result<Found> {
        loop {
            if let Some(found) = self.take() {
                return Ok(found);
            }
            if self.ended {
                return Ok(Found::End);
            }
            self.discard(self.start);
            self.buffer.reserve(CHUNK);
            let mut chunk = (&mut self.source).take(CHUNK as u64);
            if chunk.read_buf(&mut self.buffer).await? == 0 {
                self.ended = true;
            }
        }
    }

    /// The next line, if the buffer contains it.
    fn take(&mut self) -> Option<Found> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let at = unsearched.iter().position(|byte| *byte == b'\n');
            let whole = at.is_some();
            let end = at.map_or(self.buffer.len(), |at| self.searched + at);
            let line = self.buffer.get(self.start..end).unwrap_or_default();
            let found = if self.skipping {
                None
            } else if line.len() > self.limit {
                Some(self.too_long(line))
            } else if whole || self.ended && !line.is_empty() {
                Some(Found::Line(line.to_vec()))
            } else {
                None
            };
            self.searched = end + usize::from(whole);
            // The rest of a line that was cut is not returned.
            if whole || self.skipping || found.is_some() {
                self.start = self.searched;
                self.skipping = !whole && (self.skipping || found.is_some());
            }
            if found.is_some() || !whole {
                return found;
            }
        }
    }

    fn too_long(&self, line: &[u8]) -> Found {
        match self.overlong {
            Overlong::Refuse => Found::Overlong,
            Overlong::Cut => Found::Line(line.get(..self.limit).unwrap_or(line).to_vec()),
        }
    }

    /// Removes the beginning of the buffer.
    fn discard(&mut self, length: usize) {
        self.buffer.drain(..length);
        self.start -= length;
        self.searched -= length;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reader that returns a text in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let size = self.1.min(self.0.len()).min(buffer.remaining());
            let (piece, rest) = self.0.split_at(size);
            buffer.put_slice(piece);
            self.0 = rest;
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn read(text: &[u8], piece: usize, limit: usize, overlong: Overlong) -> Vec<Found> {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async {
                let mut lines = Lines::new(Pieces(text, piece), limit, overlong);
                let mut found = Vec::new();
                loop {
                    match lines.next().await.unwrap() {
                        Found::End => return found,
                        Found::Overlong => {
                            found.push(Found::Overlong);
                            return found;
                        }
                        line @ Found::Line(_) => found.push(line),
                    }
                }
            })
    }

    fn line(text: &str) -> Found {
        Found::Line(text.as_bytes().to_vec())
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(
            text in "[ab\n]{0,40}", piece in 1_usize..8, limit in 1_usize..6,
        ) {
            let mut whole: Vec<&str> = text.split('\n').collect();
            if whole.last() == Some(&"") {
                whole.pop();
            }
            let cut: Vec<Found> = whole.iter().map(|l| line(&l[..l.len().min(limit)])).collect();
            prop_assert_eq!(read(text.as_bytes(), piece, limit, Overlong::Cut), cut);

            let mut refused = Vec::new();
            for l in whole {
                if l.len() > limit {
                    refused.push(Found::Overlong);
                    break;
                }
                refused.push(line(l));
            }
            prop_assert_eq!(read(text.as_bytes(), piece, limit, Overlong::Refuse), refused);
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let flood = vec![b'x'; 1 << 20];
        assert_eq!(
            read(&flood, 4096, 10, Overlong::Cut),
            [line("xxxxxxxxxx")],
            "cut once, and the rest skipped"
        );
        assert_eq!(read(&flood, 4096, 10, Overlong::Refuse), [Found::Overlong]);
    }
}
