//! `agentry tx inspect`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use agentry_protocol::{Json, Limits, MessageDigest, PublicKey, StoredTransaction, Verification};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Tone, printable};
use super::{Context, Failure};

/// The subcommands of `tx`.
#[derive(Debug, Subcommand)]
pub enum TxCommand {
    /// Prints what a transaction's signature covers, its hash, and whether the signature is valid
    Inspect(InspectArgs),
}

/// Arguments of `tx inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The JSON that was posted, or the form that a node stores; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The sender's public key, if the transaction does not contain it
    #[arg(long, value_name = "HEX")]
    public_key: Option<PublicKey>,
}

pub(super) fn run(command: TxCommand, context: &Context) -> Result<(), Failure> {
    match command {
        TxCommand::Inspect(args) => inspect(&args, context),
    }
}

/// The result of an inspection.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// The text that its signature covers.
    pub signing_text: String,
    /// SHA-256 of that text; it identifies the message.
    pub signing_sha256: MessageDigest,
    /// The hash under which a node stores the transaction.
    pub transaction_hash: agentry_protocol::TransactionHash,
    /// `valid`, `invalid`, `missing`, `misspelled` or `unknown_key`.
    pub signature: &'static str,
    /// Whether `from` is an address of the public key; `None` without a key.
    pub address_matches: Option<bool>,
    /// Whether the signature covers all eight keys, or the seven that one older client signs.
    pub signed_keys: u8,
}

/// Inspects a transaction in JSON. `known` is the sender's key, for JSON that does not contain one.
///
/// # Errors
/// The JSON is not a transaction.
pub fn examine(text: &[u8], known: Option<PublicKey>) -> Result<Inspection, Failure> {
    let json = Json::parse(text, Limits::default())?;
    // A row of blocks-range holds the stored form under `payload`.
    let root = json.root();
    let object = match (root.get("from"), root.get("payload")) {
        (None, Some(inner)) if inner.get("from").is_some() => inner,
        _ => root,
    };
    let stored = StoredTransaction::from_json(object)?;
    let stated = object.get("public_key").filter(|key| !key.is_null());
    // A stated key that cannot be parsed verifies nothing.
    let stated_key = stated.map(|key| key.as_str().and_then(|text| text.parse::<PublicKey>().ok()));
    let key = stated_key.unwrap_or(known);
    let verification = match key {
        Some(key) => stored.verify(&key),
        None => without_key(&stored),
    };
    let signature = match verification {
        Verification::Valid | Verification::ValidSevenKeys => "valid",
        Verification::Missing => "missing",
        Verification::Misspelled => "misspelled",
        Verification::Invalid if key.is_none() && stated.is_none() => "unknown_key",
        Verification::Invalid => "invalid",
    };
    let seven = verification == Verification::ValidSevenKeys;
    let signing_text = if seven {
        stored.signing_text_seven_keys()
    } else {
        stored.signing_text()
    };
    let address_matches = match (key, stated) {
        (Some(key), _) => Some(stored.from.matches(&key)),
        (None, Some(_)) => Some(false),
        (None, None) => None,
    };
    Ok(Inspection {
        signing_sha256: MessageDigest::of(signing_text.as_bytes()),
        signing_text,
        transaction_hash: stored.hash(),
        signature,
        address_matches,
        signed_keys: if seven { 7 } else { 8 },
    })
}

/// The result for a signature whose key is unknown.
fn without_key(stored: &StoredTransaction) -> Verification {
    match stored
        .signature
        .as_deref()
        .map(str::parse::<agentry_protocol::Signature>)
    {
        None => Verification::Missing,
        Some(Err(_)) => Verification::Misspelled,
        Some(Ok(_)) => Verification::Invalid,
    }
}

fn inspect(args: &InspectArgs, context: &Context) -> Result<(), Failure> {
    let name = if args.file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        args.file.display().to_string()
    };
    let text = read(args).map_err(|error| Failure::io(format!("reading {name}"), &error))?;
    let inspection = examine(&text, args.public_key)
        .map_err(|failure| Failure::new(failure.code, format!("{name}: {}", failure.message)))?;
    let out = context.output;
    if out.is_json() {
        return out.json(&inspection);
    }
    let tone = if inspection.signature == "valid" {
        Tone::Good
    } else {
        Tone::Bad
    };
    let matches = match inspection.address_matches {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown: no public key; give it with --public-key",
    };
    out.fields(&[
        (
            "signing_text",
            printable(&inspection.signing_text, usize::MAX),
        ),
        ("signing_sha256", inspection.signing_sha256.to_string()),
        ("transaction_hash", inspection.transaction_hash.to_string()),
        ("signature", out.tone(tone, inspection.signature)),
        ("address_matches", matches.to_owned()),
    ])
}

fn read(args: &InspectArgs) -> io::Result<Vec<u8>> {
    // One byte more than is allowed, so that the parser reports the excess.
    let limit = Limits::default().max_bytes as u64 + 1;
    let mut text = Vec::new();
    if args.file.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut text)?;
    } else {
        File::open(&args.file)?.take(limit).read_to_end(&mut text)?;
    }
    Ok(text)
}
