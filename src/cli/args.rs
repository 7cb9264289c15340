//! Values on the command line that several commands take, and what they may begin with.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::ParseIntError;
use std::time::Duration;

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A length of time on the command line, as `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write one such as 500ms, 30s or 5m"))
}

/// An amount of money on the command line, in AIT.
pub(super) fn amount(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("an amount is a whole number of AIT, from 0 to {}", u64::MAX))
}

/// The same command, of which every value may be a negative number: whether it makes sense is for
/// the value's own parser to say.
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

/// Adds advice to an error. Where a value of an option begins with `-`, clap advises to put it behind
/// `--`, which makes it something else than that option's value; where a number cannot be read, clap
/// does not say what is one.
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

/// Whether an option of this name takes a value, in a command or one of its subcommands.
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
