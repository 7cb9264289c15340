//! The start of a behaviour's author: a clone, and the template package to copy.

use std::path::Path;
use std::process::Command;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn the_package_finds_agentry_when_copied_out_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("my behaviour");
    let copied = || {
        Command::new("sh")
            .arg(root().join("examples/own-behaviour/copy-to"))
            .arg(&copy)
            .output()
            .unwrap()
    };
    let done = copied();
    assert!(done.status.success(), "{done:?}");
    // An existing folder is never overwritten.
    assert_eq!(copied().status.code(), Some(73));

    // Cargo can resolve everything that it needs for the build offline.
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--depth",
            "1",
            "--prefix",
            "none",
        ])
        .arg("--manifest-path")
        .arg(copy.join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let place = root().canonicalize().unwrap();
    for package in [place.join(""), place.join("crates/sdk")] {
        let package = package.display().to_string();
        let package = package.trim_end_matches('/');
        assert!(tree.contains(&format!("({package})")), "{package}:\n{tree}");
    }
    for file in [
        "src/lib.rs",
        "src/main.rs",
        "tests/reminder.rs",
        "agents.toml",
    ] {
        let copied = std::fs::read_to_string(copy.join(file)).unwrap();
        assert_eq!(copied, read(&format!("examples/own-behaviour/{file}")));
    }
}

#[test]
fn the_cloned_repository_is_the_one_in_cargo_toml() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let repository = manifest["workspace"]["package"]["repository"]
        .as_str()
        .unwrap();
    for page in ["README.md", "docs/writing-behaviours.md"] {
        assert!(
            read(page).contains(&format!("git clone {repository}\n")),
            "{page}"
        );
    }
    for page in [
        "docs/writing-behaviours.md",
        "examples/own-behaviour/Cargo.toml",
    ] {
        assert!(
            read(page).contains(&format!("{{ git = \"{repository}\" }}")),
            "{page}"
        );
    }
    // The installed dependencies are the tested ones.
    for page in ["README.md", "docs/operating.md", "CONTRIBUTING.md"] {
        for line in read(page)
            .lines()
            .filter(|line| line.contains("cargo install"))
        {
            assert!(line.contains("cargo install --locked"), "{page}: {line}");
        }
    }
}

/// With another profile, `.ci/run` would compile every dependency once more for the example.
#[test]
fn the_package_is_compiled_with_the_profile_of_the_workspace() {
    let profile = |path: &str| {
        let manifest: toml::Table = read(path).parse().unwrap();
        manifest["profile"]["dev"].clone()
    };
    assert_eq!(
        profile("examples/own-behaviour/Cargo.toml"),
        profile("Cargo.toml")
    );
}
