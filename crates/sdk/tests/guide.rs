//! The code in the guide for authors compiles: each block is part of a file that is built and
//! tested.

/// The guide.
const GUIDE: &str = include_str!("../../../docs/writing-behaviours.md");

/// The files that contain its blocks.
const FILES: [(&str, &str); 8] = [
    ("echo.rs", include_str!("../../../examples/echo.rs")),
    ("counter.rs", include_str!("../../../examples/counter.rs")),
    (
        "coordinator.rs",
        include_str!("../../../examples/coordinator.rs"),
    ),
    (
        "own-behaviour/Cargo.toml",
        include_str!("../../../examples/own-behaviour/Cargo.toml"),
    ),
    (
        "own-behaviour/agents.toml",
        include_str!("../../../examples/own-behaviour/agents.toml"),
    ),
    (
        "own-behaviour/src/lib.rs",
        include_str!("../../../examples/own-behaviour/src/lib.rs"),
    ),
    (
        "own-behaviour/src/main.rs",
        include_str!("../../../examples/own-behaviour/src/main.rs"),
    ),
    (
        "own-behaviour/tests/reminder.rs",
        include_str!("../../../examples/own-behaviour/tests/reminder.rs"),
    ),
];

/// The language and the lines of each fenced block.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    page.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .collect()
}

/// The non-empty lines without indentation, since a block in the guide is indented less.
fn bare(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut bare = String::new();
    for line in lines {
        bare.push_str(line);
        bare.push('\n');
    }
    bare
}

#[test]
fn every_block_is_part_of_a_tested_file() {
    let files: Vec<(&str, String)> = FILES.map(|(name, text)| (name, bare(text))).to_vec();
    let mut whole = Vec::new();
    let mut seen = 0;
    for (language, block) in blocks(GUIDE) {
        if ["sh", "text"].contains(&language) {
            continue;
        }
        assert!(
            ["rust", "toml"].contains(&language),
            "{language:?} is not checked"
        );
        seen += 1;
        let block = bare(block);
        let home = files.iter().find(|(_, file)| file.contains(&block));
        let Some((name, file)) = home else {
            panic!("the guide shows what no example holds:\n{block}");
        };
        if *file == block {
            whole.push(*name);
        }
    }
    assert!(
        seen >= 10,
        "the guide has {seen} blocks: the search is wrong"
    );
    assert_eq!(
        whole,
        [
            "own-behaviour/src/lib.rs",
            "own-behaviour/tests/reminder.rs",
            "own-behaviour/src/main.rs"
        ],
        "the files that the guide shows whole"
    );
}

#[test]
fn every_command_uses_cargo() {
    for (language, block) in blocks(GUIDE) {
        if language != "sh" {
            continue;
        }
        for line in block.lines().filter(|line| !line.is_empty()) {
            let known = [
                "cargo new --lib ",
                "cargo test",
                "cargo run -- ",
                "cd own-behaviour",
                "git clone https://github.com/agentry/agentry",
                "sh agentry/examples/own-behaviour/copy-to own-behaviour",
            ];
            assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
        }
    }
}
