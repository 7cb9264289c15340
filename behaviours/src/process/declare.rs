//! The file in which a program's declaration is, and asking a program for it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentry_sdk::{ConfigureError, Registry, Setup};
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt;

use super::launch::{Group, Launch};
use super::settings::ProcessSettings;
use super::watch::Watch;
use super::wire::Declaration;

/// The longest declaration, in bytes: 64 commands with schemas of some kilobytes.
pub const MAX_DECLARATION_BYTES: u64 = 256 << 10;

/// The argument with which a program prints its declaration and ends.
pub const DECLARE: &str = "--declare";

/// How much of the standard error of a program that fails is told, in bytes.
const LAST_WORDS: u64 = 2_000;

/// Why a program's declaration is not there.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// The behaviour's keys are wrong.
    #[error("{0}")]
    Settings(String),
    /// The program cannot be started or waited for.
    #[error("starting {program} {DECLARE}: {reason}")]
    Start {
        /// The program.
        program: String,
        /// The reason.
        reason: String,
    },
    /// It took too long.
    #[error(
        "{program} {DECLARE} did not end within {limit:?}; a program that declares itself prints \
         what it declares, and ends"
    )]
    Slow {
        /// The program.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// It failed.
    #[error("{program} {DECLARE} failed ({status}):\n{said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// It printed something else.
    #[error("{program} {DECLARE} printed no declaration: {reason}")]
    Invalid {
        /// The program.
        program: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a declaration from the file that `declared` names.
pub(super) fn read(name: &str, setup: &Setup<'_>) -> Result<Declaration, ConfigureError> {
    let path = setup.path(name);
    let refuse =
        |reason: String| ConfigureError(format!("`declared` {}: {reason}", path.display()));
    let advice = format!(
        "`agentry dev` writes this file, as does the program with the argument {DECLARE}, on its \
         standard output"
    );
    let mut text = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_DECLARATION_BYTES + 1).read_to_end(&mut text))
        .map_err(|error| refuse(format!("{error}; {advice}")))?;
    if text.len() as u64 > MAX_DECLARATION_BYTES {
        return Err(refuse(format!(
            "it has more than {MAX_DECLARATION_BYTES} bytes"
        )));
    }
    Declaration::read(&text).map_err(|reason| refuse(format!("{reason}; {advice}")))
}

/// The program of a behaviour, for whoever keeps its declaration: `agentry dev`.
#[derive(Debug)]
pub struct Program {
    launch: Launch,
    watch: Watch,
    limit: Duration,
    file: Option<PathBuf>,
}

impl Program {
    /// The program of a `process` behaviour with these keys in an agents.toml in `folder`.
    ///
    /// # Errors
    /// [`DeclareError::Settings`].
    pub fn new(settings: Map<String, Value>, folder: &Path) -> Result<Self, DeclareError> {
        let wrong = |error: String| DeclareError::Settings(error);
        let settings: ProcessSettings = serde_json::from_value(Value::Object(settings))
            .map_err(|error| wrong(error.to_string()))?;
        let registry = Registry::new();
        let setup = Setup::new(folder, &registry);
        let launch = Launch::new(&settings, &setup).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            watch: launch.watch(),
            launch,
            limit: settings.start_timeout.0,
            file: settings.declared.map(|name| setup.path(name)),
        })
    }

    /// The file that `declared` names, if the behaviour has this key.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether a file of the program has changed since the last call: the program, a file that its
    /// arguments name, or one beside them with the same extension.
    pub fn has_changed(&self) -> bool {
        self.watch.has_changed()
    }

    /// Runs the program with `--declare`, within its `start_timeout`, and returns what belongs into its
    /// [file](Self::file). The program is the operator's, as when it serves.
    ///
    /// # Errors
    /// [`DeclareError`]: the program cannot be run, or prints something else.
    pub async fn declare(&self) -> Result<Vec<u8>, DeclareError> {
        ask(&self.launch, self.limit).await
    }
}

async fn ask(launch: &Launch, limit: Duration) -> Result<Vec<u8>, DeclareError> {
    let program = launch.name();
    let start = |error: std::io::Error| DeclareError::Start {
        program: launch.name(),
        reason: error.to_string(),
    };
    let mut command = launch.command();
    command.arg(DECLARE).stdin(Stdio::null());
    let mut group = Group::spawn(command).map_err(start)?;
    let child = &mut group.child;
    let (Some(out), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(start(std::io::Error::other("its pipes are missing")));
    };
    let (mut printed, mut said) = (Vec::new(), Vec::new());
    let ended = tokio::time::timeout(limit, async {
        let out = async {
            let mut out = out.take(MAX_DECLARATION_BYTES + 1);
            // What follows is not read: the pipe is closed.
            out.read_to_end(&mut printed).await
        };
        let errors = async {
            let mut errors = errors.take(LAST_WORDS * 8);
            errors.read_to_end(&mut said).await
        };
        tokio::try_join!(out, errors)?;
        child.wait().await
    })
    .await;
    group.kill();
    let status = match ended {
        Err(_) => return Err(DeclareError::Slow { program, limit }),
        Ok(ended) => ended.map_err(start)?,
    };
    if !status.success() {
        let said = String::from_utf8_lossy(&said);
        let cut = said.len().saturating_sub(LAST_WORDS as usize);
        let cut = (cut..said.len()).find(|at| said.is_char_boundary(*at));
        return Err(DeclareError::Failed {
            program,
            status: status.to_string(),
            said: said
                .get(cut.unwrap_or_default()..)
                .unwrap_or_default()
                .trim_end()
                .to_owned(),
        });
    }
    match Declaration::read(&printed) {
        Ok(_) => Ok(printed),
        Err(reason) => Err(DeclareError::Invalid { program, reason }),
    }
}
