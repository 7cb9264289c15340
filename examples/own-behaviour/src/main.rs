//! The command line of `agentry`, with one more kind: `cargo run -- run` hosts agents.toml.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentry::cli::main_with(agentry::builtins().with::<own_behaviour::Reminder>())
}
