//! Results of checks, and suggested fixes.

use serde::Serialize;
use serde_json::json;

use super::super::output::{Output, Tone, printable};
use super::super::{ExitCode, Failure};

/// Maximum length of a printed text, in characters.
const SHOWN: usize = 600;

/// Which exit code is used if several checks failed: the first of these that applies.
const WORST_FIRST: [ExitCode; 10] = [
    ExitCode::Config,
    ExitCode::Denied,
    ExitCode::NoInput,
    ExitCode::Data,
    ExitCode::Io,
    ExitCode::System,
    ExitCode::CannotCreate,
    ExitCode::Unavailable,
    ExitCode::Temporary,
    ExitCode::Usage,
];

/// State of a check, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It could not be checked, or need not be.
    Skipped,
    /// It is good.
    Ok,
    /// A runtime can run, but something may not work as intended.
    Warning,
    /// A runtime cannot run, or does not act.
    Error,
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    /// What was checked.
    check: String,
    /// Its state.
    pub(super) state: State,
    /// What was found.
    found: String,
    /// The suggested fix: a command, or a key of agents.toml.
    fix: Option<String>,
    #[serde(skip)]
    code: ExitCode,
}

impl Check {
    fn new(check: impl Into<String>, state: State, found: impl AsRef<str>) -> Self {
        Self {
            check: check.into(),
            state,
            found: printable(found.as_ref(), SHOWN),
            fix: None,
            code: ExitCode::Success,
        }
    }

    /// A check with a good result.
    pub(super) fn well(check: impl Into<String>, found: impl AsRef<str>) -> Self {
        Self::new(check, State::Ok, found)
    }

    /// A check that was skipped, and why.
    pub(super) fn skipped(check: impl Into<String>, why: impl AsRef<str>) -> Self {
        Self::new(check, State::Skipped, why)
    }

    /// A warning: something may not work as intended.
    pub(super) fn warning(
        check: impl Into<String>,
        found: impl AsRef<str>,
        fix: impl Into<String>,
    ) -> Self {
        let mut new = Self::new(check, State::Warning, found);
        new.fix = Some(fix.into());
        new
    }

    /// An error: something does not work.
    pub(super) fn wrong(
        check: impl Into<String>,
        found: impl AsRef<str>,
        fix: impl Into<String>,
        code: ExitCode,
    ) -> Self {
        let mut new = Self::new(check, State::Error, found);
        new.fix = Some(fix.into());
        new.code = code;
        new
    }

    /// Merges this and another result about the same subject.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.state = self.state.max(other.state);
        self.code = worse(self.code, other.code);
        self.found = format!("{}; {}", self.found, other.found);
        self.fix = match (self.fix, other.fix) {
            (Some(one), Some(another)) => Some(format!("{one}; {another}")),
            (one, another) => one.or(another),
        };
        self
    }
}

fn rank(code: ExitCode) -> usize {
    if code == ExitCode::Success {
        return usize::MAX;
    }
    let place = WORST_FIRST.iter().position(|known| *known == code);
    place.unwrap_or(WORST_FIRST.len())
}

fn worse(one: ExitCode, other: ExitCode) -> ExitCode {
    if rank(other) < rank(one) { other } else { one }
}

/// The exit code of the command.
pub(super) fn worst(checks: &[Check]) -> ExitCode {
    checks
        .iter()
        .map(|check| check.code)
        .fold(ExitCode::Success, worse)
}

/// Prints one line per check.
pub(super) fn print(checks: &[Check], out: Output) -> Result<(), Failure> {
    if out.is_json() {
        let well = worst(checks) == ExitCode::Success;
        return out.json(&json!({ "ok": well, "checks": checks }));
    }
    let width = checks.iter().map(|check| check.check.chars().count());
    let width = width.max().unwrap_or(0);
    for check in checks {
        let sign = match check.state {
            State::Ok => out.tone(Tone::Good, "✓"),
            State::Skipped => out.tone(Tone::Faint, "-"),
            State::Warning => out.tone(Tone::Strong, "!"),
            State::Error => out.tone(Tone::Bad, "✗"),
        };
        let fix = check.fix.as_ref().map_or_else(String::new, |fix| {
            format!(" → {}", out.tone(Tone::Strong, fix))
        });
        let Check { check, found, .. } = check;
        out.line(format!("{sign} {check:width$}  {found}{fix}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts() {
        let away = Check::wrong("node", "away", "start it", ExitCode::Unavailable);
        let denied = Check::wrong("wallet", "denied", "chmod", ExitCode::Denied);
        let odd = Check::warning("clock", "odd", "ntp");
        let checks = [Check::well("a", "b"), odd.clone(), away.clone(), denied];
        assert_eq!(worst(&checks), ExitCode::Denied);
        assert_eq!(worst(&checks[..3]), ExitCode::Unavailable);
        assert_eq!(worst(&checks[..2]), ExitCode::Success);
        let both = odd.and(away);
        assert_eq!(both.state, State::Error);
        assert_eq!(both.code, ExitCode::Unavailable);
        assert_eq!(both.found, "odd; away");
        assert_eq!(both.fix.as_deref(), Some("ntp; start it"));
    }

    #[test]
    fn what_others_say_steers_no_terminal() {
        let check = Check::well("node", "\u{1b}[31m");
        assert_eq!(check.found, "\\u{1b}[31m");
    }
}
