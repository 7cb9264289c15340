//! The standard error of a program: reports of progress, questions, and the last part for the log.

use agentry_sdk::Desk;
use agentry_sdk::protocol::command::Detail;
use agentry_sdk::task::Ask;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::run::BYTE_ORDER_MARK;
use crate::units::Time;

/// The size of the last part, in bytes.
const TAIL: usize = 2 << 10;

/// The longest line that can be a report of progress or a question, in bytes; a longer line is
/// ignored. A question has up to 4 KiB, and its schema up to 16 KiB.
const LINE: usize = 24 << 10;

/// The start of a line that reports progress.
const PROGRESS: &str = "progress ";

/// The start of a line that asks the submitter something; JSON follows.
const ASK: &str = "ask ";

/// A question, as a program writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskLine {
    question: String,
    schema: Option<Value>,
    within: Option<Time>,
}

/// Collects standard error.
#[derive(Default)]
struct Notes {
    /// The last part; at most twice [`TAIL`].
    tail: Vec<u8>,
    /// The incomplete last line; at most [`LINE`] and one byte more.
    line: Vec<u8>,
}

impl Notes {
    fn take(&mut self, bytes: &[u8], desk: &Desk) {
        self.tail
            .extend(bytes.iter().copied().skip(bytes.len().saturating_sub(TAIL)));
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = (LINE + 1).saturating_sub(self.line.len());
            self.line.extend(piece.iter().take(room));
            if piece.ends_with(b"\n") {
                self.report(desk);
                self.line.clear();
            }
        }
    }

    fn report(&self, desk: &Desk) {
        if self.line.len() > LINE {
            return;
        }
        let Ok(line) = std::str::from_utf8(&self.line) else {
            return;
        };
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if let Some((progress, note)) = read_progress(line) {
            desk.progress(progress, note);
        }
        match line.strip_prefix(ASK).map(serde_json::from_str::<AskLine>) {
            None => {}
            Some(Ok(line)) => {
                let mut ask = Ask::new(line.question);
                ask.schema = line.schema;
                ask.within = line.within.map_or(ask.within, |within| within.0);
                desk.put(ask);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a program's line that begins with `ask` is not a question");
            }
        }
    }

    fn into_tail(self) -> String {
        String::from_utf8_lossy(&self.tail).trim().to_owned()
    }
}

/// Parses a line such as `progress 0.5 half of it`.
fn read_progress(line: &str) -> Option<(f64, Option<String>)> {
    let rest = line.strip_prefix(PROGRESS)?.trim();
    let (part, note) = rest.split_once(' ').unwrap_or((rest, ""));
    let part: f64 = part.parse().ok()?;
    let note = (!note.is_empty()).then(|| Detail::cut(note.trim_start()).to_string());
    (0.0..=1.0).contains(&part).then_some((part, note))
}

/// Reads standard error to its end and reports progress. Returns the last part, for the log.
pub(super) async fn read(mut from: impl AsyncRead + Unpin, desk: &Desk) -> String {
    let mut notes = Notes::default();
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        notes.take(buffer.get(..count).unwrap_or_default(), desk);
    }
    notes.report(desk);
    notes.into_tail()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    type Reports = Arc<Mutex<Vec<(f64, Option<String>)>>>;

    fn desk() -> (Desk, Reports) {
        let reports = Reports::default();
        let kept = Arc::clone(&reports);
        let desk = Desk::new(move |progress, note| kept.lock().unwrap().push((progress, note)));
        (desk, reports)
    }

    #[test]
    fn lines_of_progress_are_found_among_others() {
        let note = |text: &str| Some(text.to_owned());
        for (line, expected) in [
            ("progress 0.5 half of it", Some((0.5, note("half of it")))),
            ("progress 0.5\n", Some((0.5, None))),
            ("progress 1 ", Some((1.0, None))),
            ("progress 0", Some((0.0, None))),
            ("progress 1.5", None),
            ("progress -1", None),
            ("progress NaN", None),
            ("progress inf", None),
            ("progress", None),
            ("progress half", None),
            (" progress 0.5", None),
            ("Progress 0.5", None),
        ] {
            assert_eq!(read_progress(line), expected, "{line}");
        }
        let (_, long) = read_progress(&format!("progress 0.5 {}", "é".repeat(4000))).unwrap();
        assert_eq!(long.unwrap().len(), 1024);
    }

    #[test]
    fn questions_are_found_among_other_lines() {
        let asked: Arc<Mutex<Vec<Ask>>> = Arc::default();
        let kept = Arc::clone(&asked);
        let (desk, _) = desk();
        let desk = desk.with_answers(&[], move |ask| kept.lock().unwrap().push(ask));
        let mut notes = Notes::default();
        let lines = "ask me\nask {\"question\":\"why?\",\"within\":\"2h\"}\n\
                     \u{feff}ask {\"question\":\"how?\",\"schema\":{\"type\":\"string\"}}\n\
                     ask {\"question\":\"what?\",\"colour\":1}\n";
        notes.take(lines.as_bytes(), &desk);
        let day = Duration::from_secs(86_400);
        let schema = serde_json::json!({ "type": "string" });
        assert_eq!(
            *asked.lock().unwrap(),
            [
                Ask::new("why?").within(day / 12),
                Ask::new("how?").schema(schema).within(day),
            ]
        );
    }

    #[test]
    fn it_makes_no_difference_how_the_text_comes() {
        let text = format!(
            "hello\nprogress 0.25 one\n{}\nprogress 0.5 {}\nprogress 0.75 three",
            "x".repeat(3 * LINE),
            "y".repeat(LINE)
        );
        for size in [1, 7, 100, 100_000] {
            let (desk, reports) = desk();
            let mut notes = Notes::default();
            for chunk in text.as_bytes().chunks(size) {
                notes.take(chunk, &desk);
                assert!(notes.tail.len() <= 2 * TAIL && notes.line.len() <= LINE + 1);
            }
            notes.report(&desk);
            let reports = reports.lock().unwrap();
            assert_eq!(reports.len(), 2, "chunks of {size}");
            assert_eq!(reports[0], (0.25, Some("one".to_owned())));
            assert_eq!(reports[1], (0.75, Some("three".to_owned())));
            drop(reports);
            let tail = notes.into_tail();
            assert_eq!(tail, text[text.len() - TAIL..], "chunks of {size}");
        }
    }
}
