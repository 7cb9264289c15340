//! The command line.
//!
//! | module | contents |
//! |---|---|
//! | [`failure`] | [`Failure`]: an exit code of sysexits and a message |
//! | [`global`] | options that every command accepts, and [`Context`] |
//! | [`output`] | output for people and for programs |
//! | [`logging`] | logs, to standard error |
//! | `args` | parsers of values that several commands share |
//! | `names` | addresses in lists, by their names |
//! | `guard` | hardening of the process |
//! | `interrupt` | signals that end a command |
//! | `systemd` | what the service manager is told |
//! | `init` | running as the first process of a container |
//! | [`agent`], [`approvals`], [`mod@bench`], [`chain`], [`completions`], [`config`], [`coordinator`], [`demo`], [`dev`], [`devnet`], [`doctor`], [`man`], [`mcp`], [`new`], [`queue`], [`reload`], [`replay`], [`run`], [`simulate`], [`task`], [`token`], [`tx`], [`ui`], [`wallet`], [`worker`] | one group of commands each |
//!
//! A binary with its own behaviours:
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     agentry::cli::main_with(agentry_behaviours::builtins())
//! }
//! ```

pub mod agent;
pub mod approvals;
mod args;
pub mod bench;
pub mod chain;
pub mod cluster;
pub mod completions;
pub mod config;
pub mod coordinator;
pub mod demo;
pub mod dev;
pub mod devnet;
pub mod doctor;
pub mod failure;
pub mod global;
mod guard;
mod init;
mod interrupt;
pub mod logging;
pub mod man;
pub mod mcp;
mod names;
pub mod new;
pub mod output;
pub mod queue;
pub mod reload;
pub mod replay;
pub mod run;
pub mod simulate;
mod systemd;
pub mod task;
pub mod token;
pub mod tx;
pub mod ui;
pub mod wallet;
pub mod worker;

use std::ffi::OsString;
use std::io::Write;

use agentry_behaviours::confine;
use agentry_sdk::Registry;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use agentry_protocol::untrusted::escaped;

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
    /// Runs the agents of agents.toml
    Run(run::RunArgs),
    /// Writes a project around an agent of your own
    ///
    /// The project is a folder of this name with an agents.toml, an agent, its tests and a README, and
    /// runs as it is, on an embedded node. A project in Python has a copy of the Python package, and
    /// needs nothing else (docs/python.md). One in Rust is a package that builds with agentry
    /// (docs/writing-behaviours.md). A folder that exists is never changed: the exit code is then 73.
    New(new::NewArgs),
    /// Runs the agents of a project while you write them
    ///
    /// Starts the embedded node and the agents of agents.toml, and prints each message. When agents.toml or
    /// a program has changed, it is loaded, and the file in which a program declares itself is written. What
    /// you type is sent to an agent: a text, or a command as JSON; `@NAME …` sends it to another one. It
    /// works only on an embedded node.
    Dev(dev::DevArgs),
    /// Simulates a chain for tests of agents, over JSON lines
    ///
    /// For tests in other languages than Rust: the Python package starts it (docs/python.md). Each line on
    /// standard input is a request, and each line on standard output its answer. Programs run as they do
    /// in a runtime, and what happens durably is decided by the same code; chain, clock and peers are
    /// simulated, with crashes, repeated messages, lost transactions and withdrawn blocks. It ends with
    /// its input.
    Simulate(simulate::SimulateArgs),
    /// Applies configuration changes to the running runtime
    ///
    /// The runtime reads its configuration again, as on SIGHUP: agents, fleets, contacts and
    /// defaults are added, changed and removed while the others run. If anything is wrong or needs
    /// a restart, nothing is applied; every reason is printed, and the exit code is 78.
    Reload(reload::ReloadArgs),
    /// Checks everything that a runtime needs, and suggests fixes
    ///
    /// Checks the configuration, nodes, chain, database, clock, wallets and their balances, the store,
    /// the agent coordinator if one is configured and, in a cluster, its database, hosts, shards and
    /// workers. Prints a line for each: ✓ good, ! warning, ✗ wrong, - not checked; the suggested fix
    /// follows the arrow. The command can run before the first start and beside a running runtime;
    /// it changes nothing, executes nothing of the configuration and asks for no password. The exit
    /// code is 0 if nothing is wrong; else the first of these that applies: 78 the configuration
    /// has errors, the chain is a different one or the clock is wrong; 77 a wrong password or no
    /// permission; 66 a wallet does not exist; 65 a file cannot be parsed; 74 reading failed; 69 a
    /// node does not answer, a port is taken, or posting is stopped.
    Doctor,
    /// Replays the chain's history to the configured behaviours, and sends nothing
    ///
    /// Each message to an agent is shown to its behaviours as they are configured now, with the
    /// time of its block as the current time. What they would send is compared with what the agent
    /// did send: same, differs, missing (it was not sent), extra (it would not be sent). Tasks are
    /// not executed, and their results are not compared. Nothing is posted or stored. The exit code
    /// is 1 if anything differs.
    Replay(replay::ReplayArgs),
    /// Shows two agents on two nodes that find each other, exchange messages and run a task, with
    /// evidence
    Demo(demo::DemoArgs),
    /// Measures what a runtime costs on this machine, each figure beside its floor
    ///
    /// Prints one table. Each figure stands beside the least that it could be, or beside the
    /// smallest case, measured in the same run on the same cores. A row is measured in a process of
    /// its own, in a temporary folder that is removed. A full run takes long and needs 20 GB;
    /// `--quick` takes about a minute. docs/performance.md describes the rows. The exit code is 1 if
    /// a row could not be measured.
    Bench(bench::BenchArgs),
    /// Opens the web console of the running runtime in a browser
    ///
    /// The browser is signed in with a code that is valid once, and for a minute. Whoever can run this
    /// command may use the runtime's control socket, and so is the operator. docs/console.md describes
    /// the console.
    Ui(ui::UiArgs),
    /// Messages from and to agents, and the agent directory
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Jobs that agents were asked for, and tasks that they execute
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Inbox, outbox and dead letters of a store
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Effects of behaviours that wait for your approval
    ///
    /// `approve` of an agent or a behaviour in agents.toml names the effects that wait: answers,
    /// messages, payments, tasks.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// Tokens of those who may call the runtime over HTTP
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Several hosts that share the agents
    ///
    /// `[cluster]` of agents.toml names the database of the hosts. docs/cluster.md explains how a
    /// cluster is set up and operated.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Hosted agents in AITBC's agent coordinator
    ///
    /// `[coordinator]` of agents.toml names it. docs/coordinator.md explains what is announced there, and
    /// why nothing that comes from there is trusted.
    #[command(subcommand)]
    Coordinator(coordinator::CoordinatorCommand),
    /// Runs tasks for agents that the hosts of a cluster host
    ///
    /// A worker takes the types of task that `tasks.on_workers` of agents.toml names from the database
    /// of `[cluster]`, on any machine that reaches it, and executes them as agents.toml says there. It
    /// needs no wallet, no password and no node. On SIGTERM it takes no more, finishes what runs within
    /// --stop-limit, and gives the rest back.
    Worker(worker::WorkerArgs),
    /// Serves the host of a language model, which starts this command, over MCP
    ///
    /// Speaks the Model Context Protocol (revisions 2025-11-25 and 2026-07-28) on standard input and
    /// output, and logs to standard error. It offers the hosted agents as tools and resources:
    /// finding agents, sending and reading messages, requesting tasks. Sending needs a running
    /// runtime (`agentry run`). It ends when the host closes standard input. docs/mcp.md shows the
    /// configuration of the usual hosts.
    Mcp(mcp::McpArgs),
    /// An embedded node for development and tests
    Devnet(devnet::DevnetArgs),
    /// The wallets that hold the agents' keys
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// What a node reports about the chain
    Chain(chain::ChainArgs),
    /// Inspection of transactions, without a node
    #[command(subcommand)]
    Tx(tx::TxCommand),
    /// The configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Shell completions
    Completions(completions::CompletionsArgs),
    /// Writes a manual page for each command into a folder
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// Runs the command line of this process with these kinds of behaviours, and returns its exit code.
///
/// Call it first in `main`: this binary is also its own helper, which keeps the programs of tasks
/// within their limits ([`agentry_behaviours::confine`]) and must be alone in its process. The call
/// also hardens the process: files that it creates are accessible to their owner only, file
/// descriptors that were open before are closed in the programs that it starts, and it writes no
/// core file. As the first process of a container it runs the command in a child and reaps orphans.
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

/// Like [`main_with`], with the caller's arguments; the first is the program's name.
pub fn run_with(registry: Registry, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A help text that is not read to its end is not a failure.
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
    // The log comes before the command's last message.
    logging::flush();
    match done {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            if !failure.message.is_empty() {
                // If standard error is closed, only the exit code reports the failure.
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
        Command::Run(_) | Command::Devnet(_) | Command::Worker(_) => logging::SERVING,
        Command::Dev(_) | Command::Simulate(_) => logging::DEV,
        Command::Mcp(_) => logging::MCP,
        _ => "warn",
    })?;
    if !matches!(
        command,
        Command::Run(_) | Command::Dev(_) | Command::Devnet(_) | Command::Worker(_)
    ) {
        interrupt::watch_where_nothing_else_does();
    }
    match command {
        Command::Run(args) => run::run(args, context),
        Command::New(args) => new::run(&args, context),
        Command::Dev(args) => dev::run(&args, context),
        Command::Simulate(args) => simulate::run(args, context),
        Command::Reload(args) => reload::run(&args, context),
        Command::Doctor => doctor::run(context),
        Command::Replay(args) => replay::run(&args, context),
        Command::Demo(args) => demo::run(args, context),
        Command::Bench(args) => bench::run(&args, context),
        Command::Ui(args) => ui::run(&args, context),
        Command::Agent(command) => agent::run(command, context),
        Command::Task(command) => task::run(command, context),
        Command::Queue(command) => queue::run(command, context),
        Command::Approvals(command) => approvals::run(command, context),
        Command::Token(command) => token::run(command, context),
        Command::Cluster(command) => cluster::run(command, context),
        Command::Coordinator(command) => coordinator::run(command, context),
        Command::Worker(args) => worker::run(args, context),
        Command::Mcp(args) => mcp::run(args, context),
        Command::Devnet(args) => devnet::run(args, context),
        Command::Wallet(command) => wallet::run(command, context),
        Command::Chain(args) => chain::run(&args, context),
        Command::Tx(command) => tx::run(command, context),
        Command::Config(command) => config::run(&command, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
    }
}

/// A single-threaded tokio runtime for one command.
///
/// # Errors
/// The system does not grant the resources.
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
