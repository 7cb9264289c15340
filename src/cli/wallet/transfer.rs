//! `agentry wallet import` and `agentry wallet export`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use agentry_protocol::{Address, KeyType, Keystore, KeystoreError, Seed};
use clap::{Args, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{Context, ExitCode, Failure};
use super::{KeyArgs, PlaceArgs, made, other_passwords};
use crate::wallet::password::not_empty;
use crate::wallet::{Wallet, WalletError, WalletInfo, WalletName, pack, store, write_new};

/// Maximum size of a file to import, in bytes.
const LARGEST: u64 = 64 << 10;

/// Arguments of `wallet import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The name of the imported wallet
    name: WalletName,
    /// A keystore file of any form, or 64 hex digits of a seed; `-` is standard input
    file: PathBuf,
    /// A file with the password of FILE [default: the password of the wallets here]
    #[arg(long, value_name = "PASSWORD")]
    source_password_file: Option<PathBuf>,
    /// The type of the key and the form of the address, if FILE does not state them
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// The form of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportForm {
    /// As AITBC's client wallets, and this program
    Client,
    /// As AITBC's command line, which reads NAME.json in ~/.aitbc/wallets
    Cli,
}

/// Arguments of `wallet export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The wallet
    name: String,
    /// The new file; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// The form of the file
    #[arg(long, value_enum, default_value_t = ExportForm::Client)]
    form: ExportForm,
    /// A file with the password of the export [default: the wallet's own]
    #[arg(long, value_name = "PASSWORD")]
    new_password_file: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) fn import(args: &ImportArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    store.free_path(&args.name)?;
    let shown = args.file.display().to_string();
    let bytes = read(&args.file)?;
    let what = format!("wallet {}", args.name);
    let (seed, address, stated_name, password) = if is_seed(&bytes) {
        let key_type = args.key.key_type(context)?;
        let seed = seed(&bytes, key_type).ok_or_else(|| {
            Failure::new(
                ExitCode::Data,
                format!("{shown} holds no key of type {key_type}: it is zero or too large"),
            )
        })?;
        (seed, None, None, passwords.new_password(&what)?)
    } else {
        let damaged = |error: &KeystoreError| {
            Failure::from(WalletError::Damaged {
                path: args.file.clone(),
                reason: error.to_string(),
            })
        };
        let keystore = Keystore::parse(&bytes).map_err(|error| damaged(&error))?;
        let key_type = keystore.key_type();
        if args
            .key
            .key_type
            .is_some_and(|wanted| KeyType::from(wanted) != key_type)
        {
            return Err(Failure::usage(format!(
                "{shown} has a key of type {key_type}; leave --key-type out"
            )));
        }
        let (source, own) = match other_passwords(args.source_password_file.clone()) {
            _ if keystore.form().is_plain() => {
                tracing::warn!(
                    path = %args.file.display(),
                    "the file's key is not encrypted; delete the file once it is not needed any more"
                );
                (Wallet::no_password(), passwords.new_password(&what)?)
            }
            Some(source) => (source.password(&shown)?, passwords.new_password(&what)?),
            None => {
                let password = passwords.password(&shown)?;
                (password.clone(), not_empty(password)?)
            }
        };
        let seed = keystore.unlock(&source).map_err(|error| match error {
            KeystoreError::WrongPassword => wrong_source(&shown, args),
            error => damaged(&error),
        })?;
        let name = keystore.name().map(str::to_owned);
        (seed, keystore.address().cloned(), name, own)
    };
    let address = match address {
        Some(address) => address,
        None => pack::address_of(&seed, args.key.form()),
    };
    let wallet = store.add(&args.name, &seed, &address, &password)?;
    // What the source file states: the new file states the address.
    made(
        &WalletInfo {
            stated_name,
            ..wallet
        },
        context,
    )
}

/// A wrong password of the file to import. The file has its own option for the password; without
/// it, the password of the wallets here is used.
fn wrong_source(shown: &str, args: &ImportArgs) -> Failure {
    let fix = match &args.source_password_file {
        Some(file) => format!(
            "{} contains a different one: name the right file with --source-password-file",
            file.display()
        ),
        None => "the password of the wallets here was tried; --source-password-file names a file \
                 with the right one"
            .to_owned(),
    };
    Failure::new(
        ExitCode::Denied,
        format!("wrong password for {shown}: {fix}"),
    )
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::io(format!("reading {}", path.display()), &error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(WalletError::Damaged {
            path: path.to_owned(),
            reason: format!("it is larger than {LARGEST} bytes"),
        }
        .into());
    }
    Ok(bytes)
}

/// Whether the bytes are a seed in hex.
fn is_seed(bytes: &[u8]) -> bool {
    seed(bytes, KeyType::Ed25519).is_some()
}

/// The seed in hex that the bytes are; `None` if it is no key of this type.
fn seed(bytes: &[u8], key_type: KeyType) -> Option<Seed> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut seed = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(digits, &mut *seed).ok()?;
    Seed::new(*seed, key_type).ok()
}

pub(super) fn export(args: &ExportArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    let wallet = store.find(&args.name)?;
    let password = passwords.password_of(&wallet)?;
    let unlocked = wallet.unlock(&password)?;
    let password = match other_passwords(args.new_password_file.clone()) {
        Some(passwords) => passwords.new_password("the export")?,
        None if wallet.is_plain() => passwords.new_password("the export")?,
        None => not_empty(password)?,
    };
    let (seed, address) = (&unlocked.seed, &unlocked.address);
    let text = match args.form {
        ExportForm::Client => store::encrypt(seed, address, &password)?,
        ExportForm::Cli => store::encrypt_cli(&args.name, seed, address, &password)?,
    };
    if args.output.as_os_str() == "-" {
        return context.output.text(&text);
    }
    write_new(&args.output, text.as_bytes())?;
    let out = context.output;
    if out.is_json() {
        let address: &Address = &unlocked.address;
        return out.json(&json!({ "name": args.name, "address": address, "path": args.output }));
    }
    out.line(format!(
        "wrote wallet {} to {}",
        args.name,
        args.output.display()
    ))
}
