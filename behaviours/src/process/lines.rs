//! Lines of bounded length from a pipe.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// What happens to a line over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlong {
    /// It ends the reading.
    Refuse,
    /// Its beginning is taken for the whole, and the rest is passed over.
    Cut,
}

/// What comes out of the pipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A line without its end, or what stood behind the last one.
    Line(Vec<u8>),
    /// A line over the limit, where those are refused.
    Overlong,
    /// Nothing more.
    End,
}

/// Reads lines. It holds at most the limit and one chunk.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    limit: usize,
    overlong: Overlong,
    buffer: Vec<u8>,
    /// How much of the buffer is known to hold no end of a line.
    searched: usize,
    /// Whether the rest of a line that was cut is passed over.
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
            searched: 0,
            skipping: false,
            ended: false,
        }
    }

    /// The next line. Dropping the future loses nothing: what was read stays in the buffer.
    pub(super) async fn next(&mut self) -> io::Result<Found> {
        loop {
            if let Some(found) = self.take() {
                return Ok(found);
            }
            if self.ended {
                return Ok(Found::End);
            }
            self.buffer.reserve(CHUNK);
            if (&mut self.source)
                .take(CHUNK as u64)
                .read_buf(&mut self.buffer)
                .await?
                == 0
            {
                self.ended = true;
            }
        }
    }

    /// A line from what is in the buffer.
    fn take(&mut self) -> Option<Found> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at;
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.truncate(end);
                self.searched = 0;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                if line.len() > self.limit {
                    return Some(self.too_long(line));
                }
                return Some(Found::Line(line));
            }
            self.searched = self.buffer.len();
            if self.skipping {
                self.clear();
                return None;
            }
            if self.buffer.len() > self.limit {
                let line = std::mem::take(&mut self.buffer);
                self.clear();
                self.skipping = true;
                return Some(self.too_long(line));
            }
            if self.ended && !self.buffer.is_empty() {
                let line = std::mem::take(&mut self.buffer);
                self.clear();
                return Some(Found::Line(line));
            }
            return None;
        }
    }

    fn too_long(&self, mut line: Vec<u8>) -> Found {
        match self.overlong {
            Overlong::Refuse => Found::Overlong,
            Overlong::Cut => {
                line.truncate(self.limit);
                Found::Line(line)
            }
        }
    }

    fn clear(&mut self) {
        self.buffer.clear();
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out a text in pieces of one size.
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
            "cut once, and the rest passed over"
        );
        assert_eq!(read(&flood, 4096, 10, Overlong::Refuse), [Found::Overlong]);
    }
}
