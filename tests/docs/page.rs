//! A page of the documentation, parsed line by line.

use std::fs;
use std::path::{Path, PathBuf};

/// A page: a Markdown file of this repository.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path from the top of the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block of a page.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) language: String,
    /// The line in which it begins, counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The top of the repository.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page, by path.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    for folder in [
        "",
        "docs",
        "fuzz",
        "tests",
        "crates",
        "behaviours",
        "examples/cluster",
    ] {
        let Ok(entries) = fs::read_dir(top().join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path.strip_prefix(top()).unwrap().to_owned());
            }
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| Page {
            text: fs::read_to_string(top().join(&path)).unwrap(),
            path,
        })
        .collect()
}

impl Page {
    /// Its fenced blocks.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (index, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(_), Some(block)) => blocks.push(block),
                (Some(language), None) => {
                    open = Some(Block {
                        language: language.trim().to_owned(),
                        line: index + 1,
                        text: String::new(),
                    });
                }
                (None, Some(mut block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => {}
            }
        }
        assert_eq!(open, None, "{}: a block is not closed", self.path.display());
        blocks
    }

    /// Its lines outside of fenced blocks, numbered from 1.
    pub(crate) fn prose(&self) -> Vec<(usize, &str)> {
        let mut fenced = false;
        let mut prose = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                prose.push((index + 1, line));
            }
        }
        prose
    }
}
