//! The `agentry` command line with its built-in behaviours.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// With hundreds of thousands of small allocations on many threads, it keeps less memory than the
/// system's allocator and takes less time (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    agentry::cli::main_with(agentry_behaviours::builtins())
}
