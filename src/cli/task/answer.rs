//! `agentry task answer`.

use std::io::Read;

use agentry_protocol::command::ANSWER_MAX;
use agentry_protocol::{Json, JsonError, Limits};
use clap::Args;
use serde_json::json;

use super::super::{Context, Failure};
use super::{IdArgs, open};
use crate::config::Config;
use crate::ops::tasks;

/// Arguments of `task answer`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A job asks if its state is `input-required`; `agentry task show` prints the \
                  question. A question has one answer: a second one is not sent."
)]
pub struct AnswerArgs {
    #[command(flatten)]
    id: IdArgs,
    /// The answer: a number, true, false, other JSON, or else a text; - is standard input
    #[arg(value_name = "ANSWER", allow_hyphen_values = true)]
    answer: String,
}

pub(super) async fn run(
    args: &AnswerArgs,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let answer = answer(&args.answer)?;
    let (job, sent) =
        tasks::answer(&open(config)?, args.id.id.trim(), answer, None, config).await?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "id": job.id,
            "input": job.input.map(|input| input.number),
            "outbox": sent.outbox,
            "transaction": sent.hash,
        }));
    }
    out.line(format!(
        "answered {}: outbox/{}{}",
        job.id,
        sent.outbox,
        sent.hash
            .map_or_else(String::new, |hash| format!(", {hash}"))
    ))
}

fn answer(text: &str) -> Result<Json, Failure> {
    let text = match text {
        "-" => stdin()?,
        text => text.to_owned(),
    };
    match Json::parse(text.as_bytes(), Limits::default()) {
        Ok(json) => Ok(json),
        // A number that cannot be sent must not silently become a text.
        Err(error @ JsonError::FloatRange { .. }) => Err(Failure::data(format!(
            "the answer: {error}; put it in quotes if a text is acceptable"
        ))),
        Err(_) => Ok(Json::string(text)),
    }
}

fn stdin() -> Result<String, Failure> {
    // One byte more than the limit shows that it is too long.
    let limit = u64::try_from(ANSWER_MAX).unwrap_or(u64::MAX) + 1;
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut text);
    read.map_err(|error| Failure::data(format!("reading standard input: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
