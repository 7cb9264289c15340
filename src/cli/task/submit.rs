//! `agentry task submit`.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agentry_core::OutboxId;
use agentry_protocol::command::{ExecuteAiJob, Model, Params, Prompt, Tag};
use agentry_protocol::{AckRequest, Json, JsonError, Limits};
use clap::Args;
use serde_json::json;

use super::super::args::duration;
use super::super::output::or_dash;
use super::super::{Context, ExitCode, Failure};
use super::{open, wait};
use crate::config::Config;
use crate::ops::send::random_key;
use crate::ops::tasks::job::Job;
use crate::ops::tasks::{self, SubmitJob};
use crate::ops::who;
use crate::runtime::control::Client;

/// How long to wait for the signature before the command ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `task submit`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "With --wait the exit code is 0 when the job is completed, 1 when it failed, was \
                  canceled or rejected, 75 when the time limit is reached."
)]
pub struct SubmitArgs {
    /// The sender, a hosted wallet: its name, its agent's name, or its address
    #[arg(long, value_name = "ADDR|NAME")]
    wallet: String,
    /// The recipient: an address, or a name of agents.toml, of a wallet or of the directory
    #[arg(long, value_name = "ADDR|NAME")]
    to: String,
    /// The type of the job
    #[arg(long = "type", value_name = "TYPE")]
    kind: Tag,
    /// The prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// A file with the prompt; - is standard input
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// The model that should answer
    #[arg(long, value_name = "NAME")]
    model: Option<Model>,
    /// A parameter for the executor: a number, true, false, null, other JSON, or else a text
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = parameter)]
    param: Vec<(String, Json)>,
    /// Parameters for the executor, a JSON object; --param overrides it
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// How long the result is useful
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
    /// Seals the job and its answer
    #[arg(long)]
    seal: bool,
    /// The acknowledgment to ask for; without one the message is resent up to three times
    #[arg(long, value_name = "received|done", value_parser = ack)]
    ack: Option<AckRequest>,
    /// Sends the job even if the recipient's card, or agents.toml, does not offer its type
    #[arg(long)]
    anyway: bool,
    /// Waits until the job has ended, and prints its result
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

impl SubmitArgs {
    /// Who asks.
    pub(super) fn sender(&self) -> &str {
        &self.wallet
    }
}

fn ack(word: &str) -> Result<AckRequest, String> {
    AckRequest::from_word(word).ok_or_else(|| "it is `received` or `done`".to_owned())
}

fn parameter(text: &str) -> Result<(String, Json), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "there is no `=`; write KEY=VALUE".to_owned())?;
    let value = match Json::parse(value.as_bytes(), Limits::default()) {
        Ok(value) => value,
        // A number that cannot be sent must not silently become a text.
        Err(error @ JsonError::FloatRange { .. }) => {
            return Err(format!(
                "{error}; write it as a text, {key}='\"{value}\"', if a text is acceptable"
            ));
        }
        Err(_) => Json::string(value),
    };
    Ok((key.trim().to_owned(), value))
}

pub(super) async fn run(
    args: SubmitArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let began = Instant::now();
    let to = who::resolve(&args.to, config)?;
    let job = ExecuteAiJob {
        prompt: prompt(&args)?,
        params: params(&args)?,
        kind: args.kind,
        model: args.model,
        deadline: None,
    };
    let submitted = SubmitJob {
        thread: None,
        wallet: args.wallet,
        to: to.clone(),
        job,
        useful_for: args.deadline,
        ack: args.ack,
        seal: args.seal,
        anyway: args.anyway,
        key: random_key()?,
        token: None,
    };
    let row = tasks::submit(submitted, config).await?;
    let patience = if args.wait { args.timeout } else { PATIENCE };
    let sent = signed(row, began + patience, config).await?;
    let out = context.output;
    if !args.wait {
        return if out.is_json() {
            out.json(&json!({
                "id": sent.id,
                "transaction": sent.transaction,
                "result_id": sent.result_id,
                "from": sent.from,
                "to": to,
            }))
        } else {
            say(&sent, context)
        };
    }
    if !out.is_json() {
        say(&sent, context)?;
    }
    wait::wait(&sent.id, began + args.timeout, config, context).await
}

fn say(sent: &Job, context: &Context) -> Result<(), Failure> {
    context.output.fields(&[
        ("id", sent.id.clone()),
        ("transaction", or_dash(sent.transaction.as_deref())),
        ("result_id", or_dash(sent.result_id.as_deref())),
        ("to", sent.to.clone()),
    ])
}

fn prompt(args: &SubmitArgs) -> Result<Option<Prompt>, Failure> {
    let text = match (&args.prompt, &args.prompt_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => read(path)?,
        (None, None) => return Ok(None),
    };
    text.parse()
        .map(Some)
        .map_err(|error| Failure::data(format!("the prompt: {error}")))
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    // One byte more than the limit shows that it is too long.
    let limit = u64::try_from(agentry_protocol::command::PROMPT_MAX).unwrap_or(u64::MAX) + 1;
    let doing = format!("reading {}", path.display());
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::io(doing, &error)),
    }
}

fn params(args: &SubmitArgs) -> Result<Option<Params>, Failure> {
    let wrong = |what: String| Failure::usage(format!("--params: {what}"));
    let whole = match &args.params {
        Some(text) => {
            let whole = Json::parse(text.as_bytes(), Limits::default())
                .map_err(|error| wrong(error.to_string()))?;
            if !whole.root().is_object() || whole.has_duplicate_keys() {
                return Err(wrong("it is not a JSON object with unique keys".to_owned()));
            }
            whole
        }
        None if args.param.is_empty() => return Ok(None),
        None => Json::object::<String>([]),
    };
    let single = |key: &str| args.param.iter().rev().find(|(name, _)| name == key);
    let kept = whole
        .root()
        .entries()
        .filter(|(key, _)| single(key).is_none())
        .map(|(key, value)| (key.to_owned(), value.to_json()));
    let mut entries: Vec<(String, Json)> = kept.collect();
    for (index, (key, value)) in args.param.iter().enumerate() {
        let is_last = args
            .param
            .iter()
            .skip(index + 1)
            .all(|(name, _)| name != key);
        if is_last {
            entries.push((key.clone(), value.clone()));
        }
    }
    Params::new(Json::object(entries))
        .map(Some)
        .map_err(|error| Failure::data(format!("the parameters: {error}")))
}

/// Waits for the signature, which takes a moment unless the node is down or others have priority.
async fn signed(row: OutboxId, deadline: Instant, config: &Config) -> Result<Job, Failure> {
    let id = format!("outbox/{row}");
    if config.cluster.is_some() {
        // Another host may have taken the job: this machine's copy gets it a moment later.
        Client::new(&config.store.path).refresh().await?;
    }
    let job = tasks::until_sent(&open(config)?, &id, deadline, config).await?;
    let job = job.ok_or_else(|| Failure::internal(format!("the job {id} is not in the store")))?;
    if job.is_sent() {
        return Ok(job);
    }
    Err(Failure::new(
        ExitCode::Temporary,
        format!(
            "queued as {id}, and not signed yet; `agentry task show {id}` shows why. It will be \
             sent"
        ),
    ))
}
