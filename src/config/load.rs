//! Reading a configuration.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use agentry_sdk::Registry;

use super::check::{self, Check};
use super::document;
use super::error::{ConfigError, ConfigIssue, ConfigIssues, Origin};
use super::layers::{self, Overlay};
use super::model::Config;

/// The default configuration: the agents.toml at the top of the repository.
pub const BUILT_IN: &str = include_str!("../../agents.toml");

/// The default name of the file, in the working directory.
const DEFAULT_FILE: &str = "agents.toml";
/// The largest file, in bytes: 10,000 `[[agent]]` tables take less than 2 MiB.
const LARGEST: u64 = 16 << 20;

/// Where the configuration is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// `agents.toml` in the working directory, else [`BUILT_IN`] as if it were there.
    Customary,
    /// A text, treated as the content of a file at that path; for programs that embed the runtime.
    Text {
        /// Relative paths in the text start from this path's folder.
        path: PathBuf,
        /// The text.
        text: String,
    },
}

impl Config {
    /// Reads and validates a whole configuration.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if the file cannot be read; [`ConfigError::Invalid`] with every
    /// error in the file, the environment and the flags.
    pub fn load(
        source: &Source,
        overlay: &Overlay,
        registry: &Registry,
    ) -> Result<Config, ConfigError> {
        let (name, folder, text) = match source {
            Source::File(path) => (display(path), folder(path), read(path)?),
            Source::Text { path, text } => (display(path), folder(path), text.clone()),
            Source::Customary => match read(Path::new(DEFAULT_FILE)) {
                Ok(text) => (DEFAULT_FILE.to_owned(), PathBuf::new(), text),
                Err(ConfigError::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    (
                        format!("built-in {DEFAULT_FILE}"),
                        PathBuf::new(),
                        BUILT_IN.to_owned(),
                    )
                }
                Err(error) => return Err(error),
            },
        };
        parse(&name, &folder, &text, overlay, registry)
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn folder(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > LARGEST {
        let reason = format!("it is larger than {LARGEST} bytes; use [[fleet]] for many agents");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
    }
    Ok(text)
}

fn parse(
    name: &str,
    folder: &Path,
    text: &str,
    overlay: &Overlay,
    registry: &Registry,
) -> Result<Config, ConfigError> {
    let (root, syntax) = document::read(text);
    let mut issues = Vec::new();
    let mut layers = layers::merge(root, overlay, &mut issues)?;
    check::derive_defaults(&mut layers);
    let mut check = Check::new(&layers, registry, folder);
    let config = check.run(name);
    issues.append(&mut check.reader.issues);
    if syntax.is_empty() {
        issues.append(&mut check.reader.missing);
    } else {
        // A line that is not valid TOML is reported once, as that.
        let lines: HashSet<Option<usize>> =
            syntax.iter().map(|issue| line(&issue.origin)).collect();
        issues.retain(|issue| !lines.contains(&line(&issue.origin)));
        issues.extend(syntax);
    }
    match config {
        Some(config) if issues.is_empty() => Ok(config),
        _ => {
            if issues.is_empty() {
                let start = Origin::File { line: 1, column: 1 };
                issues.push(ConfigIssue::new(start, "the configuration is not complete"));
            }
            Err(ConfigError::Invalid(ConfigIssues::new(
                name.to_owned(),
                issues,
            )))
        }
    }
}

fn line(origin: &Origin) -> Option<usize> {
    match origin {
        Origin::File { line, .. } => Some(*line),
        Origin::Default | Origin::Environment { .. } | Origin::Flag { .. } => None,
    }
}
