//! Links within the documentation have targets.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::page::{Page, pages, top};

/// The targets of the `[text](target)` links in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

fn anchors(page: &Page) -> HashSet<String> {
    page.prose()
        .into_iter()
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| anchor(line))
        .collect()
}

#[test]
fn every_link_has_a_target() {
    let pages = pages();
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in &pages {
        let folder = page.path.parent().unwrap_or(Path::new(""));
        for (number, line) in page.prose() {
            for target in targets(line).filter(|target| !target.contains("://")) {
                seen += 1;
                let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
                let path = if file.is_empty() {
                    page.path.clone()
                } else {
                    folder.join(file)
                };
                let there = top().join(&path).exists();
                let anchored = wanted.is_empty()
                    || pages.iter().any(|page| {
                        top().join(&page.path).canonicalize().ok()
                            == top().join(&path).canonicalize().ok()
                            && anchors(page).contains(wanted)
                    });
                if !there || !anchored {
                    broken.push(format!("{}:{number}: {target}", page.path.display()));
                }
            }
        }
    }
    assert!(seen > 0, "no page has a link: the search is broken");
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// Every source file of the repository, with and without the `src` folders of crates: a page may
/// name a file by any suffix of such a path.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = [
        "src",
        "crates",
        "behaviours",
        "tests",
        "examples",
        "fuzz/fuzz_targets",
    ]
    .iter()
    .map(|folder| top().join(folder))
    .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let path = path
                    .strip_prefix(top())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push(format!("/{}", path.replace("/src/", "/")));
                found.push(format!("/{path}"));
            }
        }
    }
    found
}

#[test]
fn every_named_source_file_exists() {
    let sources = sources();
    let mut missing = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for (number, line) in page.prose() {
            for name in line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|name| name.ends_with(".rs"))
            {
                seen += 1;
                if !sources
                    .iter()
                    .any(|path| path.ends_with(&format!("/{name}")))
                {
                    missing.push(format!("{}:{number}: {name}", page.path.display()));
                }
            }
        }
    }
    assert!(
        seen > 0,
        "no page names a source file: the search is broken"
    );
    assert!(
        missing.is_empty(),
        "no such source file:\n{}",
        missing.join("\n")
    );
}

#[test]
fn anchors_match_the_usual_renderers() {
    assert_eq!(
        anchor("## The way of one message"),
        "the-way-of-one-message"
    );
    assert_eq!(anchor("### `[chain]`: the chain"), "chain-the-chain");
}
