//! Parsers of values that several commands share, and advice about values that begin with `-`.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::ParseIntError;
use std::time::Duration;

use agentry_protocol::{Amount, Timestamp};
use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Parses a duration such as `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write one such as 500ms, 30s or 5m"))
}

/// A point in time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// A duration before now.
    Ago(Duration),
    /// This time.
    At(Timestamp),
}

impl Since {
    /// The point in time.
    pub(super) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.minus(ago),
            Self::At(at) => at,
        }
    }
}

/// Parses a point in time.
pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Since::Ago(ago));
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(|_| {
        "write a time such as 2026-11-22T08:00:00Z, or how long ago, such as 90s, 2h or 7d"
            .to_owned()
    })?;
    Ok(Since::At(at.into()))
}

/// Parses an amount in AIT.
pub(super) fn amount(text: &str) -> Result<Amount, String> {
    text.parse()
        .map_err(|_| format!("an amount is a whole number, from 0 to {}", u64::MAX))
}

/// The same command, with every value allowed to be a negative number: the value's own parser
/// decides whether it makes sense.
pub(super) fn with_negative_numbers(command: Command) -> Command {
    command
        .mut_args(|argument| {
            if argument.get_action().takes_values() {
                argument.allow_negative_numbers(true)
            } else {
                argument
            }
        })
        .mut_subcommands(with_negative_numbers)
}

/// Replaces clap's advice where it does not help. For an option's value that begins with `-`, clap
/// suggests `--`, which would turn it into a positional argument. For a number that cannot be
/// parsed, clap does not say which numbers are accepted.
pub(super) fn advise(error: &mut clap::Error, command: &Command, arguments: &[OsString]) {
    if error.kind() == ErrorKind::ValueValidation {
        let number = error
            .source()
            .and_then(|e| e.downcast_ref::<ParseIntError>());
        if number.is_some() {
            suggest(
                error,
                "the value is a whole number that is not negative".to_owned(),
            );
        }
        return;
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    let Some(ContextValue::String(found)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let texts: Vec<String> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let Some([option, value]) = texts.windows(2).find(|pair| {
        pair.iter()
            .skip(1)
            .any(|value| value.starts_with(found.as_str()))
    }) else {
        return;
    };
    if takes_value(command, option) {
        let tip = format!("a value that begins with '-' is written as {option}='{value}'");
        suggest(error, tip);
    }
}

fn suggest(error: &mut clap::Error, tip: String) {
    let tips = vec![StyledStr::from(tip)];
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
}

/// Whether the command or one of its subcommands has an option of this name that takes a value.
fn takes_value(command: &Command, option: &str) -> bool {
    let Some(name) = option.strip_prefix("--") else {
        return false;
    };
    command
        .get_arguments()
        .any(|argument| argument.get_long() == Some(name) && argument.get_action().takes_values())
        || command
            .get_subcommands()
            .any(|inner| takes_value(inner, option))
}
