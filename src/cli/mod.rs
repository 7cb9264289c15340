//! The command line.
//!
//! | module | holds |
//! |---|---|
//! | [`failure`] | [`Failure`]: an exit code of sysexits and a message |
//! | [`global`] | options that every command takes, and [`Context`] |
//! | [`output`] | printing for people and for programs |
//! | [`logging`] | logs, to standard error |
//! | `args` | values that several commands take |
//! | `who`, `names` | whom a name or an address means; what an address is called |
//! | `guard` | what the process keeps from others on the machine |
//! | `interrupt` | the signals that end a command |
//! | `init` | being the first process of a container |
//! | [`agent`], [`chain`], [`completions`], [`config`], [`demo`], [`devnet`], [`doctor`], [`queue`], [`reload`], [`replay`], [`run`], [`task`], [`tx`], [`wallet`] | one group of commands each |
//!
//! A binary with behaviours of its own is
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     agentry::cli::main_with(agentry_behaviours::builtins())
//! }
//! ```

pub mod agent;
mod args;
pub mod chain;
pub mod completions;
pub mod config;
pub mod demo;
pub mod devnet;
pub mod doctor;
pub mod failure;
pub mod global;
mod guard;
mod init;
mod interrupt;
pub mod logging;
mod names;
pub mod output;
pub mod queue;
pub mod reload;
pub mod replay;
pub mod run;
mod search;
pub mod task;
pub mod tx;
pub mod wallet;
mod who;

use std::ffi::OsString;
use std::io::Write;

use agentry_behaviours::confine;
use agentry_sdk::Registry;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::text::escaped;

pub use failure::{ExitCode, Failure};
pub use global::{Context, GlobalArgs};
pub use output::Output;

/// Thousands of wallet agents in one process, on an AITBC chain.
#[derive(Debug, Parser)]
#[command(
    name = "agentry",
    version,
    max_term_width = 100,
    after_long_help = ExitCode::table()
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hosts the agents of agents.toml
    Run(run::RunArgs),
    /// Applies to the running runtime what changed in the configuration
    ///
    /// It reads its configuration anew, as on SIGHUP: agents, fleets, contacts and defaults are
    /// added, changed and removed while the others run. If anything is wrong, or needs a restart,
    /// nothing is applied; then every reason is printed, and the exit code is 78.
    Reload(reload::ReloadArgs),
    /// Looks at everything that a runtime needs: what is wrong, and the mend
    ///
    /// Configuration, nodes, chain, database, clock, wallets and their money, store: a line for each,
    /// ✓ well, ! worth a look, ✗ wrong, - not looked at, and behind the arrow what mends it. It can
    /// be run before the first start and beside a running runtime; it changes nothing, executes
    /// nothing of the configuration and asks for no password. The exit code is 0 if nothing is wrong;
    /// else the first of these that applies: 78 the configuration has mistakes, the chain is another
    /// one or the clock is wrong; 77 a wrong password or no permission; 66 a wallet that does not
    /// exist; 65 a file that cannot be understood; 74 reading failed; 69 a node does not answer, a
    /// port is taken, or posting is stopped.
    Doctor,
    /// Tries the configured behaviours on the chain's history, and sends nothing
    ///
    /// Each message to an agent is shown to its behaviours as they are configured now, by the clock
    /// of its block. What they would send is printed beside what the agent did send: same, differs,
    /// missing (it was not sent), extra (it would not be sent). Tasks are not done, and what comes of
    /// them is not compared. Nothing is posted or stored. The exit code is 1 if anything is other
    /// than it was.
    Replay(replay::ReplayArgs),
    /// Two agents on two nodes that find each other, talk, and hand a task over, with evidence
    Demo(demo::DemoArgs),
    /// Messages from and to agents, and the directory of agents
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Jobs that agents are asked for, and those that they do
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Inbox, outbox and dead letters of a store
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// An embedded node, for trying things out
    Devnet(devnet::DevnetArgs),
    /// The wallets that hold the agents' keys
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// What a node says about the chain
    Chain(chain::ChainArgs),
    /// Transactions, without a node
    #[command(subcommand)]
    Tx(tx::TxCommand),
    /// The configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// A shell's completions, for its startup files
    Completions(completions::CompletionsArgs),
}

/// Runs the command line of this process with these kinds of behaviours, to its end.
///
/// It must be called first of all in `main`: this binary is also its own helper, which keeps the
/// programs of tasks within their limits ([`agentry_behaviours::confine`]), and as that it needs
/// to be alone in its process. It also guards the process: what it makes is its owner's alone, what
/// was open before is closed in the programs that it starts, and it leaves no core file. As
/// the first process of a container it runs the command in a child and looks after orphans.
pub fn main_with(registry: Registry) -> std::process::ExitCode {
    let mut arguments = std::env::args_os();
    if arguments
        .nth(1)
        .is_some_and(|first| first == confine::SUBCOMMAND)
    {
        return confine::main(arguments);
    }
    guard::guard();
    if init::is_first() {
        return match init::supervise(std::env::args_os()) {
            Ok(code) => code,
            Err(error) => {
                let failure =
                    Failure::io("starting agentry as the container's first process", &error);
                drop(writeln!(std::io::stderr(), "agentry: {failure}"));
                failure.code.into()
            }
        };
    }
    run_with(registry, std::env::args_os()).into()
}

/// As [`main_with`], with arguments of the caller's; the first is the program's name.
pub fn run_with(registry: Registry, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A help text that nobody reads to its end is no failure.
            drop(error.print());
            return if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Success
            };
        }
    };
    let context = Context::new(cli.global, registry);
    let done = dispatch(cli.command, &context);
    // What was logged comes before what the command says last.
    logging::flush();
    match done {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            if !failure.message.is_empty() {
                // Where standard error is closed, the exit code alone tells.
                let message = escaped(&failure.message);
                drop(writeln!(std::io::stderr(), "agentry: {message}"));
            }
            failure.code
        }
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = args::with_negative_numbers(Cli::command());
    command
        .try_get_matches_from_mut(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|mut error| {
            args::advise(&mut error, &command, &arguments);
            error
        })
}

fn dispatch(command: Command, context: &Context) -> Result<(), Failure> {
    logging::init(match command {
        Command::Run(_) | Command::Devnet(_) => logging::SERVING,
        _ => "warn",
    })?;
    if !matches!(command, Command::Run(_) | Command::Devnet(_)) {
        interrupt::watch_where_nothing_else_does();
    }
    match command {
        Command::Run(args) => run::run(args, context),
        Command::Reload(args) => reload::run(args, context),
        Command::Doctor => doctor::run(context),
        Command::Replay(args) => replay::run(&args, context),
        Command::Demo(args) => demo::run(args, context),
        Command::Agent(command) => agent::run(command, context),
        Command::Task(command) => task::run(command, context),
        Command::Queue(command) => queue::run(command, context),
        Command::Devnet(args) => devnet::run(args, context),
        Command::Wallet(command) => wallet::run(command, context),
        Command::Chain(args) => chain::run(&args, context),
        Command::Tx(command) => tx::run(command, context),
        Command::Config(command) => config::run(&command, context),
        Command::Completions(args) => completions::run(&args, context),
    }
}

/// A tokio runtime on this thread, for one command.
///
/// # Errors
/// The system gives no resources.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let message = format!("starting the asynchronous runtime: {error}");
            Failure::new(ExitCode::System, message)
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        super::args::with_negative_numbers(super::Cli::command()).debug_assert();
    }
}
