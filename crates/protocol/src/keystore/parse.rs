//! Text to keystore.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

use super::{Keystore, KeystoreError, KeystoreForm, MAX_BYTES, MAX_ROUNDS, Secret};
use crate::address::{Address, AddressError};
use crate::fernet::{Token, TokenFault};
use crate::json::{Json, JsonRef, Limits};
use crate::key::{KeyType, PublicKey, Seed, read_seed_hex};

/// Levels of nesting in a keystore file: a real one has 3.
const MAX_DEPTH: usize = 16;
/// Longest salt, in bytes. Real ones have 16 or 32.
const MAX_SALT: usize = 1024;
/// How many characters addresses have: `0x` and 40 digits, `ait1` and 40, `aitbc1` and 40, bech32.
const ADDRESS_LENGTHS: [usize; 4] = [42, 44, 46, 62];
/// Longest name in the place of an address, in characters.
const MAX_NAME: usize = 128;
/// Longest name with the prefix of addresses, in characters: a longer one is a damaged address.
const MAX_SHORT_NAME: usize = 32;
/// The one algorithm that a pbkdf2-fernet file names.
const PBKDF2_FERNET: &str = "PBKDF2-SHA256-Fernet";
/// Rounds of PBKDF2 in a proposer's file, which does not state them.
const PROPOSER_ROUNDS: u32 = 100_000;
/// Length of the salt in a proposer's file.
const PROPOSER_SALT: usize = 16;
/// What nodes of April write in the place of a MAC.
const NO_MAC: &str = "TODO";

pub(super) fn parse(text: &[u8]) -> Result<Keystore, KeystoreError> {
    let json = Json::parse(
        text,
        Limits {
            max_bytes: MAX_BYTES,
            max_depth: MAX_DEPTH,
        },
    )?;
    let keystore = read(&json);
    json.wipe();
    keystore
}

fn read(json: &Json) -> Result<Keystore, KeystoreError> {
    if json.has_duplicate_keys() {
        return Err(KeystoreError::DuplicateKeys);
    }
    let root = json.root();
    if !root.is_object() {
        return Err(KeystoreError::NotAnObject);
    }
    check_version(root)?;
    let (address, name) = match root.get("address") {
        None => (None, None),
        Some(value) => stated(as_text(value, "address")?)?,
    };
    let public_key = match root.get("public_key") {
        None => None,
        Some(value) => {
            let text = as_text(value, "public_key")?;
            Some(
                text.parse::<PublicKey>()
                    .map_err(KeystoreError::PublicKey)?,
            )
        }
    };
    let (form, secret) = read_secret(root)?;
    let key_type = key_type(root, public_key.as_ref(), form)?;
    if let Secret::Plain(bytes) = &secret
        && Seed::new(**bytes, key_type).is_err()
    {
        return Err(malformed("private_key", "is not a key of its type"));
    }
    let has_address = address.is_some() || name.is_some();
    if matches!(form, KeystoreForm::Client | KeystoreForm::Node) && !has_address {
        return Err(KeystoreError::Missing { field: "address" });
    }
    Ok(Keystore {
        form,
        key_type,
        address,
        name,
        public_key,
        secret,
    })
}

/// The content of the address field: an address, or a name, as AITBC's fernet tool takes it from
/// its user (`aitbc1genesis`). An address is read strictly, since its checksum detects damage; a
/// text that looks like an address and is not one is damage, too, and not a name.
fn stated(text: &str) -> Result<(Option<Address>, Option<String>), KeystoreError> {
    match text.parse::<Address>() {
        Ok(address) => Ok((Some(address), None)),
        Err(AddressError::Empty) => Ok((None, None)),
        Err(_) if is_name(text) => Ok((None, Some(text.to_owned()))),
        Err(error) => Err(KeystoreError::Address(error)),
    }
}

fn is_name(text: &str) -> bool {
    let length = text.chars().count();
    let has_prefix = ["ait1", "aitbc1", "0x"]
        .iter()
        .any(|prefix| text.starts_with(prefix));
    let looks_like_an_address =
        ADDRESS_LENGTHS.contains(&length) || (has_prefix && length > MAX_SHORT_NAME);
    length <= MAX_NAME && !looks_like_an_address && !text.chars().any(char::is_control)
}

/// The type of the key: as the file says, else that of the public key that it states, else as files of
/// that form have it.
fn key_type(
    root: JsonRef<'_>,
    public_key: Option<&PublicKey>,
    form: KeystoreForm,
) -> Result<KeyType, KeystoreError> {
    let of_key = public_key.map(PublicKey::key_type);
    if let Some(value) = root.get("keytype") {
        let word = as_text(value, "keytype")?;
        let named = KeyType::from_word(word)
            .ok_or_else(|| unsupported("keytype", word, "ed25519 or secp256k1"))?;
        if of_key.is_some_and(|of_key| of_key != named) {
            return Err(malformed("keytype", "is not the type of its public_key"));
        }
        return Ok(named);
    }
    let address = root.get("address").and_then(JsonRef::as_str);
    let is_proposer = matches!(form, KeystoreForm::Proposer | KeystoreForm::ProposerPlain);
    let is_secp256k1 = is_proposer || address.is_some_and(|address| address.starts_with("0x"));
    Ok(of_key.unwrap_or(match is_secp256k1 {
        true => KeyType::Secp256k1,
        false => KeyType::Ed25519,
    }))
}

fn check_version(root: JsonRef<'_>) -> Result<(), KeystoreError> {
    match root.get("version") {
        None => Ok(()),
        Some(value) if value.as_i64() == Some(1) || value.as_str() == Some("1.0") => Ok(()),
        Some(value) => Err(unsupported("version", &value.to_compact(), "1")),
    }
}

/// Finds the encrypted part, and reads it.
fn read_secret(root: JsonRef<'_>) -> Result<(KeystoreForm, Secret), KeystoreError> {
    if let Some(section) = root.get("private_key") {
        let is_cli = root.get("wallet_id").is_some();
        if let Some(text) = section.as_str() {
            return bare(root, text, is_cli);
        }
        check_encrypted(root, true)?;
        let (form, secret) = pbkdf2_fernet(object(section, "private_key")?)?;
        let form = if is_cli { KeystoreForm::Cli } else { form };
        return Ok((form, secret));
    }
    let (section, flat) = match root.get("crypto") {
        Some(section) => (object(section, "crypto")?, false),
        None => (root, true),
    };
    if section.get("encrypted_data").is_some() {
        return pbkdf2_fernet(section);
    }
    if flat && section.get("cipher").is_none() {
        return Err(KeystoreError::Missing { field: "crypto" });
    }
    match required_text(section, "cipher")? {
        "aes-256-gcm" => {
            let form = match root.get("public_key") {
                Some(_) => KeystoreForm::Client,
                None => KeystoreForm::Node,
            };
            Ok((form, gcm(section)?))
        }
        "fernet" => {
            let form = if flat {
                KeystoreForm::FernetFlat
            } else {
                KeystoreForm::Fernet
            };
            Ok((form, fernet(section)?))
        }
        other => Err(unsupported("cipher", other, "aes-256-gcm or fernet")),
    }
}

/// A private key that is a text: 64 digits, or salt and token.
fn bare(
    root: JsonRef<'_>,
    text: &str,
    is_cli: bool,
) -> Result<(KeystoreForm, Secret), KeystoreError> {
    // Any 32 bytes are an Ed25519 seed; the type is not known yet.
    if let Some(seed) = read_seed_hex(text.as_bytes(), KeyType::Ed25519) {
        check_encrypted(root, false)?;
        let form = match is_cli {
            true => KeystoreForm::CliPlain,
            false => KeystoreForm::ProposerPlain,
        };
        return Ok((form, Secret::Plain(Zeroizing::new(*seed.expose()))));
    }
    if is_cli {
        return Err(malformed(
            "private_key",
            "is neither 64 hexadecimal digits nor an encrypted section",
        ));
    }
    let bytes = URL_SAFE.decode(text).map_err(|_| {
        malformed(
            "private_key",
            "is neither 64 hexadecimal digits nor url-safe base64",
        )
    })?;
    check_encrypted(root, true)?;
    let (salt, token) = bytes
        .split_at_checked(PROPOSER_SALT)
        .ok_or_else(|| malformed("private_key", "is too short for a salt and a token"))?;
    let secret = Secret::Fernet {
        salt: salt.to_vec(),
        rounds: Some(PROPOSER_ROUNDS),
        token: read_token(token, "private_key")?,
    };
    Ok((KeystoreForm::Proposer, secret))
}

/// `encrypted`, which must not contradict what the file holds.
fn check_encrypted(root: JsonRef<'_>, is_encrypted: bool) -> Result<(), KeystoreError> {
    match root.get("encrypted") {
        None => Ok(()),
        Some(value) => match value.as_bool() {
            Some(stated) if stated == is_encrypted => Ok(()),
            Some(true) => Err(malformed(
                "encrypted",
                "is true, but the key is not encrypted",
            )),
            Some(false) => Err(malformed("encrypted", "is false, but the key is encrypted")),
            None => Err(malformed("encrypted", "is neither true nor false")),
        },
    }
}

/// The MAC of an envelope; `None` where nodes of April write that there is none.
fn mac(section: JsonRef<'_>) -> Result<Option<[u8; 32]>, KeystoreError> {
    let Some(value) = section.get("mac") else {
        return Ok(None);
    };
    let text = as_text(value, "mac")?;
    if text == NO_MAC {
        return Ok(None);
    }
    let bytes = hex_bytes(text, "mac")?.try_into();
    bytes
        .map(Some)
        .map_err(|_| malformed("mac", "is not 32 bytes long"))
}

fn gcm(section: JsonRef<'_>) -> Result<Secret, KeystoreError> {
    expect(required_text(section, "kdf")?, "kdf", "pbkdf2")?;
    let params = object(required(section, "kdfparams")?, "kdfparams")?;
    expect(required_text(params, "prf")?, "prf", "hmac-sha256")?;
    check_length(required(params, "dklen")?)?;
    let salt = hex_bytes(required_text(params, "salt")?, "salt")?;
    if salt.is_empty() || salt.len() > MAX_SALT {
        return Err(salt_length());
    }
    let cipherparams = object(required(section, "cipherparams")?, "cipherparams")?;
    let nonce = hex_bytes(required_text(cipherparams, "nonce")?, "nonce")?;
    let ciphertext = hex_bytes(required_text(section, "ciphertext")?, "ciphertext")?;
    Ok(Secret::Gcm {
        salt,
        rounds: rounds(required(params, "c")?, "c")?,
        nonce: nonce
            .try_into()
            .map_err(|_| malformed("nonce", "is not 12 bytes long"))?,
        sealed: ciphertext
            .try_into()
            .map_err(|_| malformed("ciphertext", "is not 48 bytes long, as a sealed seed is"))?,
        mac: mac(section)?,
    })
}

fn fernet(section: JsonRef<'_>) -> Result<Secret, KeystoreError> {
    if let Some(kdf) = section.get("kdf") {
        expect(as_text(kdf, "kdf")?, "kdf", "sha256")?;
    }
    let mut salts = Vec::new();
    for field in ["kdfparams", "cipherparams"] {
        let Some(params) = section.get(field) else {
            continue;
        };
        let params = object(params, field)?;
        if let Some(length) = params.get("dklen") {
            check_length(length)?;
        }
        if let Some(salt) = params.get("salt") {
            salts.push(base64_salt(as_text(salt, "salt")?)?);
        }
    }
    let salt = salts
        .pop()
        .ok_or(KeystoreError::Missing { field: "salt" })?;
    if salts.pop().is_some_and(|other| other != salt) {
        return Err(malformed(
            "salt",
            "differs between kdfparams and cipherparams",
        ));
    }
    let wrapped = required_text(section, "ciphertext")?;
    let token = STANDARD
        .decode(wrapped)
        .map_err(|_| malformed("ciphertext", "is not base64"))?;
    Ok(Secret::Fernet {
        salt,
        rounds: None,
        token: read_token(&token, "ciphertext")?,
    })
}

fn pbkdf2_fernet(section: JsonRef<'_>) -> Result<(KeystoreForm, Secret), KeystoreError> {
    expect(
        required_text(section, "algorithm")?,
        "algorithm",
        PBKDF2_FERNET,
    )?;
    if let Some(version) = section.get("version")
        && version.as_str() != Some("1.0")
        && version.as_i64() != Some(1)
    {
        return Err(unsupported("version", &version.to_compact(), "1.0"));
    }
    let token = required_text(section, "encrypted_data")?;
    let secret = Secret::Fernet {
        salt: base64_salt(required_text(section, "salt")?)?,
        rounds: Some(rounds(required(section, "iterations")?, "iterations")?),
        token: read_token(token.as_bytes(), "encrypted_data")?,
    };
    Ok((KeystoreForm::Pbkdf2Fernet, secret))
}

fn read_token(text: &[u8], field: &'static str) -> Result<Token, KeystoreError> {
    Token::parse(text).map_err(|TokenFault(reason)| malformed(field, reason))
}

fn base64_salt(text: &str) -> Result<Vec<u8>, KeystoreError> {
    let salt = STANDARD
        .decode(text)
        .map_err(|_| malformed("salt", "is not base64"))?;
    if salt.is_empty() || salt.len() > MAX_SALT {
        return Err(salt_length());
    }
    Ok(salt)
}

fn hex_bytes(text: &str, field: &'static str) -> Result<Vec<u8>, KeystoreError> {
    hex::decode(text).map_err(|_| malformed(field, "is not hexadecimal"))
}

fn rounds(value: JsonRef<'_>, field: &'static str) -> Result<u32, KeystoreError> {
    let rounds = value.as_u64().and_then(|rounds| u32::try_from(rounds).ok());
    match rounds {
        Some(rounds @ 1..=MAX_ROUNDS) => Ok(rounds),
        _ => Err(KeystoreError::Rounds { field }),
    }
}

/// `dklen`: only keys of 32 bytes are in use.
fn check_length(value: JsonRef<'_>) -> Result<(), KeystoreError> {
    match value.as_u64() {
        Some(32) => Ok(()),
        _ => Err(unsupported("dklen", &value.to_compact(), "32")),
    }
}

fn salt_length() -> KeystoreError {
    malformed("salt", "is not 1 to 1024 bytes long")
}

fn required<'a>(section: JsonRef<'a>, field: &'static str) -> Result<JsonRef<'a>, KeystoreError> {
    section.get(field).ok_or(KeystoreError::Missing { field })
}

fn required_text<'a>(section: JsonRef<'a>, field: &'static str) -> Result<&'a str, KeystoreError> {
    as_text(required(section, field)?, field)
}

fn as_text<'a>(value: JsonRef<'a>, field: &'static str) -> Result<&'a str, KeystoreError> {
    value
        .as_str()
        .ok_or_else(|| malformed(field, "is not a string"))
}

fn object<'a>(value: JsonRef<'a>, field: &'static str) -> Result<JsonRef<'a>, KeystoreError> {
    if value.is_object() {
        Ok(value)
    } else {
        Err(malformed(field, "is not an object"))
    }
}

fn expect(found: &str, field: &'static str, supported: &'static str) -> Result<(), KeystoreError> {
    if found == supported {
        Ok(())
    } else {
        Err(unsupported(field, found, supported))
    }
}

fn malformed(field: &'static str, reason: &'static str) -> KeystoreError {
    KeystoreError::Malformed { field, reason }
}

fn unsupported(field: &'static str, found: &str, supported: &'static str) -> KeystoreError {
    KeystoreError::Unsupported {
        field,
        found: found.chars().take(40).collect(),
        supported,
    }
}
