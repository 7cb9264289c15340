//! The stored form: its text reads back as the same transaction, with the same hash.
#![no_main]

use agentry_protocol::{Limits, Seed, StoredTransaction, Verification};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(stored) = StoredTransaction::parse(text, Limits::default()) else {
        return;
    };
    let kept = stored.stored_text();
    let again = StoredTransaction::parse(kept.as_bytes(), Limits::NONE).expect("its own text");
    assert_eq!(again, stored);
    assert_eq!(again.stored_text(), kept);
    assert_eq!(again.hash(), stored.hash());
    assert_eq!(again.digest(), stored.digest());
    assert_eq!(stored.to_json().to_compact(), kept);
    let key = Seed::from_bytes([0x11; 32]).public_key();
    let verification = stored.verify(&key);
    assert_eq!(
        verification == Verification::Missing,
        stored.signature.is_none()
    );
    assert_eq!(again.verify(&key), verification);
});
