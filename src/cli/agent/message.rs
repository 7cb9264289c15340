//! `agentry agent message`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agentry_chain::{NodeClient, SubmitError};
use agentry_protocol::{
    Address, BlockHeight, Json, Number, SignedTransaction, SigningKey, Transaction, TransactionHash,
};
use clap::Args;
use serde_json::json;

use super::super::args::duration;
use super::super::output::printable;
use super::super::{Context, ExitCode, Failure, runtime};
use super::{client, resolve};
use crate::config::{Config, NoncePolicy};
use crate::demo::evidence::{self, Found};
use crate::runtime::clock::Clock;
use crate::runtime::control::{self, Answer, ControlError, Request};
use crate::runtime::send;
use crate::store::list::{self, Filter};
use crate::store::open_for_reading;
use crate::wallet::{PasswordSource, WalletStore};

/// How often the node is asked while it is waited for.
const POLL: Duration = Duration::from_millis(50);

/// Arguments of `agent message`.
#[derive(Clone, Debug, Args)]
pub struct MessageArgs {
    /// The sender's wallet
    #[arg(long, value_name = "NAME")]
    wallet: String,
    /// An address, or the name of an agent of agents.toml
    #[arg(long, value_name = "ADDR|NAME")]
    to: String,
    /// What is said; a JSON object with a `cmd` is a command
    text: String,
    /// What is transferred with it, in AIT
    #[arg(long, value_name = "AIT", default_value_t = 0)]
    amount: u64,
    /// Waits until it is mined, and for the first answer
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// A file that holds the wallet's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// A message that is on its way.
struct Sent {
    from: Address,
    hash: TransactionHash,
    /// The row of the outbox, where a runtime sends it.
    outbox: Option<i64>,
    /// The head before it was sent.
    height: BlockHeight,
}

pub(super) fn run(args: MessageArgs, config: &Config, context: &Context) -> Result<(), Failure> {
    let to = resolve(&args.to, config)?;
    runtime()?.block_on(send(args, to, config, context))
}

async fn send(
    args: MessageArgs,
    to: Address,
    config: &Config,
    context: &Context,
) -> Result<(), Failure> {
    let out = context.output;
    let reader = client(&config.chain.rpc)?;
    let height = reader
        .head()
        .await?
        .map_or(BlockHeight(0), |head| head.height);
    let began = Instant::now();
    let deadline = began + args.timeout;
    let sent = match through_runtime(&args, &to, height, config, deadline).await? {
        Some(sent) => sent,
        None => directly(&args, &to, height, config).await?,
    };
    if !args.wait {
        if out.is_json() {
            return out.json(&json!({
                "transaction": sent.hash.to_string(),
                "from": sent.from,
                "to": to,
                "outbox": sent.outbox,
            }));
        }
        return out.line(format!("sent {} to {to}", sent.hash));
    }
    if !out.is_json() {
        out.line(format!("sent      {} to {to}", sent.hash))?;
    }
    let mined = wait(
        &reader,
        &sent,
        sent.height,
        deadline,
        "to be mined",
        |found| found.hash == sent.hash,
    )
    .await?;
    if !out.is_json() {
        out.line(format!(
            "mined     in block {} after {}",
            mined.height,
            since(began)
        ))?;
    }
    let answer = wait(
        &reader,
        &sent,
        mined.height,
        deadline,
        "for an answer",
        |found| found.stored.from == to && found.stored.to == sent.from && found.hash != sent.hash,
    )
    .await?;
    let payload = &answer.stored.payload;
    let text = payload
        .root()
        .as_str()
        .map_or_else(|| payload.to_compact(), str::to_owned);
    if out.is_json() {
        return out.json(&json!({
            "transaction": sent.hash.to_string(),
            "from": sent.from,
            "to": to,
            "outbox": sent.outbox,
            "height": mined.height,
            "answer": {
                "transaction": answer.hash.to_string(),
                "height": answer.height,
                "text": text,
            },
            "round_trip_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }
    out.line(format!(
        "answered  in block {} after {}: {}",
        answer.height,
        since(began),
        printable(&text, 500)
    ))?;
    out.line(format!("          {}", answer.hash))
}

fn since(began: Instant) -> String {
    format!("{:.2} s", began.elapsed().as_secs_f64())
}

async fn wait(
    node: &NodeClient,
    sent: &Sent,
    from: BlockHeight,
    deadline: Instant,
    what: &str,
    wanted: impl Fn(&Found) -> bool,
) -> Result<Found, Failure> {
    evidence::wait(node, from, deadline, POLL, wanted)
        .await?
        .ok_or_else(|| {
            let look = sent.outbox.map_or_else(
                || format!("`agentry chain transaction {}`", sent.hash),
                |row| format!("`agentry queue show outbox/{row}`"),
            );
            Failure::new(
                ExitCode::Temporary,
                format!("the time is over; waited in vain {what}. {look} says where it stands"),
            )
        })
}

/// Has a running runtime send it, if one hosts the wallet: its nonces are that runtime's business.
async fn through_runtime(
    args: &MessageArgs,
    to: &Address,
    height: BlockHeight,
    config: &Config,
    deadline: Instant,
) -> Result<Option<Sent>, Failure> {
    let mut key = [0_u8; 16];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::internal(format!("making a request's key: {error}")))?;
    let request = Request::Send {
        from: args.wallet.clone(),
        message: Box::new(send::Request {
            amount: args.amount,
            ..send::Request::new(
                to.clone(),
                Json::string(args.text.clone()),
                hex::encode(key),
            )
        }),
    };
    let row = match control::ask(&config.store.path, &request).await {
        Ok(Answer::Queued { outbox, .. }) => outbox,
        // The wallet is another's: it is sent from here.
        Ok(Answer::Refused { reason }) if reason.ends_with("is not hosted here") => {
            return Ok(None);
        }
        Ok(Answer::Refused { reason }) => return Err(Failure::new(ExitCode::Temporary, reason)),
        Ok(Answer::Done { .. }) => {
            return Err(Failure::internal("the runtime answered something else"));
        }
        Err(ControlError::NotRunning { .. }) => return Ok(None),
        Err(error) => return Err(Failure::new(ExitCode::Unavailable, error.to_string())),
    };
    // It is signed in a moment, unless the node is down or others go first.
    loop {
        let db = open_for_reading(&config.store.path)?;
        let filter = Filter {
            row: Some(row),
            limit: 1,
            ..Filter::default()
        };
        let item = list::outbox(&db, &filter)
            .map_err(crate::store::StoreError::from)?
            .pop();
        let signed = item.as_ref().and_then(|item| {
            Some((
                item.hash.as_deref()?.parse().ok()?,
                item.from.parse::<Address>().ok()?,
            ))
        });
        if let Some((hash, from)) = signed {
            return Ok(Some(Sent {
                from,
                hash,
                outbox: Some(row),
                height,
            }));
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(
                ExitCode::Temporary,
                format!(
                    "queued as outbox/{row}, and not signed yet; `agentry queue show outbox/{row}` says why. It will be sent"
                ),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Signs it here and posts it.
async fn directly(
    args: &MessageArgs,
    to: &Address,
    height: BlockHeight,
    config: &Config,
) -> Result<Sent, Failure> {
    let wallet = WalletStore::from_config(&config.wallets).find(&args.wallet)?;
    let password = PasswordSource {
        flag: args.password_file.clone(),
        configured: config.wallets.password_file.clone(),
        keystore_dir: config.wallets.keystore_dir.clone(),
        prompt: std::io::stdin().is_terminal(),
    }
    .password(&format!("wallet {}", args.wallet))?;
    let unlocked = wallet.unlock(&password)?;
    let submit = client(&config.chain.submit)?;
    let nonce = match config.chain.nonce {
        NoncePolicy::Timestamp => Clock::default().now_ms(),
        NoncePolicy::Sequential => submit.account(&unlocked.address).await?.nonce,
    };
    let signed: SignedTransaction = Transaction {
        from: unlocked.address.clone(),
        to: to.clone(),
        amount: Number::from(args.amount),
        fee: Number::from(config.defaults.fee),
        nonce: Number::from(nonce),
        payload: Json::string(args.text.clone()),
        chain_id: config.chain.id.clone(),
    }
    .sign(&SigningKey::from_seed(&unlocked.seed));
    let hash = signed.hash();
    match submit.submit(&signed.body()).await {
        Ok(_) => Ok(Sent {
            from: unlocked.address,
            hash,
            outbox: None,
            height,
        }),
        Err(error @ SubmitError::Unknown { .. }) => Err(Failure::new(
            ExitCode::Temporary,
            format!("{error}; the transaction is {hash}: look for it before you send again"),
        )),
        Err(error) => Err(error.into()),
    }
}
