//! What was found, and the mend.

use serde::Serialize;
use serde_json::json;

use super::super::output::{Output, Tone, printable};
use super::super::{ExitCode, Failure};

/// How much of a text is shown, in characters.
const SHOWN: usize = 600;

/// Which exit code counts where several things are wrong: the first of these that applies.
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

/// How it stands with something; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It could not be looked at, or need not be.
    Skipped,
    /// It is well.
    Ok,
    /// A runtime runs, and something may not go as it is meant to.
    Warning,
    /// A runtime does not run, or does not act.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    /// What.
    check: String,
    /// How it stands.
    pub(super) state: State,
    /// What was found.
    found: String,
    /// What to do about it: a command, or a key of agents.toml.
    #[serde(rename = "fix")]
    mend: Option<String>,
    #[serde(skip)]
    code: ExitCode,
}

impl Check {
    fn new(check: impl Into<String>, state: State, found: impl AsRef<str>) -> Self {
        Self {
            check: check.into(),
            state,
            found: printable(found.as_ref(), SHOWN),
            mend: None,
            code: ExitCode::Success,
        }
    }

    /// It is well.
    pub(super) fn well(check: impl Into<String>, found: impl AsRef<str>) -> Self {
        Self::new(check, State::Ok, found)
    }

    /// It was not looked at, and why not.
    pub(super) fn skipped(check: impl Into<String>, why: impl AsRef<str>) -> Self {
        Self::new(check, State::Skipped, why)
    }

    /// It may not go as it is meant to.
    pub(super) fn warning(
        check: impl Into<String>,
        found: impl AsRef<str>,
        mend: impl Into<String>,
    ) -> Self {
        let mut new = Self::new(check, State::Warning, found);
        new.mend = Some(mend.into());
        new
    }

    /// It does not go.
    pub(super) fn wrong(
        check: impl Into<String>,
        found: impl AsRef<str>,
        mend: impl Into<String>,
        code: ExitCode,
    ) -> Self {
        let mut new = Self::new(check, State::Error, found);
        new.mend = Some(mend.into());
        new.code = code;
        new
    }

    /// This and what else was found of the same thing, as one.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.state = self.state.max(other.state);
        self.code = worse(self.code, other.code);
        self.found = format!("{}; {}", self.found, other.found);
        self.mend = match (self.mend, other.mend) {
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

/// What the process ends with.
pub(super) fn worst(checks: &[Check]) -> ExitCode {
    checks
        .iter()
        .map(|check| check.code)
        .fold(ExitCode::Success, worse)
}

/// Prints a line for each.
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
        let mend = check.mend.as_ref().map_or_else(String::new, |mend| {
            format!(" → {}", out.tone(Tone::Strong, mend))
        });
        let Check { check, found, .. } = check;
        out.line(format!("{sign} {check:width$}  {found}{mend}"))?;
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
        assert_eq!(both.mend.as_deref(), Some("ntp; start it"));
    }

    #[test]
    fn what_others_say_steers_no_terminal() {
        let check = Check::well("node", "\u{1b}[31m");
        assert_eq!(check.found, "\\u{1b}[31m");
    }
}
