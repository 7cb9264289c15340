//! `agentry wallet create|import|export|list|show|rename|delete|pack`.

mod create;
mod transfer;

use std::path::PathBuf;

use agentry_protocol::{Address, AddressForm, KeyType};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::output::{Tone, printable};
use super::{Context, Failure};
use crate::wallet::{PasswordSource, WalletError, WalletInfo, WalletName, WalletStore};

/// The subcommands of `wallet`.
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Creates one wallet, or thousands
    Create(create::CreateArgs),
    /// Imports a wallet: a keystore file of any form, or a seed in hex
    Import(transfer::ImportArgs),
    /// Exports a wallet as an encrypted keystore file
    Export(transfer::ExportArgs),
    /// Lists the wallets
    List(ListArgs),
    /// Prints a wallet's addresses and public key
    Show(ShowArgs),
    /// Renames a wallet
    Rename(RenameArgs),
    /// Deletes a wallet; without a copy, its key is lost
    Delete(DeleteArgs),
    /// Packs keystore files into one vault under one password
    Pack(create::PackArgs),
}

/// Maximum length of a name from a file, in characters.
const SHOWN: usize = 64;

/// Location of the wallets.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// A folder of keystore files [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    keystore: Option<PathBuf>,
    /// A vault [default: the configuration's]
    #[arg(long, value_name = "FILE")]
    vault: Option<PathBuf>,
    /// A file with the password; else AGENTRY_PASSWORD, the configuration's file, or a prompt
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PlaceArgs {
    /// The store, and the source of its password. The configuration is read only if the command
    /// line names no location.
    pub(super) fn resolve(
        &self,
        context: &Context,
    ) -> Result<(WalletStore, PasswordSource), Failure> {
        let (store, configured) = if self.keystore.is_some() || self.vault.is_some() {
            (
                WalletStore::new(self.keystore.clone(), self.vault.clone()),
                None,
            )
        } else {
            let wallets = context.config()?.wallets;
            (WalletStore::from_config(&wallets), wallets.password_file)
        };
        let passwords = PasswordSource {
            flag: self.password_file.clone(),
            configured,
            keystore_dir: store.keystore_dir().map(ToOwned::to_owned),
            prompt: true,
        };
        Ok((store, passwords))
    }
}

/// A type of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Type {
    /// Of chains of the dialect aitbc-2026-04
    Ed25519,
    /// Of chains of the dialect aitbc-2026-08
    Secp256k1,
}

impl From<Type> for KeyType {
    fn from(key_type: Type) -> Self {
        match key_type {
            Type::Ed25519 => Self::Ed25519,
            Type::Secp256k1 => Self::Secp256k1,
        }
    }
}

/// The type of a new key, and the form of its address.
#[derive(Clone, Copy, Debug, Args)]
pub struct KeyArgs {
    /// The type of the key [default: that of `chain.dialect` in the configuration]
    #[arg(long, value_enum)]
    key_type: Option<Type>,
    /// The form of the address [default: hex]
    #[arg(long, value_enum)]
    address_form: Option<Form>,
}

impl KeyArgs {
    /// The type that was asked for, else that of the configured chain.
    pub(super) fn key_type(&self, context: &Context) -> Result<KeyType, Failure> {
        let key_type = match self.key_type {
            Some(key_type) => key_type.into(),
            None => context.config()?.chain.dialect.key_type(),
        };
        if self.address_form == Some(Form::Bech32) && key_type != KeyType::Ed25519 {
            return Err(Failure::usage(format!(
                "--address-form bech32: a key of type {key_type} has no address of that form"
            )));
        }
        Ok(key_type)
    }

    pub(super) fn form(&self) -> AddressForm {
        self.address_form.unwrap_or(Form::Hex).into()
    }
}

/// A password source other than the store's.
pub(super) fn other_passwords(file: Option<PathBuf>) -> Option<PasswordSource> {
    file.map(|file| PasswordSource {
        flag: Some(file),
        ..PasswordSource::default()
    })
}

/// The form of a new address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// ait1 and 40 hex digits, as client wallets use it
    Hex,
    /// Bech32, as the node's key tool creates it
    Bech32,
}

impl From<Form> for AddressForm {
    fn from(form: Form) -> Self {
        match form {
            Form::Hex => Self::Hex,
            Form::Bech32 => Self::Bech32,
        }
    }
}

/// Arguments of `wallet list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `wallet show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The wallet
    name: String,
    /// Unlocks the wallet, to check its password
    #[arg(long)]
    unlock: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `wallet rename`.
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The wallet
    name: String,
    /// Its new name
    new_name: WalletName,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `wallet delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The wallet
    name: String,
    /// Confirms the deletion; a deleted key cannot be recovered
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) fn run(command: WalletCommand, context: &Context) -> Result<(), Failure> {
    match command {
        WalletCommand::Create(args) => create::create(&args, context),
        WalletCommand::Import(args) => transfer::import(&args, context),
        WalletCommand::Export(args) => transfer::export(&args, context),
        WalletCommand::List(args) => list(&args, context),
        WalletCommand::Show(args) => show(&args, context),
        WalletCommand::Rename(args) => rename(&args, context),
        WalletCommand::Delete(args) => delete(&args, context),
        WalletCommand::Pack(args) => create::pack(&args, context),
    }
}

fn list(args: &ListArgs, context: &Context) -> Result<(), Failure> {
    let (store, _) = args.place.resolve(context)?;
    let wallets = store.list()?;
    let out = context.output;
    if out.is_json() {
        let (good, bad): (Vec<_>, Vec<_>) = wallets.into_iter().partition(Result::is_ok);
        let good: Vec<WalletInfo> = good.into_iter().flatten().collect();
        let bad: Vec<String> = bad
            .into_iter()
            .filter_map(Result::err)
            .map(|error| error.to_string())
            .collect();
        return out.json(&json!({ "wallets": good, "damaged": bad }));
    }
    if wallets.is_empty() {
        let place = store.place();
        return out.line(format!(
            "no wallets in {place}; create one with `agentry wallet create NAME`"
        ));
    }
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    for wallet in wallets {
        match wallet {
            Ok(wallet) => {
                let address = match (&wallet.address, &wallet.stated_name) {
                    (Some(address), _) => address.to_string(),
                    (None, Some(name)) => format!("(named {})", printable(name, SHOWN)),
                    (None, None) => "(not stated)".to_owned(),
                };
                let key_type = wallet.key_type.to_string();
                rows.push(vec![wallet.name, address, key_type, wallet.form]);
            }
            Err(error) => damaged.push(error.to_string()),
        }
    }
    if !rows.is_empty() {
        out.table(&["NAME", "ADDRESS", "KEY", "FORM"], &rows)?;
    }
    for error in damaged {
        out.line(out.tone(Tone::Bad, &error))?;
    }
    Ok(())
}

fn show(args: &ShowArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    let wallet = store.find(&args.name)?;
    let mut info = wallet.info().clone();
    if args.unlock {
        let password = passwords.password_of(&wallet)?;
        let unlocked = wallet.unlock(&password)?;
        info.public_key = Some(unlocked.seed.public_key());
        info.address = Some(unlocked.address);
    }
    let key = info.public_key.as_ref();
    let is_ed25519 = info.key_type == KeyType::Ed25519;
    let hex = key.map(|key| Address::from_public_key(key).to_string());
    let bech32 = key
        .filter(|_| is_ed25519)
        .map(|key| Address::bech32_from_public_key(key).to_string());
    let checksummed = info
        .address
        .as_ref()
        .and_then(|address| checksummed(&info, address));
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({
            "name": info.name,
            "address": info.address,
            "address_hex": hex,
            "address_bech32": bech32,
            "address_0x": checksummed,
            "public_key": info.public_key,
            "key_type": info.key_type,
            "form": info.form,
            "stated_name": info.stated_name,
            "path": info.path,
            "unlocked": args.unlock,
        }));
    }
    let unknown = || "(not stated; see --unlock)".to_owned();
    let text = |value: Option<String>| value.unwrap_or_else(unknown);
    let other = match is_ed25519 {
        true => ("bech32 form", bech32),
        false => ("0x form", checksummed),
    };
    let mut fields = vec![
        ("name", info.name),
        (
            "address",
            text(info.address.map(|address| address.to_string())),
        ),
        ("hex form", text(hex)),
        (other.0, text(other.1)),
        (
            "public key",
            text(info.public_key.map(|key| key.to_string())),
        ),
        ("key type", info.key_type.to_string()),
        ("kept as", info.form),
        ("path", info.path.display().to_string()),
    ];
    if let Some(name) = &info.stated_name {
        fields.push(("its file says", stated_name(name)));
    }
    if wallet.is_plain() {
        fields.push(("password", out.tone(Tone::Bad, NOT_ENCRYPTED)));
    } else if args.unlock {
        fields.push(("password", out.tone(Tone::Good, "correct")));
    }
    out.fields(&fields)
}

fn rename(args: &RenameArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    let wallet = store.rename(&args.name, &args.new_name, || {
        passwords.password("the vault").map_err(WalletError::from)
    })?;
    let out = context.output;
    if out.is_json() {
        return out.json(&wallet);
    }
    out.line(format!(
        "wallet {} was renamed to {}",
        args.name, wallet.name
    ))
}

fn delete(args: &DeleteArgs, context: &Context) -> Result<(), Failure> {
    let (store, passwords) = args.place.resolve(context)?;
    if !args.yes {
        // Missing wallets are reported first.
        store.find(&args.name)?;
        return Err(Failure::usage(format!(
            "deleting wallet {0} destroys its key; make a copy with `agentry wallet export {0}`, \
             then repeat the command with --yes",
            args.name
        )));
    }
    let path = store.delete(&args.name, || {
        passwords.password("the vault").map_err(WalletError::from)
    })?;
    let out = context.output;
    if out.is_json() {
        return out.json(&json!({ "name": args.name, "path": path, "deleted": true }));
    }
    out.line(format!(
        "deleted wallet {} from {}",
        args.name,
        path.display()
    ))
}

/// The note about a wallet of a plain form.
const NOT_ENCRYPTED: &str =
    "none: the key is not encrypted; `agentry wallet import` makes an encrypted copy";

/// The address as wallets of its type are spelled elsewhere, if that is another spelling.
fn checksummed(wallet: &WalletInfo, address: &Address) -> Option<String> {
    match wallet.key_type {
        KeyType::Ed25519 => None,
        KeyType::Secp256k1 => address.to_checksummed(),
    }
}

/// The note that the file states something else than the wallet's address.
fn stated_name(name: &str) -> String {
    let name = printable(name, SHOWN);
    format!("the name {name}, which is not an address; the address follows from the key")
}

/// Prints a wallet that was created or imported.
pub(super) fn made(wallet: &WalletInfo, context: &Context) -> Result<(), Failure> {
    let out = context.output;
    if out.is_json() {
        return out.json(wallet);
    }
    let address = wallet
        .address
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut fields = vec![
        ("name", wallet.name.clone()),
        ("address", out.tone(Tone::Strong, &address)),
        ("path", wallet.path.display().to_string()),
    ];
    let spelled = wallet.address.as_ref();
    if let Some(spelled) = spelled.and_then(|address| checksummed(wallet, address)) {
        fields.insert(2, ("0x form", spelled));
    }
    if let Some(name) = &wallet.stated_name {
        fields.push(("its file says", stated_name(name)));
    }
    out.fields(&fields)
}
