//! `agentry wallet import` and `agentry wallet export`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use agentry_protocol::{Address, Keystore, KeystoreError, Seed};
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{Context, ExitCode, Failure};
use super::{Form, PlaceArgs, made, other_passwords};
use crate::wallet::password::not_empty;
use crate::wallet::{WalletError, WalletInfo, WalletName, pack, store, write_new};

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
    /// The form of the address, if FILE does not state one
    #[arg(long, value_enum, default_value_t = Form::Hex)]
    address_form: Form,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `wallet export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The wallet
    name: String,
    /// The new file; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
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
    let (seed, address, stated_name, password) = if let Some(seed) = seed(&bytes) {
        (seed, None, None, passwords.new_password(&what)?)
    } else {
        let damaged = |error: &KeystoreError| {
            Failure::from(WalletError::Damaged {
                path: args.file.clone(),
                reason: error.to_string(),
            })
        };
        let keystore = Keystore::parse(&bytes).map_err(|error| damaged(&error))?;
        let (source, own) = match other_passwords(args.source_password_file.clone()) {
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
        None => pack::address_of(&seed, args.address_form.into()),
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

/// A seed in hex, if the bytes are one.
fn seed(bytes: &[u8]) -> Option<Seed> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut seed = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(digits, &mut *seed).ok()?;
    Some(Seed::from_bytes(*seed))
}

pub(super) fn export(args: &ExportArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    let wallet = store.find(&args.name)?;
    let password = passwords.password(&format!("wallet {}", args.name))?;
    let unlocked = wallet.unlock(&password)?;
    let password = match other_passwords(args.new_password_file.clone()) {
        Some(passwords) => passwords.new_password("the export")?,
        None => not_empty(password)?,
    };
    let text = store::encrypt(&unlocked.seed, &unlocked.address, &password)?;
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
