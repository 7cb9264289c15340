//! `agentry completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Context, Failure};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "For bash: agentry completions bash > ~/.local/share/bash-completion/completions/agentry"
)]
pub struct CompletionsArgs {
    /// The shell to generate completions for
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, context: &Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agentry", &mut script);
    context.output.bytes(&script)
}
