//! The dependency tree of the sdk matches its documentation, and stays small.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::process::Command;

/// Crates that the author of a behaviour must never have to compile: runtimes, databases, HTTP.
const HEAVY: [&str; 9] = [
    "actix",
    "tokio",
    "rusqlite",
    "libsqlite3",
    "reqwest",
    "hyper",
    "rustls",
    "openssl",
    "clap",
];

/// The words that precede the list in the documentation.
const MARK: &str = "every crate of the tree";

/// The names of all crates that the sdk is built from, including itself.
fn tree(features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "-p", "agentry-sdk"])
        .args(["-e", "normal", "--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p}", "--target", "x86_64-unknown-linux-gnu"])
        .args(features)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The words of the first fenced block below the mark.
fn listed(text: &str) -> BTreeSet<String> {
    let below = text.split_once(MARK).unwrap().1;
    let block = below.split("```").nth(1).unwrap();
    let words = block
        .split_whitespace()
        .filter(|word| !["text", "//!"].contains(word));
    words.map(str::to_owned).collect()
}

#[test]
fn the_tree_is_the_one_that_is_documented() {
    let tree = tree(&[]);
    for (place, text) in [
        ("crates/sdk/src/lib.rs", include_str!("../src/lib.rs")),
        (
            "docs/writing-behaviours.md",
            include_str!("../../../docs/writing-behaviours.md"),
        ),
    ] {
        let listed = listed(text);
        let missing: Vec<_> = tree.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&tree).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "{place} does not list {missing:?}, and lists {gone:?}, which are no dependencies; if \
             the sdk is meant to have another tree, change the list"
        );
    }
}

#[test]
fn nothing_heavy_is_in_it() {
    for features in [&[][..], &["--features", "testing"]] {
        let tree = tree(features);
        let heavy: Vec<_> = tree
            .iter()
            .filter(|name| HEAVY.iter().any(|heavy| name.starts_with(heavy)))
            .collect();
        assert!(heavy.is_empty(), "the sdk has come to depend on {heavy:?}");
        assert!(
            tree.contains("agentry-protocol"),
            "the list is wrong: {tree:?}"
        );
    }
}

#[test]
fn the_test_kit_needs_nothing_more() {
    assert_eq!(tree(&[]), tree(&["--features", "testing"]));
}
