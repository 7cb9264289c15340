//! The executor `command` with real programs, both well-behaved and hostile.
//!
//! The binary of these tests is also the helper that confines the programs, as agentry's binary is,
//! and serves as some of the programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bench;
mod hostile;
mod plain;
mod role;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// One test: its name and what it does.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments
        .next()
        .as_deref()
        .and_then(std::ffi::OsStr::to_str)
    {
        Some(agentry_behaviours::confine::SUBCOMMAND) => {
            return agentry_behaviours::confine::main(arguments);
        }
        Some(role::ROLE) => return role::play(arguments),
        _ => {}
    }
    let tests = plain::TESTS.iter().chain(hostile::TESTS);
    let trials = tests.map(|(name, test)| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
