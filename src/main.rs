//! The command line `agentry`, with the behaviours that it brings along.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentry::cli::main_with(agentry_behaviours::builtins())
}
