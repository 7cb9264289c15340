//! Output of commands: aligned and short for people, one line of JSON for programs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::failure::Failure;
use agentry_protocol::Timestamp;
use agentry_protocol::untrusted::{self, escaped, json_escaped, styled};

pub use agentry_protocol::untrusted::printable;

pub use table::{GivesWay, Row};

mod table;

/// Standard output in the format that the command line asks for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    colours: bool,
}

/// How a text is emphasised on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Most important.
    Strong,
    /// Secondary.
    Faint,
    /// Good.
    Good,
    /// Bad.
    Bad,
}

impl Output {
    /// Output to standard output. Colours are used on terminals, unless `NO_COLOR` is set.
    pub fn new(json: bool) -> Self {
        let colours = io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, colours }
    }

    /// Whether `--json` was given.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A text in a tone, if there are colours. Text from the chain must go through [`printable`]
    /// first.
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
    /// The line cannot be written; see [`Failure::io`].
    pub fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.text(&format!("{}\n", text.as_ref()))
    }

    /// Prints a text. Hidden characters are escaped, except for line ends, tabs, and the styles of
    /// [`Output::tone`].
    ///
    /// # Errors
    /// The text cannot be written; see [`Failure::io`].
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let shown = if self.colours {
            styled(text)
        } else {
            escaped(text)
        };
        self.bytes(shown.as_bytes())
    }

    /// Prints a text unchanged to a file or a pipe, and to a terminal as [`Output::text`] does.
    ///
    /// # Errors
    /// The text cannot be written; see [`Failure::io`].
    pub fn exact(self, text: &str) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            self.text(text)
        } else {
            self.bytes(text.as_bytes())
        }
    }

    /// Prints bytes unchanged.
    ///
    /// # Errors
    /// The bytes cannot be written; see [`Failure::io`].
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::io("writing to standard output", &error))
    }

    /// Prints a value as one line of JSON; hidden characters in its strings are escaped.
    ///
    /// # Errors
    /// The value cannot be written; see [`Failure::io`].
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string(value)
            .map_err(|error| Failure::internal(format!("writing JSON: {error}")))?;
        text.push('\n');
        self.bytes(json_escaped(&text).as_bytes())
    }

    /// Prints one `name  value` line per field, with the values aligned.
    ///
    /// # Errors
    /// The lines cannot be written; see [`Failure::io`].
    pub fn fields(self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in fields {
            let name = self.tone(Tone::Faint, &format!("{name:width$}"));
            // Further lines of a value are aligned with its first line.
            let value = value.replace('\n', &format!("\n{:width$}  ", ""));
            let _ = writeln!(text, "{name}  {value}");
        }
        self.text(&text)
    }

    /// Prints rows under headings, with the columns aligned.
    ///
    /// # Errors
    /// The rows cannot be written; see [`Failure::io`].
    pub fn table(self, headings: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let rows = rows.iter().cloned().map(Row::from).collect();
        self.listing(headings, rows, GivesWay::None)
    }

    /// Like [`Self::table`]; if the table is wider than the terminal, one column is shortened or
    /// wrapped.
    ///
    /// # Errors
    /// The rows cannot be written; see [`Failure::io`].
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

    /// A progress bar on standard error; it is visible on a terminal only.
    pub fn progress(self, length: u64, doing: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        // A template that does not parse is a defect of agentry; the plain bar is good enough.
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A time, formatted as `2026-11-22T12:00:00Z`.
pub fn moment(time: Timestamp) -> String {
    let at = UNIX_EPOCH.checked_add(time.since(Timestamp::EPOCH));
    at.filter(|_| time <= Timestamp::MAX_STATED).map_or_else(
        || format!("{time} ms"),
        |at| humantime::format_rfc3339_seconds(at).to_string(),
    )
}

/// A value, or a dash if there is none.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Number of columns to print in: the terminal's width, or `COLUMNS` if set. Unlimited if neither
/// is known, so that files and pipes receive the whole text.
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

/// The first line of a text, escaped as by [`printable`]; an ellipsis shows that there is more.
pub fn first_line(text: &str, limit: usize) -> String {
    let mut lines = text.trim_start().lines();
    let first = lines.next().unwrap_or_default();
    let has_more = lines.any(|line| !line.trim().is_empty());
    let cut = first.chars().count() > limit;
    let kept: String = first.chars().take(limit).collect();
    let end = if cut || has_more { "…" } else { "" };
    format!("{}{end}", untrusted::line(&kept))
}

/// Like [`printable`], for a text of many lines: its line ends are kept.
pub fn printable_lines(text: &str, limit: usize) -> String {
    let end = text.char_indices().nth(limit).map(|(end, _)| end);
    let kept = end.and_then(|end| text.get(..end)).unwrap_or(text);
    let line = |line: &str| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let cells: Vec<_> = line.split('\t').map(untrusted::line).collect();
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
        assert_eq!(moment(Timestamp::EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(
            moment(Timestamp::new(253_402_300_799_999)),
            "9999-12-31T23:59:59Z"
        );
        assert_eq!(moment(Timestamp::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(printable_lines("a\nb\tc\r\n\u{1b}", 80), "a\nb\tc\n\\u{1b}");
        assert_eq!(printable_lines("aa\nbb", 4), "aa\nb… (5 bytes)");
        assert_eq!(printable_lines("", 3), "");
        assert_eq!(printable_lines("aaa\n", usize::MAX), "aaa\n");
    }
}
