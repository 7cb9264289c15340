//! The posted body: it reads back as the same transaction, and its stored form is the one that a
//! node keeps.
#![no_main]

use agentry_protocol::{Dialect, Limits, SignedTransaction, StoredTransaction, Verification};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(signed) = SignedTransaction::from_body(text, Limits::default()) else {
        return;
    };
    let body = signed.body();
    let again = SignedTransaction::from_body(body.as_bytes(), Limits::NONE).expect("its own body");
    assert_eq!(again, signed);
    assert_eq!(again.body(), body);
    let dialect = signed.transaction().dialect;
    // The other one has a target of its own.
    if dialect != Dialect::April2026 {
        return;
    }
    let kept = StoredTransaction::read(dialect, body.as_bytes(), Limits::NONE);
    let kept = kept.expect("a node accepts it");
    assert_eq!(kept, signed.stored());
    assert_eq!(kept.hash(), signed.hash());
    assert_eq!(kept.digest(), signed.digest());
    let key = signed.public_key().expect("it is in the body");
    assert_ne!(kept.verify(&key), Verification::Missing);
});
