//! `agentry agent message`.
//!
//! | part | purpose |
//! |---|---|
//! | `stage` | how a stage of a message is printed |

mod stage;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agentry_protocol::{
    AckRequest, Address, Amount, EncryptionKey, Json, KnownCommand, Payload, Thread, message,
};
use agentry_store::is_locked;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde_json::json;

use super::super::args::{amount, duration};
use super::super::output::printable;
use super::super::{Context, ExitCode, Failure};
use crate::config::Config;
use crate::ops::delivery::report::{DeliveryReport, Verdict, Wanted};
use crate::ops::send::direct::{self, Dispatched, Sender};
use crate::ops::send::{Ack, SendRequest, random_key};
use crate::ops::who;

/// Arguments of `agent message`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
With --wait, each stage of the message is printed as it happens: signed, accepted by the node, \
mined, acknowledged, answered. The exit code is 0 when the stage that was waited for is reached, \
75 when it is not reached in time (the stages reached and missed are printed; the runtime \
continues by itself) or the message expired, and 65 when the message could not be sent, was \
refused or failed.")]
pub struct MessageArgs {
    /// The sender, a wallet of the operator: its name, its agent's name, or its address
    #[arg(long, value_name = "ADDR|NAME")]
    wallet: String,
    /// The recipient: an address, or a name of agents.toml, of a wallet or of the directory
    #[arg(long, value_name = "ADDR|NAME")]
    to: String,
    /// The text to send; a JSON object with a `cmd` is a command
    text: String,
    /// Refuses a text that is not a command, or a known command with invalid parameters
    #[arg(long)]
    command: bool,
    /// The amount to transfer with it, in the unit of the chain
    #[arg(long, value_name = "AMOUNT", default_value_t, value_parser = amount)]
    amount: Amount,
    /// The conversation that the message belongs to
    #[arg(long, value_name = "THREAD")]
    thread: Option<Thread>,
    /// How long the message is valid; recipients do not act on it after that
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// Asks the recipient to acknowledge it; needs a running runtime that hosts the wallet
    #[arg(long, value_enum, value_name = "WHAT")]
    ack: Option<Asked>,
    /// How long to wait for the acknowledgment after the message is mined
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, requires = "ack")]
    within: Duration,
    /// How often to resend it if no acknowledgment comes; the recipient acts on it once
    #[arg(long, value_name = "N", default_value_t = 3, requires = "ack")]
    resends: u32,
    /// Seals the message, so that only the recipient can read it
    #[arg(long)]
    seal: bool,
    /// The key to seal it with, instead of the one in the directory
    #[arg(long, value_name = "HEX", requires = "seal")]
    recipient_key: Option<EncryptionKey>,
    /// Waits for the outcome
    #[arg(long, value_enum, value_name = "UNTIL", num_args = 0..=1, require_equals = true, default_missing_value = "outcome")]
    wait: Option<Until>,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// A file with the wallet's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl MessageArgs {
    /// Who sends.
    pub(super) fn sender(&self) -> &str {
        &self.wallet
    }
}

/// The acknowledgment to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// That the message has arrived
    Received,
    /// That the message has arrived, and its outcome
    Done,
}

impl From<Asked> for AckRequest {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Received => Self::Received,
            Asked::Done => Self::Done,
        }
    }
}

/// The stage to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Until {
    /// Until it is in a block
    Mined,
    /// Until it is acknowledged as --ack asks, or without --ack until it is answered
    Outcome,
    /// Until it is answered, and acknowledged as --ack asks
    Answer,
}

impl MessageArgs {
    fn wanted(&self) -> Wanted {
        let until = self.wait.unwrap_or(Until::Mined);
        Wanted {
            ack: self.ack.map(AckRequest::from),
            outcome: until != Until::Mined,
            answer: until == Until::Answer || (until == Until::Outcome && self.ack.is_none()),
        }
    }
}

pub(super) async fn run(
    args: MessageArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let payload = Json::string(args.text.clone());
    check(&Payload::read(&payload), args.command)?;
    let wanted = args.wanted();
    let to = who::resolve(&args.to, config)?;
    let sender = Sender {
        own: who::own(&args.wallet, config)?,
        name: args.wallet,
        password_file: args.password_file,
        prompt: std::io::stdin().is_terminal(),
    };
    let request = SendRequest {
        amount: args.amount,
        thread: args.thread,
        expires_in: args.expires,
        ack: args.ack.map(|asked| Ack {
            request: asked.into(),
            within: args.within,
            resends: args.resends,
        }),
        seal: args.seal,
        recipient_key: args.recipient_key,
        ..SendRequest::new(to.clone(), payload, random_key()?)
    };
    let began = Instant::now();
    let mut sent = direct::dispatch(sender, request, config).await?;
    let mut report = DeliveryReport::new(began, wanted);
    let waiting = Waiting {
        to: &to,
        limit: args.timeout,
        context,
    };
    let over = if args.wait.is_some() {
        waiting.follow(&mut sent, &mut report).await?
    } else {
        waiting.until_signed(&mut sent, &mut report).await?
    };
    let complete = matches!(over, Some(Verdict::Complete));
    let mut told = report.to_json(complete);
    if context.output.is_json() && (args.wait.is_some() || complete) {
        told["to"] = json!(to);
        told["outbox"] = json!(sent.outbox);
        told["message_id"] = json!(sent.id.as_ref().map(ToString::to_string));
        context.output.json(&told)?;
    }
    match over {
        Some(Verdict::Complete) => Ok(()),
        Some(Verdict::Over(why)) => Err(why.into()),
        None => Err(Failure::new(
            ExitCode::Temporary,
            format!(
                "timed out; {}. {}",
                report.summary(),
                look_at(&sent, told["transaction"].as_str(), config)
            ),
        )),
    }
}

/// Whether the message can be composed at all; and, if it must be one, whether it is a command.
fn check(payload: &Payload, must_be_command: bool) -> Result<(), Failure> {
    message::compose(payload, None).map_err(|error| Failure::data(error.to_string()))?;
    if !must_be_command {
        return Ok(());
    }
    match payload {
        Payload::Command(command) => match KnownCommand::read(command) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::usage(error.to_string())),
        },
        Payload::Text(_) | Payload::Opaque(_) => Err(Failure::usage(
            "the text is not a command; a command is a JSON object with a string \"cmd\"",
        )),
    }
}

/// Where to find out more, and who continues to deliver the message.
fn look_at(sent: &Dispatched, hash: Option<&str>, config: &Config) -> String {
    let Some(row) = sent.outbox else {
        let hash = hash.unwrap_or_default();
        return format!("`agentry chain transaction {hash}` shows its status");
    };
    let goes_on = if is_locked(&config.store.path).unwrap_or(false) {
        "the runtime continues to deliver it"
    } else {
        "the runtime has since ended, and continues to deliver it at its next start"
    };
    format!("`agentry queue show outbox/{row}` shows its status; {goes_on}")
}

/// Shows for how long, for what, and why is waited.
pub(super) fn show_waiting(bar: &ProgressBar, report: &DeliveryReport) {
    bar.set_position(report.elapsed().as_secs());
    let why = report.waits().map_or_else(String::new, |reason| {
        format!(": {}", printable(reason, 120))
    });
    bar.set_message(format!("waiting {}{why}", report.next()));
}

/// Waits for the stages of a message.
struct Waiting<'a> {
    to: &'a Address,
    limit: Duration,
    context: &'a Context,
}

impl Waiting<'_> {
    /// Prints stages as they happen, until there is a verdict or the time limit is reached.
    async fn follow(
        &self,
        sent: &mut Dispatched,
        report: &mut DeliveryReport,
    ) -> Result<Option<Verdict>, Failure> {
        let out = self.context.output;
        let bar = out.progress(self.limit.as_secs(), "");
        let mut told_to_wait = None;
        let verdict = report
            .follow(&mut sent.watch, self.limit, |report, new| {
                let waits = report.waits();
                if !out.is_json() {
                    for stage in new {
                        bar.suspend(|| out.line(stage::line(stage, self.to.as_str())))?;
                    }
                    if let Some(reason) = waits.filter(|_| waits != told_to_wait.as_deref()) {
                        let line = format!("queued    it {}", printable(reason, 300));
                        bar.suspend(|| out.line(line))?;
                    }
                }
                told_to_wait = waits.map(ToOwned::to_owned);
                show_waiting(&bar, report);
                Ok::<_, Failure>(false)
            })
            .await?;
        bar.finish_and_clear();
        Ok(verdict)
    }

    /// Waits for the signature, which takes a moment unless the node is down or others have
    /// priority.
    async fn until_signed(
        &self,
        sent: &mut Dispatched,
        report: &mut DeliveryReport,
    ) -> Result<Option<Verdict>, Failure> {
        // A message with a known reason to wait may wait for days.
        let is_enough =
            |report: &DeliveryReport| report.hash().is_some() || report.waits().is_some();
        let verdict = report
            .follow(&mut sent.watch, self.limit, |report, _| {
                Ok::<_, Failure>(is_enough(report))
            })
            .await?;
        if let Some(hash) = report.hash() {
            if !self.context.output.is_json() {
                let line = format!("sent {hash} to {}", self.to);
                self.context.output.line(line)?;
            }
            return Ok(Some(Verdict::Complete));
        }
        if let Some(Verdict::Over(_)) = verdict {
            return Ok(verdict);
        }
        let row = sent.outbox.unwrap_or(agentry_core::OutboxId(0));
        let why = report.waits().map_or_else(String::new, |reason| {
            format!(": it {}", printable(reason, 300))
        });
        Err(Failure::new(
            ExitCode::Temporary,
            format!(
                "queued as outbox/{row}, and not signed yet{why}. The runtime sends it as soon as \
                 it can; `agentry queue drop outbox/{row}` cancels it"
            ),
        ))
    }
}
