//! What is wrong with a configuration, where it stands, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Where a value of the effective configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "from")]
pub enum Origin {
    /// The default in the code.
    Default,
    /// A place in the file, both counted from 1; the column counts characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable of this name.
    Environment {
        /// The name, as `AGENTRY__CHAIN__RPC`.
        variable: String,
    },
    /// A flag of the command line, as the person wrote it.
    Flag {
        /// The flag, as `--set chain.rpc`.
        flag: String,
    },
}

impl Origin {
    /// The origin as a person reads it; `file` is how the file is called.
    pub fn describe(&self, file: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File { line, column } => format!("{file}:{line}:{column}"),
            Self::Environment { variable } => format!("environment {variable}"),
            Self::Flag { flag } => format!("flag {flag}"),
        }
    }
}

/// One mistake of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mistake {
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong, and what to do.
    pub text: String,
}

/// Every mistake of a configuration, those of the file first and by line.
#[derive(Clone, Debug)]
pub struct Mistakes {
    /// How the file is called.
    pub file: String,
    /// At least one.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn new(file: String, mut list: Vec<Mistake>) -> Self {
        list.sort();
        list.dedup();
        Self { file, list }
    }

    /// Each mistake in a line: where it is, and what.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|mistake| {
            let place = mistake.origin.describe(&self.file);
            format!("{place}: {}", mistake.text)
        })
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        let count = self.list.len();
        let (noun, them) = if count == 1 {
            ("mistake", "it")
        } else {
            ("mistakes", "them")
        };
        write!(
            f,
            "{count} {noun} in the configuration; mend {them}, then run `agentry config check`"
        )
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading the configuration {}: {source}; give another with --config", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is read and is wrong; or the environment or a flag is.
    #[error("{0}")]
    Mistakes(Mistakes),
}

/// The known word that `word` probably was meant to be, as `; did you mean …?`, or nothing.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A slip is one or two keys in a word of usual length, and a third in a long one.
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
    fn suggests_only_what_is_near() {
        assert_eq!(did_you_mean("rcp", ["rpc", "id"]), "; did you mean `rpc`?");
        assert_eq!(
            did_you_mean("final_dept", ["final_depth"]),
            "; did you mean `final_depth`?"
        );
        assert_eq!(did_you_mean("colour", ["rpc", "id"]), "");
    }

    #[test]
    fn prints_file_mistakes_by_line() {
        let at = |line| Origin::File { line, column: 1 };
        let list = vec![
            Mistake {
                origin: at(10),
                text: "ten".into(),
            },
            Mistake {
                origin: at(9),
                text: "nine".into(),
            },
            Mistake {
                origin: at(9),
                text: "nine".into(),
            },
        ];
        let printed = Mistakes::new("a.toml".into(), list).to_string();
        assert!(
            printed.starts_with("a.toml:9:1: nine\na.toml:10:1: ten\n2 mistakes"),
            "{printed}"
        );
    }
}
