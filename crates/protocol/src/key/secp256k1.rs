//! ECDSA on secp256k1 over Keccak-256, as Ethereum signs: a signature has 65 bytes, from which the key
//! is recovered (SEC 1, version 2.0, 4.1.6). Nonces follow RFC 6979, and s is the lower one of the two.

use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha3::{Digest as _, Keccak256};

use super::KeyError;

/// A compressed point (SEC 1, 2.3.3): 2 or 3, and the x coordinate.
pub(super) const KEY: usize = 33;
/// r, s, and the recovery id: 0 or 1.
pub(super) const SIGNATURE: usize = 65;

/// Keccak-256 with the padding of Keccak's submission, as Ethereum uses it; not SHA3-256.
pub(crate) fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// The key of a secret.
///
/// # Errors
/// [`KeyError::NotAScalar`]: it is zero, or not below the order of the group.
pub(super) fn signing(secret: &[u8; 32]) -> Result<SigningKey, KeyError> {
    SigningKey::from_slice(secret).map_err(|_| KeyError::NotAScalar)
}

/// The compressed public key.
pub(super) fn compressed(key: &VerifyingKey) -> [u8; KEY] {
    let point = key.to_sec1_point(true);
    // A key is never the point at infinity, which is the only one that is shorter.
    point.as_bytes().try_into().unwrap_or([0; KEY])
}

/// Checks that bytes are a point of the curve, compressed or not, and returns it compressed.
pub(super) fn read(bytes: &[u8]) -> Result<[u8; KEY], KeyError> {
    // SEC 1, section 2.3.3. The library also reads 5, with one of the two points as it chooses, so that a
    // key would have two spellings.
    if !matches!(bytes.first(), Some(2..=4)) {
        return Err(KeyError::NotAPoint);
    }
    let key = VerifyingKey::from_sec1_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    Ok(compressed(&key))
}

/// The 64 bytes of the coordinates, of which addresses are made.
pub(super) fn coordinates(key: &[u8; KEY]) -> Option<[u8; 64]> {
    let key = VerifyingKey::from_sec1_bytes(key).ok()?;
    key.to_sec1_point(false)
        .as_bytes()
        .get(1..)?
        .try_into()
        .ok()
}

pub(super) fn sign(key: &SigningKey, message: &[u8]) -> [u8; SIGNATURE] {
    let (signature, recovery) = key.sign_prehash_recoverable(&keccak(message));
    let mut bytes = [0; SIGNATURE];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes[64] = recovery.to_byte();
    bytes
}

/// The key whose signature of the message this is, whether its s is the lower one or not.
pub(super) fn recover(message: &[u8], signature: &[u8; SIGNATURE]) -> Option<[u8; KEY]> {
    recover_hash(&keccak(message), signature)
}

/// [`recover`], of a hash.
pub(super) fn recover_hash(hash: &[u8; 32], signature: &[u8; SIGNATURE]) -> Option<[u8; KEY]> {
    let (numbers, recovery) = signature.split_at(64);
    let numbers = Signature::from_slice(numbers).ok()?;
    let recovery = RecoveryId::from_byte(*recovery.first()?).filter(|id| !id.is_x_reduced())?;
    let key = VerifyingKey::recover_from_prehash(hash, &numbers, recovery).ok()?;
    Some(compressed(&key))
}

/// Whether s is at most half of the order: of the two signatures that verify, the one that is accepted.
pub(super) fn is_low(signature: &[u8; SIGNATURE]) -> bool {
    let (numbers, _) = signature.split_at(64);
    Signature::from_slice(numbers).is_ok_and(|signature| signature.normalize_s() == signature)
}

/// ES256K (RFC 8812): over SHA-256, without recovery.
pub(super) fn sign_es256k(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    let signature: Signature = k256::ecdsa::signature::Signer::sign(key, message);
    signature.to_bytes().into()
}

/// Whether [`sign_es256k`] made this signature.
pub(super) fn verify_es256k(key: &[u8; KEY], message: &[u8], signature: &[u8]) -> bool {
    use k256::ecdsa::signature::Verifier as _;
    let key = VerifyingKey::from_sec1_bytes(key);
    let signature = Signature::from_slice(signature);
    key.ok()
        .zip(signature.ok())
        .is_some_and(|(key, signature)| key.verify(message, &signature).is_ok())
}
