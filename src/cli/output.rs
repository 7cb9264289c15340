//! What commands print: for people, aligned and short; for programs, JSON on one line.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::failure::Failure;
use crate::text::{escaped, json_escaped, styled};

pub use crate::text::printable;

pub use table::{GivesWay, Row};

mod table;

/// Standard output, as the command line wants it.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    colours: bool,
}

/// How a text stands out on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// What matters most.
    Strong,
    /// What is secondary.
    Faint,
    /// What is right.
    Good,
    /// What is wrong.
    Bad,
}

impl Output {
    /// Output to standard output. Colours are for terminals, unless `NO_COLOR` is set.
    pub fn new(json: bool) -> Self {
        let colours = io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, colours }
    }

    /// Whether `--json` was given.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A text in a tone, if there are colours. What comes from the chain goes through
    /// [`printable`] first.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Strong => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
        };
        format!("{style}{text}{style:#}")
    }

    /// Prints a line.
    ///
    /// # Errors
    /// When it cannot be written; see [`Failure::io`].
    pub fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.text(&format!("{}\n", text.as_ref()))
    }

    /// Prints a text; hidden characters are escaped, but for the ends of lines, tabs, and the styles
    /// of [`Output::tone`].
    ///
    /// # Errors
    /// When it cannot be written; see [`Failure::io`].
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let shown = if self.colours {
            styled(text)
        } else {
            escaped(text)
        };
        self.bytes(shown.as_bytes())
    }

    /// Prints a text to a file or a pipe as it is, and to a terminal as [`Output::text`] does.
    ///
    /// # Errors
    /// When it cannot be written; see [`Failure::io`].
    pub fn exact(self, text: &str) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            self.text(text)
        } else {
            self.bytes(text.as_bytes())
        }
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// When they cannot be written; see [`Failure::io`].
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::io("writing to standard output", &error))
    }

    /// Prints a value as one line of JSON; in its strings, hidden characters are escaped.
    ///
    /// # Errors
    /// When it cannot be written; see [`Failure::io`].
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string(value)
            .map_err(|error| Failure::internal(format!("writing json: {error}")))?;
        text.push('\n');
        self.bytes(json_escaped(&text).as_bytes())
    }

    /// Prints `name  value` lines, the values aligned.
    ///
    /// # Errors
    /// When they cannot be written; see [`Failure::io`].
    pub fn fields(self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in fields {
            let name = self.tone(Tone::Faint, &format!("{name:width$}"));
            // Further lines stand below the first one.
            let value = value.replace('\n', &format!("\n{:width$}  ", ""));
            let _ = writeln!(text, "{name}  {value}");
        }
        self.text(&text)
    }

    /// Prints rows under headings, the columns aligned.
    ///
    /// # Errors
    /// When they cannot be written; see [`Failure::io`].
    pub fn table(self, headings: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let rows = rows.iter().cloned().map(Row::from).collect();
        self.listing(headings, rows, GivesWay::None)
    }

    /// As [`Self::table`]. Where the table is wider than the terminal, a column gives way.
    ///
    /// # Errors
    /// When they cannot be written; see [`Failure::io`].
    pub fn listing(
        self,
        headings: &[&str],
        rows: Vec<Row>,
        gives_way: GivesWay,
    ) -> Result<(), Failure> {
        let mut lines = table::layout(headings, rows, gives_way, width()).into_iter();
        let mut text = lines
            .next()
            .map_or_else(String::new, |line| self.tone(Tone::Faint, &line));
        text.push('\n');
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        self.text(&text)
    }

    /// A progress bar on standard error; it shows itself on a terminal alone.
    pub fn progress(self, length: u64, doing: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        // A template that does not parse is a slip of ours; the plain bar does as well.
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A time of milliseconds since the epoch, as `2026-11-22T12:00:00Z`.
pub fn moment(at_ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    at.filter(|_| at_ms <= agentry_protocol::header::MAX_TIME_MS)
        .map_or_else(
            || format!("{at_ms} ms"),
            |at| humantime::format_rfc3339_seconds(at).to_string(),
        )
}

/// How many columns there are to print in: those of the terminal, or what `COLUMNS` says. Unlimited
/// where neither is known: what is written to a file or a pipe is whole.
fn width() -> Option<usize> {
    let set = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    let asked = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col))
    };
    set.or_else(asked).filter(|width| *width > 0)
}

/// The first line of a text, as [`printable`]; that there are more is shown by its end.
pub fn first_line(text: &str, limit: usize) -> String {
    let mut lines = text.trim_start().lines();
    let first = lines.next().unwrap_or_default();
    let has_more = lines.any(|line| !line.trim().is_empty());
    let cut = first.chars().count() > limit;
    let kept: String = first.chars().take(limit).collect();
    let end = if cut || has_more { "…" } else { "" };
    format!("{}{end}", printable(&kept, usize::MAX))
}

/// As [`printable`], with the lines of the text kept: for a text of many lines.
pub fn printable_lines(text: &str, limit: usize) -> String {
    let end = text.char_indices().nth(limit).map(|(end, _)| end);
    let kept = end.and_then(|end| text.get(..end)).unwrap_or(text);
    let line = |line: &str| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let cells: Vec<String> = line
            .split('\t')
            .map(|cell| printable(cell, usize::MAX))
            .collect();
        cells.join("\t")
    };
    let lines: Vec<String> = kept.split('\n').map(line).collect();
    let mut shown = lines.join("\n");
    if end.is_some() {
        let _ = write!(shown, "… ({} bytes)", text.len());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_the_first_is_shown() {
        assert_eq!(first_line("one", 80), "one");
        assert_eq!(first_line("\n one \ntwo", 80), "one …");
        assert_eq!(first_line("one\n\n", 80), "one");
        assert_eq!(first_line("a\tb\u{1b}", 80), "a\\tb\\u{1b}");
        assert_eq!(first_line("aaaa", 3), "aaa…");
        assert_eq!(first_line("", 3), "");
    }

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(253_402_300_799_999), "9999-12-31T23:59:59Z");
        assert_eq!(moment(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(printable_lines("a\nb\tc\r\n\u{1b}", 80), "a\nb\tc\n\\u{1b}");
        assert_eq!(printable_lines("aa\nbb", 4), "aa\nb… (5 bytes)");
        assert_eq!(printable_lines("", 3), "");
        assert_eq!(printable_lines("aaa\n", usize::MAX), "aaa\n");
    }
}
