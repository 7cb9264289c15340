//! Seed to text, in the client form and in that of AITBC's command line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeystoreError;
use crate::address::Address;
use crate::crypto::{self, NoRandom};
use crate::fernet::Token;
use crate::json::Json;
use crate::key::{KeyType, Seed};
use crate::password::Password;

/// Rounds of PBKDF2, as in AITBC's client form: its readers take the number from the file, but
/// AITBC's key tools expect this one.
const ROUNDS: u32 = 100_000;
/// Rounds of PBKDF2 in the wallets of AITBC's command line, which reads no others.
const CLI_ROUNDS: u32 = 600_000;
/// Shortest password that AITBC's command line accepts, in characters.
const CLI_PASSWORD: usize = 8;

pub(super) fn encrypt(
    seed: &Seed,
    password: &Password,
    address: &Address,
) -> Result<String, KeystoreError> {
    let (address, public_key) = stated(seed, address)?;
    let salt: [u8; 32] = crypto::random().map_err(|NoRandom| KeystoreError::Random)?;
    let nonce = crypto::random().map_err(|NoRandom| KeystoreError::Random)?;
    let key = crypto::pbkdf2(password, &salt, ROUNDS);
    let sealed = crypto::seal(&key, &nonce, &[], seed).ok_or(KeystoreError::Malformed {
        field: "ciphertext",
        reason: "could not be made",
    })?;
    // Every value is hexadecimal or an address of the seed, so nothing needs escaping.
    Ok(format!(
        r#"{{
  "address": "{address}",
  "public_key": "{public_key}",
  "crypto": {{
    "kdf": "pbkdf2",
    "kdfparams": {{
      "salt": "{salt}",
      "c": {ROUNDS},
      "dklen": 32,
      "prf": "hmac-sha256"
    }},
    "cipher": "aes-256-gcm",
    "cipherparams": {{
      "nonce": "{nonce}"
    }},
    "ciphertext": "{ciphertext}"
  }},
  "keytype": "{key_type}",
  "version": 1
}}
"#,
        key_type = seed.key_type(),
        salt = hex::encode(salt),
        nonce = hex::encode(nonce),
        ciphertext = hex::encode(sealed),
    ))
}

/// The address and the public key of a seed, as AITBC's files of its type spell them.
fn stated(seed: &Seed, address: &Address) -> Result<(String, String), KeystoreError> {
    let public_key = seed.public_key();
    if !address.matches(&public_key) {
        return Err(KeystoreError::Mismatch { field: "address" });
    }
    let spelled = match seed.key_type() {
        KeyType::Ed25519 => None,
        KeyType::Secp256k1 => address.to_checksummed(),
    };
    let address = spelled.unwrap_or_else(|| address.to_string());
    Ok((address, public_key.to_file_text()))
}

pub(super) fn encrypt_cli(
    seed: &Seed,
    password: &Password,
    address: &Address,
    wallet_id: &str,
    created_at: &str,
) -> Result<String, KeystoreError> {
    if password.characters() < CLI_PASSWORD {
        return Err(KeystoreError::ShortPassword);
    }
    let (address, public_key) = stated(seed, address)?;
    let salt: [u8; 32] = crypto::random().map_err(|NoRandom| KeystoreError::Random)?;
    let vector = crypto::random().map_err(|NoRandom| KeystoreError::Random)?;
    let key = crypto::pbkdf2(password, &salt, CLI_ROUNDS);
    let mut digits = Zeroizing::new([0; 64]);
    let unmade = KeystoreError::Malformed {
        field: "encrypted_data",
        reason: "could not be made",
    };
    hex::encode_to_slice(seed.expose(), &mut *digits).map_err(|_| unmade.clone())?;
    // Nothing reads the time in the token: the file says when it was made.
    let token = Token::seal(&key, 0, vector, &*digits).map_err(|_| unmade)?;
    Ok(format!(
        r#"{{
  "wallet_id": {wallet_id},
  "type": "hd",
  "address": "{address}",
  "public_key": "{public_key}",
  "private_key": {{
    "encrypted_data": "{token}",
    "salt": "{salt}",
    "algorithm": "PBKDF2-SHA256-Fernet",
    "iterations": {CLI_ROUNDS},
    "version": "1.0"
  }},
  "created_at": {created_at},
  "balance": 0,
  "transactions": [],
  "encrypted": true
}}
"#,
        wallet_id = Json::string(wallet_id).to_compact(),
        created_at = Json::string(created_at).to_compact(),
        token = token.to_text(),
        salt = STANDARD.encode(salt),
    ))
}
