//! Builds the real binary, with the profile of this example.

use std::path::{Path, PathBuf};
use std::process::Command;

use agentry_testbed::binary::beside_this;

/// Builds the binary beside this example, if Cargo runs it; otherwise it must be there.
pub(super) fn binary() -> Result<PathBuf, String> {
    let path = beside_this();
    let Some(cargo) = std::env::var_os("CARGO") else {
        return match path.exists() {
            true => Ok(path),
            false => Err(format!(
                "{} does not exist: build it with `cargo build --release --bin agentry`, or name a binary \
                 with --binary",
                path.display()
            )),
        };
    };
    let folder = path.parent().and_then(Path::file_name);
    let profile = match folder.and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    eprintln!("building agentry ({profile})");
    let mut build = Command::new(cargo);
    // What Cargo tells this program of its package: build scripts look at it, so that everything would be
    // built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    let status = build
        .args(["build", "--package", "agentry", "--bin", "agentry"])
        .args(["--profile", profile])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status()
        .map_err(|error| format!("starting cargo: {error}"))?;
    match status.success() {
        true => Ok(path),
        false => Err(format!(
            "building the binary agentry: cargo ended with {status}"
        )),
    }
}
