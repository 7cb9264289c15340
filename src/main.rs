//! The `agentry` command line with its built-in behaviours.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentry::cli::main_with(agentry_behaviours::builtins())
}
