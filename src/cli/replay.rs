//! `agentry replay`: compares what the configured behaviours would send with what was sent.

use std::ops::ControlFlow;

use agentry_protocol::BlockHeight;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::output::{Tone, printable};
use super::{Context, ExitCode, Failure};
use crate::ops::who;
use crate::replay::report::{Cause, Compared, Mark, Report, Summary};
use crate::replay::{ComparedMessage, Options, ReplayError, ReplayEvent, replay};

/// Maximum length of a printed text, in characters.
const SHOWN: usize = 200;

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The first block
    #[arg(long, value_name = "HEIGHT")]
    from: u64,
    /// The last block [default: the chain's head]
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
    /// Only this agent, by name, wallet or address; may be given several times [default: all agents
    /// with behaviours]
    #[arg(long = "agent", value_name = "ADDR|NAME")]
    agents: Vec<String>,
    /// Opens sealed messages, which needs the wallets' passwords; otherwise answers to them are not
    /// compared
    #[arg(long)]
    open_sealed: bool,
    /// A file with the wallets' password; overrides the configuration
    #[arg(long, value_name = "FILE", requires = "open_sealed")]
    password_file: Option<std::path::PathBuf>,
    /// Prints only what the behaviours would do differently
    #[arg(long)]
    differing: bool,
}

pub(super) fn run(args: &ReplayArgs, context: &Context) -> Result<(), Failure> {
    let mut config = context.config()?;
    if let Some(path) = &args.password_file {
        for fleet in &mut config.fleets {
            fleet.password_file = Some(path.clone());
        }
        config.wallets.password_file = Some(path.clone());
    }
    let agents = args
        .agents
        .iter()
        .map(|agent| {
            // Unlocking determines the addresses that keystore files do not state.
            let address = who::own(agent, &config)?.address;
            Ok(address.map_or_else(|| agent.clone(), |address| address.to_string()))
        })
        .collect::<Result<_, Failure>>()?;
    let options = Options {
        from: BlockHeight(args.from),
        to: args.to.map(BlockHeight),
        agents,
        open_sealed: args.open_sealed,
        prompt: std::io::IsTerminal::is_terminal(&std::io::stdin()),
    };
    // Behaviours run on their own threads, so that a blocked one can be abandoned.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("agentry-worker")
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("starting threads: {error}")))?;
    let mut teller = Teller {
        context,
        bar: ProgressBar::hidden(),
        from: args.from,
        differing: args.differing,
        failure: None,
    };
    let replayed = runtime.block_on(replay(&config, &options, &mut |told| teller.tell(told)));
    teller.bar.finish_and_clear();
    // Handlers that do not yield are abandoned.
    runtime.shutdown_background();
    if let Some(failure) = teller.failure {
        return Err(failure);
    }
    let summary = replayed?;
    conclude(&summary, context)?;
    if summary.differs() {
        return Err(Failure::new(ExitCode::Failed, ""));
    }
    Ok(())
}

/// Prints the replay's results.
struct Teller<'a> {
    context: &'a Context,
    bar: ProgressBar,
    from: u64,
    differing: bool,
    /// The first failed write, which ends the replay.
    failure: Option<Failure>,
}

impl Teller<'_> {
    fn tell(&mut self, told: ReplayEvent) -> ControlFlow<()> {
        match told {
            ReplayEvent::Begins { from, to } => {
                let blocks = to.0.saturating_sub(from.0).saturating_add(1);
                self.bar = self.context.output.progress(blocks, "replaying");
            }
            ReplayEvent::ReadThrough(height) => {
                let read = height.0.saturating_add(1).saturating_sub(self.from);
                self.bar.set_position(read);
            }
            ReplayEvent::Warning(warning) => self
                .bar
                .suspend(|| tracing::warn!("{}", printable(&warning, 500))),
            ReplayEvent::Report(report) => {
                let differs = report.sends.iter().any(|one| one.mark.is_difference());
                if self.differing && !differs {
                    return ControlFlow::Continue(());
                }
                let context = self.context;
                let printed = self.bar.suspend(|| show(&report, context));
                if let Err(failure) = printed {
                    self.failure = Some(failure);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn show(report: &Report, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(report);
    }
    let agent = printable(&report.agent, 100);
    let height = report.cause.height();
    let head = match &report.cause {
        Cause::Message {
            transaction,
            from,
            text,
            sealed,
            authenticity,
            ..
        } => {
            let is_open = *sealed && text.is_some();
            let text = shown(text.as_deref());
            let sealed = if is_open { ", sealed" } else { "" };
            let from = printable(from.as_str(), 100);
            format!("{height}  {agent} ← {from}  {text}  {authenticity}{sealed}  {transaction}")
        }
        Cause::Timer {
            behaviour, name, ..
        } => format!(
            "{height}  {agent}  timer {} of {behaviour}",
            printable(name, SHOWN)
        ),
        Cause::DeliveryUpdate {
            behaviour,
            label,
            update,
            ..
        } => format!(
            "{height}  {agent}  {update}: {} of {behaviour}",
            printable(label, SHOWN)
        ),
        Cause::Unasked { .. } => format!("{height}  {agent}  unprompted"),
    };
    let mut lines = vec![out.tone(Tone::Strong, &head)];
    for note in &report.notes {
        lines.push(out.tone(Tone::Faint, &format!("    {}", printable(note, 500))));
    }
    for one in &report.sends {
        lines.extend(compared(one, context));
    }
    out.line(lines.join("\n"))
}

/// What would be sent and what was sent, on a line each, or on one line if they are the same.
fn compared(one: &Compared, context: &Context) -> Vec<String> {
    let out = context.output;
    let tone = match one.mark {
        Mark::Same => Tone::Good,
        Mark::Differs | Mark::Missing | Mark::Extra => Tone::Bad,
        Mark::NotCompared | Mark::Unasked => Tone::Faint,
    };
    let mark = out.tone(tone, &format!("{:12}", one.mark));
    let would = one.would.as_ref().map(|would| {
        let behaviour = printable(&would.behaviour, 100);
        format!("would send  {}  by {behaviour}", said(&would.said))
    });
    let did = one.did.as_ref().map(|did| {
        format!(
            "did send    {}  in block {}, {}",
            said(&did.said),
            did.height,
            did.transaction
        )
    });
    let lines: Vec<String> = match one.mark {
        Mark::Same => did.into_iter().collect(),
        _ => would.into_iter().chain(did).collect(),
    };
    let blank = " ".repeat(12);
    lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| format!("    {}  {line}", if index == 0 { &mark } else { &blank }))
        .collect()
}

fn said(said: &ComparedMessage) -> String {
    let text = shown(said.text.as_deref());
    let to = printable(said.to.as_str(), 100);
    let amount = said
        .amount
        .as_ref()
        .map_or_else(String::new, |amount| format!(" with an amount of {amount}"));
    let sealed = if said.sealed && said.text.is_some() {
        " (sealed)"
    } else {
        ""
    };
    format!("→ {to}  {text}{sealed}{amount}")
}

/// A text in quotes; a command unchanged.
fn shown(text: Option<&str>) -> String {
    match text {
        None => "(sealed)".to_owned(),
        Some(text) if text.starts_with('{') => printable(text, SHOWN),
        Some(text) => format!("\"{}\"", printable(text, SHOWN)),
    }
}

fn conclude(summary: &Summary, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "summary": summary, "differs": summary.differs() }));
    }
    let mut parts = vec![
        format!("same {}", summary.same),
        format!("differs {}", summary.differs),
        format!("missing {}", summary.missing),
        format!("extra {}", summary.extra),
    ];
    let further = [
        ("not compared", summary.not_compared),
        ("unasked", summary.unasked),
        ("tasks not executed", summary.tasks),
        ("sealed and not opened", summary.closed),
        ("expired", summary.expired),
        ("forged", summary.forged),
        ("repeated", summary.repeated),
        ("answers to older messages", summary.outside),
        (
            "messages cut, because too many waited for answers",
            summary.cut,
        ),
        ("blocks with gaps", summary.gaps),
    ];
    parts.extend(
        further
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}")),
    );
    let tone = if summary.differs() {
        Tone::Bad
    } else {
        Tone::Good
    };
    let line = format!(
        "blocks {} to {}; messages {}: {}",
        summary.from,
        summary.to,
        summary.messages,
        parts.join(", ")
    );
    out.line(out.tone(tone, &line))
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Agents(error) => return error.into(),
            ReplayError::Host(error) => return error.into(),
            ReplayError::Store(error) => return error.into(),
            ReplayError::Unlock(error) => {
                return crate::runtime::host::HostError::from(error).into();
            }
            ReplayError::Backwards { .. } => ExitCode::Usage,
            ReplayError::Beyond { .. }
            | ReplayError::NoBlock
            | ReplayError::NoAgent(_)
            | ReplayError::NoBehaviours => ExitCode::NoInput,
            ReplayError::NoAddress { .. } => ExitCode::Data,
            ReplayError::Reorganised => ExitCode::Temporary,
            ReplayError::Source(_) | ReplayError::Stuck { .. } => ExitCode::Unavailable,
            ReplayError::State(_) => ExitCode::Io,
            ReplayError::Panicked => ExitCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
