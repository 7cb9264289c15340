//! The programs of the configuration.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use agentry_behaviours::process::declare::Program;
use serde_json::{Map, Value};

/// The keys of a behaviour's table that are not its own.
const COMMON: [&str; 4] = ["kind", "name", "schedules", "approve"];

/// The programs of a configuration, each with the agents that it serves.
#[derive(Debug, Default)]
pub(super) struct Programs(Vec<(String, Program)>);

impl Programs {
    /// The programs of a file. Tables that are wrong are left out: the configuration is checked as a
    /// whole elsewhere.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or a program cannot be found.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file)
            .map_err(|error| format!("reading {}: {error}", file.display()))?;
        let table: toml::Table = text
            .parse()
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut programs = Vec::new();
        for owner in ["agent", "fleet"] {
            for entry in list(table.get(owner)) {
                let name = entry.get("name").and_then(toml::Value::as_str);
                for behaviour in list(entry.get("behaviours")) {
                    if let (Some(name), Some(keys)) = (name, keys(behaviour)) {
                        let program = Program::new(keys, folder)
                            .map_err(|error| format!("agent {name}: {error}"))?;
                        programs.push((name.to_owned(), program));
                    }
                }
            }
        }
        // From here on changes are seen.
        for (_, program) in &programs {
            program.has_changed();
        }
        Ok(Self(programs))
    }

    /// Whether each program has a file with its declaration, if it needs one.
    pub(super) fn are_declared(&self) -> bool {
        let mut files = self.0.iter().filter_map(|(_, program)| program.file());
        files.all(Path::exists)
    }

    /// Asks every program for its declaration, and writes the files that have changed. Returns what
    /// went wrong.
    pub(super) async fn declare_all(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (_, program) in &self.0 {
            reasons.extend(declare(program).await.err());
        }
        reasons
    }

    /// The same for the programs that have changed since the last call. Returns the agents that they
    /// serve, and what went wrong: an agent whose program does not even say what it handles goes on with
    /// the program that it has.
    pub(super) async fn declare_changed(&self) -> (Vec<String>, Vec<String>) {
        let (mut agents, mut reasons) = (Vec::new(), Vec::new());
        for (name, program) in &self.0 {
            if !program.has_changed() {
                continue;
            }
            match declare(program).await {
                Ok(()) => agents.push(name.clone()),
                Err(reason) => reasons.push(format!(
                    "{reason}\n{name} goes on with the program that it has"
                )),
            }
        }
        (agents, reasons)
    }
}

fn list(value: Option<&toml::Value>) -> impl Iterator<Item = &toml::Value> {
    value.and_then(toml::Value::as_array).into_iter().flatten()
}

/// The keys of a behaviour that is a program.
fn keys(behaviour: &toml::Value) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut keys)) = serde_json::to_value(behaviour) else {
        return None;
    };
    let is_program = keys.get("kind").and_then(Value::as_str) == Some("process");
    keys.retain(|key, _| !COMMON.contains(&key.as_str()));
    is_program.then_some(keys)
}

/// Writes what a program declares, if it has changed.
async fn declare(program: &Program) -> Result<(), String> {
    let Some(file) = program.file() else {
        return Ok(());
    };
    let declared = program.declare().await.map_err(|error| error.to_string())?;
    if fs::read(file).is_ok_and(|before| before == declared) {
        return Ok(());
    }
    replace(file, &declared).map_err(|error| format!("writing {}: {error}", file.display()))
}

/// Writes a file as a whole: whoever reads it sees the old or the new content.
fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(content)?;
    new.persist(file)?;
    Ok(())
}
