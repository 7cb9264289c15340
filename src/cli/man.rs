//! `agentry man FOLDER`, for those who make packages.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Cli, Context, Failure};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder, which is created if it does not exist
    folder: PathBuf,
}

pub(super) fn run(args: &ManArgs, context: &Context) -> Result<(), Failure> {
    let failed = |error| Failure::io(format!("writing to {}", args.folder.display()), &error);
    fs::create_dir_all(&args.folder).map_err(&failed)?;
    // A page on each `help` would repeat what the other pages say.
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &args.folder).map_err(failed)?;
    context
        .output
        .line(format!("wrote {}", args.folder.display()))
}
