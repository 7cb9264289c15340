//! Configuration errors: what is wrong, where, and how to fix it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Where a value of the effective configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "from")]
pub enum Origin {
    /// The default in the code.
    Default,
    /// A location in the file. Line and column are counted from 1; the column counts characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable of this name.
    Environment {
        /// The name, for example `AGENTRY__CHAIN__RPC`.
        variable: String,
    },
    /// A command-line flag, as written.
    Flag {
        /// The flag, for example `--set chain.rpc`.
        flag: String,
    },
}

impl Origin {
    /// The origin in human-readable form; `file` is the name of the file.
    pub fn describe(&self, file: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File { line, column } => format!("{file}:{line}:{column}"),
            Self::Environment { variable } => format!("environment {variable}"),
            Self::Flag { flag } => format!("flag {flag}"),
        }
    }
}

/// One error in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConfigIssue {
    /// Where it is.
    pub origin: Origin,
    /// What is wrong, and how to fix it.
    pub text: String,
}

impl ConfigIssue {
    pub(super) fn new(origin: Origin, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { origin, text }
    }
}

/// Every error in a configuration: those in the file first, by line.
#[derive(Clone, Debug)]
pub struct ConfigIssues {
    /// The name of the file.
    pub file: String,
    /// The errors; at least one.
    pub list: Vec<ConfigIssue>,
}

impl ConfigIssues {
    pub(super) fn new(file: String, mut list: Vec<ConfigIssue>) -> Self {
        list.sort();
        list.dedup();
        Self { file, list }
    }

    /// One line per error: where it is, and what is wrong.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|issue| {
            let place = issue.origin.describe(&self.file);
            format!("{place}: {}", issue.text)
        })
    }
}

impl fmt::Display for ConfigIssues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        let count = self.list.len();
        let (noun, them) = if count == 1 {
            ("error", "it")
        } else {
            ("errors", "them")
        };
        write!(
            f,
            "{count} {noun} in the configuration; fix {them}, then run `agentry config check`"
        )
    }
}

/// Why a configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading the configuration {}: {source}; choose another with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The file, the environment or a flag has errors.
    #[error("{0}")]
    Invalid(ConfigIssues),
}

/// The known word closest to `word`, as `; did you mean …?`; empty if none is close.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // One edit per three characters, from 1 to 3.
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map_or_else(String::new, |(_, candidate)| {
            format!("; did you mean `{candidate}`?")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_close_words() {
        assert_eq!(did_you_mean("rcp", ["rpc", "id"]), "; did you mean `rpc`?");
        assert_eq!(
            did_you_mean("final_dept", ["final_depth"]),
            "; did you mean `final_depth`?"
        );
        assert_eq!(did_you_mean("colour", ["rpc", "id"]), "");
    }

    #[test]
    fn prints_file_issues_by_line() {
        let at = |line| Origin::File { line, column: 1 };
        let list = [(10, "ten"), (9, "nine"), (9, "nine")]
            .map(|(line, text)| ConfigIssue::new(at(line), text))
            .to_vec();
        let printed = ConfigIssues::new("a.toml".into(), list).to_string();
        assert!(
            printed.starts_with("a.toml:9:1: nine\na.toml:10:1: ten\n2 errors"),
            "{printed}"
        );
    }
}
