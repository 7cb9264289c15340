//! A vault's text.

use std::collections::HashMap;

use super::{MAX_BYTES, MAX_ROUNDS, Vault, VaultEntry, VaultError};
use crate::json::{Json, JsonRef, Limits};
use crate::text::read_hex;

/// The only supported version.
const VERSION: i64 = 1;
/// The only supported key derivation.
const KDF: &str = "pbkdf2-hmac-sha256";
/// Levels of nesting: 3, and room for the fields of a later version.
const MAX_DEPTH: usize = 16;

pub(super) fn parse(text: &[u8]) -> Result<Vault, VaultError> {
    let json = Json::parse(
        text,
        Limits {
            max_bytes: MAX_BYTES,
            max_depth: MAX_DEPTH,
        },
    )?;
    if json.has_duplicate_keys() {
        return Err(VaultError::DuplicateKeys);
    }
    let root = json.root();
    let version = root.get("agentry_vault").ok_or(VaultError::NotAVault)?;
    if version.as_i64() != Some(VERSION) {
        let found = version.to_compact().chars().take(40).collect();
        return Err(VaultError::Version { found });
    }
    let kdf = part(root, "kdf")?;
    if kdf.get("name").and_then(JsonRef::as_str) != Some(KDF) {
        return Err(malformed("kdf", "is not pbkdf2-hmac-sha256"));
    }
    let rounds = part(kdf, "rounds")?
        .as_u64()
        .and_then(|rounds| u32::try_from(rounds).ok());
    let rounds = rounds.filter(|rounds| (1..=MAX_ROUNDS).contains(rounds));
    let check = part(root, "check")?;
    let wallets = part(root, "wallets")?;
    if wallets.kind() != crate::json::Kind::Array {
        return Err(malformed("wallets", "is not an array"));
    }
    let mut vault = Vault {
        rounds: rounds.ok_or(VaultError::Rounds)?,
        salt: bytes(kdf, "salt").map_err(|reason| malformed("salt", reason))?,
        check_nonce: bytes(check, "nonce").map_err(|reason| malformed("check", reason))?,
        check_tag: bytes(check, "tag").map_err(|reason| malformed("check", reason))?,
        entries: Vec::with_capacity(wallets.len()),
        by_name: HashMap::with_capacity(wallets.len()),
    };
    for (index, wallet) in wallets.items().enumerate() {
        let entry = wallet_entry(wallet).map_err(|(field, reason)| VaultError::Wallet {
            index: index + 1,
            field,
            reason,
        })?;
        vault.add(entry)?;
    }
    Ok(vault)
}

/// What is wrong with a wallet: a field, and the end of a sentence about it.
type Fault = (&'static str, &'static str);

fn wallet_entry(wallet: JsonRef<'_>) -> Result<VaultEntry, Fault> {
    let text = |field| match wallet.get(field).and_then(JsonRef::as_str) {
        Some(text) => Ok(text),
        None => Err((field, "is missing or not a string")),
    };
    Ok(VaultEntry {
        name: text("name")?.into(),
        address: text("address")?
            .parse()
            .map_err(|_| ("address", "is not an address"))?,
        public_key: text("public_key")?
            .parse()
            .map_err(|_| ("public_key", "is not a key"))?,
        nonce: bytes(wallet, "nonce").map_err(|reason| ("nonce", reason))?,
        sealed: bytes(wallet, "sealed").map_err(|reason| ("sealed", reason))?,
    })
}

fn part<'a>(object: JsonRef<'a>, field: &'static str) -> Result<JsonRef<'a>, VaultError> {
    object
        .get(field)
        .ok_or_else(|| malformed(field, "is missing"))
}

/// A field of exactly `N` bytes in lower-case hexadecimal.
fn bytes<const N: usize>(object: JsonRef<'_>, field: &str) -> Result<[u8; N], &'static str> {
    let text = object
        .get(field)
        .and_then(JsonRef::as_str)
        .ok_or("is missing or not a string")?;
    read_hex(text, true).map_err(|_| "is not lower-case hexadecimal of the right length")
}

fn malformed(field: &'static str, reason: &'static str) -> VaultError {
    VaultError::Malformed { field, reason }
}

/// One wallet per line, so that a diff of two vaults is readable.
pub(super) fn write(vault: &Vault) -> String {
    let mut out = format!(
        "{{\"agentry_vault\": {VERSION},\n \
         \"kdf\": {{\"name\": \"{KDF}\", \"rounds\": {}, \"salt\": \"{}\"}},\n \
         \"check\": {{\"nonce\": \"{}\", \"tag\": \"{}\"}},\n \
         \"wallets\": [",
        vault.rounds,
        hex::encode(vault.salt),
        hex::encode(vault.check_nonce),
        hex::encode(vault.check_tag),
    );
    for (index, entry) in vault.entries.iter().enumerate() {
        out.push_str(if index == 0 { "\n  " } else { ",\n  " });
        let wallet = Json::object([
            ("name", Json::string(&*entry.name)),
            ("address", Json::string(entry.address.as_str())),
            ("public_key", Json::string(entry.public_key.to_string())),
            ("nonce", Json::string(hex::encode(entry.nonce))),
            ("sealed", Json::string(hex::encode(entry.sealed))),
        ]);
        out.push_str(&wallet.to_compact());
    }
    out.push_str("\n ]}\n");
    out
}
