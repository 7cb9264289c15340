//! `agentry wallet create` and `agentry wallet pack`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::{Context, Failure};
use super::{KeyArgs, PlaceArgs, made, other_passwords};
use crate::wallet::password::not_empty;
use crate::wallet::{WalletInfo, WalletName, pack as many};

/// Maximum number of wallets that one command creates.
const MOST: u64 = 100_000;

/// Arguments of `wallet create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The wallet's name; with --count the prefix of the names NAME-1, NAME-2, …, padded to one
    /// width
    name: WalletName,
    /// The number of wallets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    count: Option<u64>,
    /// Creates them in a new vault instead of keystore files
    #[arg(long, value_name = "FILE")]
    into_vault: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `wallet pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// The new vault
    file: PathBuf,
    /// The wallets to pack [default: all in the folder]
    names: Vec<String>,
    /// A file with the vault's password [default: the wallets' password]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) fn create(args: &CreateArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    let (key_type, form) = (args.key.key_type(context)?, args.key.form());
    let names = match args.count {
        None => vec![args.name.clone()],
        Some(count) => {
            let count = usize::try_from(count)
                .map_err(|_| Failure::usage("--count is too large for this machine"))?;
            many::numbered(&args.name, count)?
        }
    };
    let out = context.output;
    let wallets = if let Some(vault) = &args.into_vault {
        if vault.exists() {
            return Err(crate::wallet::WalletError::Exists(vault.clone()).into());
        }
        let password = passwords.new_password(&format!("the vault {}", vault.display()))?;
        many::create_in_vault(vault, &names, key_type, form, &password)?
    } else {
        // Before a person types a password twice.
        let wallets = store.snapshot_for_new()?;
        for name in &names {
            wallets.free_path(name)?;
        }
        let what = if names.len() == 1 {
            "the wallet"
        } else {
            "the wallets"
        };
        let password = passwords.new_password(what)?;
        let bar = out.progress(names.len() as u64, "creating wallets");
        let done = || bar.inc(1);
        let wallets = many::create(&store, &names, key_type, form, &password, &done);
        bar.finish_and_clear();
        wallets?
    };
    match wallets.as_slice() {
        [wallet] if args.count.is_none() => made(wallet, context),
        wallets => summary(wallets, context),
    }
}

fn summary(wallets: &[WalletInfo], context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "wallets": wallets }));
    }
    // A vault is one file; keystore files share a folder.
    let place = |first: &WalletInfo, last: &WalletInfo| {
        let folder = first.path.parent().filter(|_| first.path != last.path);
        folder.unwrap_or(&first.path).display().to_string()
    };
    match wallets {
        [first, .., last] => out.line(format!(
            "created {} wallets, {} to {}, in {}",
            wallets.len(),
            first.name,
            last.name,
            place(first, last)
        )),
        one => out.line(format!("created {} wallet", one.len())),
    }
}

pub(super) fn pack(args: &PackArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    let names = if args.names.is_empty() {
        store.snapshot()?.names()?.to_vec()
    } else {
        args.names.clone()
    };
    if names.is_empty() {
        return Err(Failure::no_input(format!(
            "no wallets in {} to pack; create some with `agentry wallet create`",
            store.place()
        )));
    }
    if args.file.exists() {
        return Err(crate::wallet::WalletError::Exists(args.file.clone()).into());
    }
    let password = passwords.password("the wallets")?;
    let vault_password = match other_passwords(args.new_password_file.clone()) {
        Some(passwords) => passwords.new_password("the vault")?,
        None => not_empty(password.clone())?,
    };
    let out = context.output;
    let bar = out.progress(names.len() as u64, "unlocking");
    let packed = many::pack(
        &store,
        &names,
        &password,
        &args.file,
        &vault_password,
        &|| bar.inc(1),
    );
    bar.finish_and_clear();
    packed?;
    if out.is_json() {
        return out.json(&json!({ "vault": args.file, "wallets": names.len() }));
    }
    out.line(format!(
        "packed {} wallets into {}; their keystore files are still there",
        names.len(),
        args.file.display()
    ))
}
