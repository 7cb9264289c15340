//! Seed to text, in the client form.

use super::KeystoreError;
use crate::address::Address;
use crate::crypto::{self, NoRandom};
use crate::key::Seed;
use crate::password::Password;

/// Rounds of PBKDF2, as in AITBC's client form: its readers take the number from the file, but
/// AITBC's key tools expect this one.
const ROUNDS: u32 = 100_000;

pub(super) fn encrypt(
    seed: &Seed,
    password: &Password,
    address: &Address,
) -> Result<String, KeystoreError> {
    let public_key = seed.public_key();
    if !address.matches(&public_key) {
        return Err(KeystoreError::Mismatch { field: "address" });
    }
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
