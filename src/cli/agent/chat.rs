//! `agentry agent chat`.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agentry_protocol::{Address, Json, Thread};
use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;

use super::super::args::duration;
use super::super::output::{Tone, printable_lines};
use super::super::{Context, ExitCode, Failure};
use super::message::show_waiting;
use crate::config::Config;
use crate::ops::delivery::report::{DeliveryReport, Verdict, Wanted};
use crate::ops::send::direct::{self, Sender};
use crate::ops::send::{SendRequest, random_key};
use crate::ops::who;

/// The longest answer that is printed, in characters.
const LONGEST: usize = 64 << 10;

/// Arguments of `agent chat`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Each line of the standard input is sent as a message, and its answer is waited for and printed. \
All messages belong to one conversation. End with Ctrl-D. Everyone can read what is not sealed: \
see --seal. If the input is not a terminal, the command ends at the first line that gets no \
answer, with the exit code 75 if the time limit has passed.")]
pub struct ChatArgs {
    /// The agent to talk with: an address, or a name of agents.toml, of a wallet or of the directory
    #[arg(value_name = "ADDR|NAME")]
    agent: String,
    /// Who talks, a wallet of the operator: its name, its agent's name, or its address. Without it,
    /// the one other agent of agents.toml, if there is only one
    #[arg(long, value_name = "ADDR|NAME")]
    wallet: Option<String>,
    /// The conversation that the messages belong to, to continue an earlier one. Without it, a new one
    #[arg(long, value_name = "THREAD")]
    thread: Option<Thread>,
    /// Seals the messages, so that only the agent can read them, and only you its answers
    #[arg(long)]
    seal: bool,
    /// How long to wait for an answer at most
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// A file with the wallet's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl ChatArgs {
    /// Who talks, or else who is talked with.
    pub(super) fn agent(&self) -> &str {
        self.wallet.as_deref().unwrap_or(&self.agent)
    }
}

pub(super) async fn run(args: ChatArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let to = who::resolve(&args.agent, config)?;
    let wallet = match &args.wallet {
        Some(wallet) => wallet.clone(),
        None => other_agent(&to, config)?,
    };
    let thread = match &args.thread {
        Some(thread) => thread.clone(),
        None => {
            let random = random_key()?;
            let name = format!("chat-{}", random.get(..8).unwrap_or(&random));
            name.parse::<Thread>()
                .map_err(|error| Failure::data(error.to_string()))?
        }
    };
    let chat = Chat {
        to,
        wallet,
        thread,
        args,
        config,
        context,
    };
    let is_terminal = std::io::stdin().is_terminal();
    chat.greet(is_terminal)?;
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let line = line.map_err(|error| Failure::data(format!("the standard input: {error}")))?;
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        match chat.say(text).await {
            Ok(()) => {}
            // A person reads it, and may go on.
            Err(failure) if is_terminal && !context.output.is_json() => {
                let text = context.output.tone(Tone::Bad, &failure.to_string());
                context.output.line(text)?;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// The lines of the standard input. Reading them blocks a thread, which ends with the process.
fn lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    lines
}

/// The one agent of agents.toml that is not the one to talk with.
fn other_agent(to: &Address, config: &Config) -> Result<String, Failure> {
    let names: Vec<String> = config
        .agents
        .iter()
        .map(|agent| agent.name.to_string())
        .filter(|name| who::resolve(name, config).ok().as_ref() != Some(to))
        .collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(Failure::usage(
            "agents.toml has no other agent that could talk: name a wallet with --wallet",
        )),
        _ => Err(Failure::usage(format!(
            "name who talks with --wallet: agents.toml has {}",
            names.join(", ")
        ))),
    }
}

/// A conversation.
struct Chat<'a> {
    to: Address,
    wallet: String,
    thread: Thread,
    args: ChatArgs,
    config: &'a Config,
    context: &'a Context,
}

impl Chat<'_> {
    fn greet(&self, is_terminal: bool) -> Result<(), Failure> {
        let out = self.context.output;
        if !is_terminal || out.is_json() {
            return Ok(());
        }
        let public = if self.args.seal {
            "sealed"
        } else {
            "public for ever"
        };
        out.line(format!(
            "{} talks with {} in the conversation {}; it is {public}. Type a message; Ctrl-D ends.",
            self.wallet, self.args.agent, self.thread,
        ))
    }

    /// Sends a message, and prints the answer.
    async fn say(&self, text: &str) -> Result<(), Failure> {
        let sender = Sender {
            own: who::own(&self.wallet, self.config)?,
            name: self.wallet.clone(),
            password_file: self.args.password_file.clone(),
            prompt: std::io::stdin().is_terminal(),
        };
        let request = SendRequest {
            thread: Some(self.thread.clone()),
            seal: self.args.seal,
            ..SendRequest::new(self.to.clone(), Json::string(text), random_key()?)
        };
        let began = Instant::now();
        let mut sent = direct::dispatch(sender, request, self.config).await?;
        let wanted = Wanted {
            ack: None,
            outcome: true,
            answer: true,
        };
        let mut report = DeliveryReport::new(began, wanted);
        let out = self.context.output;
        let bar = out.progress(self.args.timeout.as_secs(), "");
        let mut answer = None;
        let verdict = report
            .follow(&mut sent.watch, self.args.timeout, |report, new| {
                answer = new
                    .iter()
                    .find(|stage| stage.stage == "answered")
                    .cloned()
                    .or(answer.take());
                show_waiting(&bar, report);
                Ok::<_, Failure>(false)
            })
            .await?;
        bar.finish_and_clear();
        let hash = report.hash().map(|hash| hash.to_string());
        if out.is_json() {
            let answered = answer.as_ref();
            out.json(&json!({
                "said": text,
                "transaction": hash,
                "thread": self.thread.to_string(),
                "answer": answered.and_then(|stage| stage.detail.as_deref()),
                "answer_transaction": answered.and_then(|stage| stage.transaction.as_deref()),
                "authenticity": answered.and_then(|stage| stage.authenticity.as_deref()),
            }))?;
        }
        match (answer, verdict) {
            (Some(answer), _) => {
                if !out.is_json() {
                    let text =
                        printable_lines(answer.detail.as_deref().unwrap_or_default(), LONGEST);
                    let doubt = answer.authenticity.filter(|word| word != "verified");
                    let doubt = doubt.map(|word| format!(" ({word})")).unwrap_or_default();
                    let name = out.tone(Tone::Good, &self.args.agent);
                    out.line(format!("{name}{doubt}: {text}"))?;
                }
                Ok(())
            }
            (None, Some(Verdict::Over(why))) => Err(why.into()),
            (None, _) => Err(Failure::new(
                ExitCode::Temporary,
                format!(
                    "no answer within {}; {}",
                    humantime::format_duration(self.args.timeout),
                    report.summary()
                ),
            )),
        }
    }
}
