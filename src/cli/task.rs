//! `agentry task`: jobs that this runtime's wallets have asked others for, and tasks that it
//! executes itself.
//!
//! | module | contents |
//! |---|---|
//! | `submit`, `list`, `show`, `wait`, `answer`, `fetch`, `cancel` | one subcommand each |
//! | `executing` | printing of tasks that this runtime executes |

mod answer;
mod cancel;
mod executing;
mod fetch;
mod list;
mod show;
mod submit;
mod wait;

use clap::{Args, Subcommand};

use super::global::About;
use super::{Context, Failure, runtime};
use crate::config::Config;
use agentry_store::{Reader, open_for_reading};

pub use answer::AnswerArgs;
pub use cancel::CancelArgs;
pub use fetch::FetchArgs;
pub use list::ListArgs;
pub use show::ShowArgs;
pub use submit::SubmitArgs;
pub use wait::WaitArgs;

/// The subcommands of `task`.
#[derive(Clone, Debug, Subcommand)]
pub enum TaskCommand {
    /// Asks an agent to do a job, from a hosted wallet
    Submit(Box<SubmitArgs>),
    /// Lists the requested jobs, or with --executing the tasks executed here
    List(ListArgs),
    /// Prints all that is known of a job
    Show(ShowArgs),
    /// Waits until a job has ended, and prints its result
    Wait(WaitArgs),
    /// Answers the question that a job asks
    Answer(AnswerArgs),
    /// Prints the whole result of a job, and fetches the rest of it if it was cut
    Fetch(FetchArgs),
    /// Cancels a job
    Cancel(CancelArgs),
}

/// The job that a command is about.
#[derive(Clone, Debug, Args)]
pub struct IdArgs {
    /// Of a requested job: outbox/12, the hash of its transaction, or its result_id. Of a task
    /// executed here: task/7, or the id that its submitter uses
    #[arg(value_name = "ID|HASH")]
    id: String,
}

pub(super) fn run(command: TaskCommand, context: &Context) -> Result<(), Failure> {
    let about = match &command {
        TaskCommand::Submit(args) => About::Agent(args.sender()),
        _ => About::OneStore,
    };
    let config = context.config_of(about)?;
    runtime()?.block_on(async {
        match command {
            TaskCommand::Submit(args) => submit::run(*args, &config, context).await,
            TaskCommand::List(args) => list::run(&args, &config, context).await,
            TaskCommand::Show(args) => show::run(&args, &config, context).await,
            TaskCommand::Wait(args) => wait::run(&args, &config, context).await,
            TaskCommand::Answer(args) => answer::run(&args, &config, context).await,
            TaskCommand::Fetch(args) => fetch::run(&args, &config, context).await,
            TaskCommand::Cancel(args) => cancel::run(&args, &config, context).await,
        }
    })
}

fn open(config: &Config) -> Result<Reader, Failure> {
    Ok(open_for_reading(&config.store.path)?)
}
