//! The cryptographic primitives that keystores and the vault share.

use aes_gcm::aead::{AeadInOut, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::key::{KeyType, Seed};
use crate::password::Password;

/// A derived symmetric key, wiped when dropped.
pub(crate) type DerivedKey = Zeroizing<[u8; 32]>;

/// Length of an AES-GCM nonce, in bytes (NIST SP 800-38D).
pub(crate) const NONCE: usize = 12;
/// Length of an AES-GCM tag, in bytes.
pub(crate) const TAG: usize = 16;
/// Length of a sealed seed: the seed and its tag.
pub(crate) const SEALED: usize = 32 + TAG;

/// The operating system gave no random bytes.
#[derive(Debug)]
pub(crate) struct NoRandom;

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// PBKDF2-HMAC-SHA256 (RFC 8018).
pub(crate) fn pbkdf2(password: &Password, salt: &[u8], rounds: u32) -> DerivedKey {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, rounds, &mut *key);
    key
}

/// Seals a seed with AES-256-GCM: 32 bytes of ciphertext and 16 of tag.
///
/// The nonce must be new under this key. None is returned only if the associated data exceeds
/// AES-GCM's limit, which no text of this program does.
pub(crate) fn seal(
    key: &DerivedKey,
    nonce: &[u8; NONCE],
    associated: &[u8],
    seed: &Seed,
) -> Option<[u8; SEALED]> {
    let mut sealed = [0; SEALED];
    let (text, tag) = sealed.split_at_mut(32);
    text.copy_from_slice(seed.expose());
    let cipher = Aes256Gcm::new((&**key).into());
    let made = cipher
        .encrypt_inout_detached(&Nonce::from(*nonce), associated, text.into())
        .ok()?;
    tag.copy_from_slice(&made);
    Some(sealed)
}

/// Opens what [`seal`] made, if key, nonce, associated data and ciphertext are all unchanged.
pub(crate) fn open(
    key: &DerivedKey,
    nonce: &[u8; NONCE],
    associated: &[u8],
    sealed: &[u8; SEALED],
    key_type: KeyType,
) -> Option<Seed> {
    let (text, tag) = sealed.split_at(32);
    let mut seed: Zeroizing<[u8; 32]> = Zeroizing::new(text.try_into().ok()?);
    let tag = tag.try_into().ok()?;
    let cipher = Aes256Gcm::new((&**key).into());
    cipher
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            associated,
            (&mut seed[..]).into(),
            tag,
        )
        .ok()?;
    Seed::new(*seed, key_type).ok()
}

/// The keyed hash in the envelopes of AITBC's node of August 2026: HMAC-SHA256 under the first half of the
/// key, over its second half and the ciphertext.
pub(crate) fn envelope_mac_is_right(key: &DerivedKey, sealed: &[u8], mac: &[u8; 32]) -> bool {
    use hmac::Mac as _;
    let (sign, other) = key.split_at(16);
    let Ok(mut made) = <hmac::Hmac<Sha256> as hmac::KeyInit>::new_from_slice(sign) else {
        return false;
    };
    made.update(other);
    made.update(sealed);
    made.verify_slice(mac).is_ok()
}

/// The tag of associated data alone: it proves that a key is the right one.
pub(crate) fn tag(key: &DerivedKey, nonce: &[u8; NONCE], associated: &[u8]) -> Option<[u8; TAG]> {
    use aes_gcm::aead::Aead as _;
    let cipher = Aes256Gcm::new((&**key).into());
    let payload = Payload {
        msg: &[],
        aad: associated,
    };
    cipher
        .encrypt(&Nonce::from(*nonce), payload)
        .ok()?
        .try_into()
        .ok()
}

/// Whether [`tag`] made this tag, compared in constant time.
pub(crate) fn tag_is_right(
    key: &DerivedKey,
    nonce: &[u8; NONCE],
    associated: &[u8],
    tag: &[u8; TAG],
) -> bool {
    use aes_gcm::aead::Aead as _;
    let cipher = Aes256Gcm::new((&**key).into());
    let payload = Payload {
        msg: tag,
        aad: associated,
    };
    cipher.decrypt(&Nonce::from(*nonce), payload).is_ok()
}
