//! The `agentry` binary, and commands of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Has all commands of this process run another binary than the one that was built beside it. Only the
/// first choice counts, and only before the first command.
pub fn choose(path: PathBuf) {
    // A second choice would change what runs under a test.
    drop(CHOSEN.set(path));
}

/// The binary: the chosen one, or the one that Cargo has built in the folder of its profile. Tests are
/// in the folder `deps` of that folder, examples in `examples`.
///
/// # Panics
/// There is no such file.
pub fn path() -> &'static Path {
    CHOSEN.get_or_init(|| {
        let path = beside_this();
        assert!(
            path.exists(),
            "{} does not exist: build it with `cargo build --bin agentry`",
            path.display()
        );
        path
    })
}

/// Where Cargo puts the binary that belongs to this program. It may not exist.
pub fn beside_this() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let profile = this.parent().and_then(Path::parent).unwrap();
    profile.join(format!("agentry{}", std::env::consts::EXE_SUFFIX))
}

/// The binary in a folder, without the variables of this process's environment that it reads.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(path());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AGENTRY") || text.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// The same with the agents.toml of the folder, for what prints JSON.
pub fn configured(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = command(dir);
    command
        .args(arguments)
        .args(["--config", "agents.toml", "--json"]);
    command
}

/// What a command prints as JSON.
///
/// # Panics
/// It fails, or prints no JSON.
pub fn ask(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
