//! The points of the Ed25519 keys that were used last. To find the point of a key costs a fifth of a
//! verification, and the key of a message is read several times before the message is answered.

use std::sync::{Mutex, PoisonError};

use ed25519_dalek::VerifyingKey;

use super::KeyError;

/// How many locks share the points, so that threads seldom wait for each other.
const LOCKS: usize = 16;

/// How many points are kept under each lock, of about 200 bytes each.
const KEPT: usize = 256;

/// The points, each at the place that its key determines.
static KNOWN: [Mutex<Vec<Option<VerifyingKey>>>; LOCKS] = [const { Mutex::new(Vec::new()) }; LOCKS];

/// The point of a key, checked.
pub(super) fn of(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    let [first, second, ..] = *bytes;
    let known = KNOWN.get(usize::from(first) % LOCKS);
    let place = usize::from(second) % KEPT;
    let lock = || known.map(|known| known.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(known) = lock()
        && let Some(Some(point)) = known.get(place)
        && point.as_bytes() == bytes
    {
        return Ok(*point);
    }
    let point = checked(bytes)?;
    if let Some(mut known) = lock() {
        known.resize(KEPT, None);
        if let Some(kept) = known.get_mut(place) {
            *kept = Some(point);
        }
    }
    Ok(point)
}

fn checked(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    if key.is_weak() {
        return Err(KeyError::Weak);
    }
    // dalek also decodes a y beyond the field's prime; no key is written that way.
    if key.to_edwards().compress().to_bytes() != *bytes {
        return Err(KeyError::NotAPoint);
    }
    Ok(key)
}
