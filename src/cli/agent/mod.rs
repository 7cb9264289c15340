//! `agentry agent message|messages|chat|history|register|withdraw|list|show`.

mod card;
mod chat;
mod history;
mod list;
mod message;
mod messages;
mod register;
mod show;

use clap::Subcommand;

use super::global::About;
use super::{Context, Failure, runtime};

pub use chat::ChatArgs;
pub use history::HistoryArgs;
pub use list::ListArgs;
pub use message::MessageArgs;
pub use messages::MessagesArgs;
pub use register::{RegisterArgs, WithdrawArgs};
pub use show::ShowArgs;

/// The subcommands of `agent`.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// Sends a message from a wallet
    Message(MessageArgs),
    /// Prints the messages of an agent
    Messages(MessagesArgs),
    /// Talks with an agent: sends each line of the input, and prints the answer
    Chat(ChatArgs),
    /// Prints what an agent did: messages, answers, posts, tasks, acknowledgments
    ///
    /// The entries are in the order of time. The store tells them, whether a runtime is running or
    /// not, for as long as it keeps the rows (`retention`). Timers and other events that were
    /// handled leave no row.
    History(HistoryArgs),
    /// Announces a hosted agent in the directory, and renews its card
    Register(Box<RegisterArgs>),
    /// Withdraws a hosted agent's card
    Withdraw(WithdrawArgs),
    /// Lists the agents in the directory
    List(ListArgs),
    /// Prints the card of an agent
    Show(ShowArgs),
}

impl AgentCommand {
    fn about(&self) -> About<'_> {
        match self {
            Self::Message(args) => About::Agent(args.sender()),
            Self::Messages(args) => About::Agent(args.agent()),
            Self::Chat(args) => About::Agent(args.agent()),
            Self::History(args) => About::Agent(args.agent()),
            Self::Register(args) => About::Agent(args.agent()),
            Self::Withdraw(args) => About::Agent(args.agent()),
            Self::List(_) | Self::Show(_) => About::Anything,
        }
    }
}

pub(super) fn run(command: AgentCommand, context: &Context) -> Result<(), Failure> {
    let config = context.config_of(command.about())?;
    runtime()?.block_on(async {
        match command {
            AgentCommand::Message(args) => message::run(args, &config, context).await,
            AgentCommand::Messages(args) => messages::run(args, &config, context).await,
            AgentCommand::Chat(args) => chat::run(args, &config, context).await,
            AgentCommand::History(args) => history::run(args, &config, context).await,
            AgentCommand::Register(args) => register::register(*args, &config, context).await,
            AgentCommand::Withdraw(args) => register::withdraw(&args, &config, context).await,
            AgentCommand::List(args) => list::run(args, &config, context),
            AgentCommand::Show(args) => show::run(&args, &config, context),
        }
    })
}
