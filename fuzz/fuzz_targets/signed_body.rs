//! The posted body: it reads back as the same transaction, and its stored form is the one that a
//! node keeps.
#![no_main]

use agentry_protocol::{Limits, SignedTransaction, StoredTransaction, Verification};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(signed) = SignedTransaction::from_body(text, Limits::default()) else {
        return;
    };
    let body = signed.body();
    let again = SignedTransaction::from_body(body.as_bytes(), Limits::NONE).expect("its own body");
    assert_eq!(again, signed);
    assert_eq!(again.body(), body);
    let kept = StoredTransaction::parse(body.as_bytes(), Limits::NONE).expect("a node accepts it");
    assert_eq!(kept, signed.stored());
    assert_eq!(kept.hash(), signed.hash());
    assert_eq!(kept.digest(), signed.digest());
    let verification = kept.verify(signed.public_key());
    assert!(!matches!(
        verification,
        Verification::Missing | Verification::Misspelled
    ));
});
