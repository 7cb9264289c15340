//! The dialect of August 2026: stored forms, bodies, payloads, addresses and signatures.
#![no_main]

use agentry_protocol::{
    Authenticity, ChainId, Dialect, Envelope, Json, Limits, Signature, SignedTransaction,
    StoredTransaction, authenticity,
};
use libfuzzer_sys::fuzz_target;

const DIALECT: Dialect = Dialect::August2026;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        address(text);
        // Whoever it is, the spelling that agents write is one of those that nodes accept.
        let recovered = Signature::recover_any(b"message", text);
        if let Ok(signature) = text.parse::<Signature>() {
            assert_eq!(signature.recover(b"message"), recovered);
        }
    }
    let Ok(json) = Json::parse(bytes, Limits::default()) else {
        return;
    };
    payload(&json);
    if let Ok(stored) = DIALECT.read_stored(json.root()) {
        self::stored(&stored);
    }
    if let Ok(signed) = DIALECT.read_body(json.root()) {
        let body = signed.body();
        let again = SignedTransaction::from_body(body.as_bytes(), Limits::NONE);
        let again = again.expect("its own body");
        assert_eq!(again.body(), body);
        assert_eq!(again.digest(), signed.digest());
        stored(&signed.stored());
    }
});

/// An account is its own spelling.
fn address(text: &str) {
    let Ok(address) = DIALECT.address(text) else {
        return;
    };
    assert_eq!(address.spelled(), text.trim());
    let account = DIALECT.address(address.as_str()).expect("an account");
    assert_eq!(account, address);
    assert_eq!(account.spelled(), address.as_str());
    if let Some(spelled) = address.to_checksummed() {
        assert_eq!(DIALECT.address(&spelled).as_ref(), Ok(&address));
        assert_eq!(spelled.parse().as_ref(), Ok(&address));
    }
}

/// What a payload says does not depend on the signature that a draft has lost.
fn payload(payload: &Json) {
    let message = DIALECT.message(payload);
    let draft = DIALECT.draft(payload);
    assert_eq!(DIALECT.draft(&draft), draft);
    let (said, drafted) = (Envelope::read(&message), Envelope::read(&draft));
    assert_eq!(said.header(), drafted.header());
}

/// The text of a stored form reads back, and only its own sender verifies.
fn stored(stored: &StoredTransaction) {
    let kept = stored.stored_text();
    let again = StoredTransaction::read(DIALECT, kept.as_bytes(), Limits::NONE);
    let again = again.expect("its own text");
    assert_eq!(&again, stored);
    assert_eq!(again.stored_text(), kept);
    assert_eq!(again.hash(), stored.hash());
    assert_eq!(again.digest(), stored.digest());
    if let Ok(chain) = stored.chain_id.parse::<ChainId>() {
        let judged = authenticity::examine(stored, &chain, None, None).authenticity();
        let row = StoredTransaction {
            signature: None,
            ..stored.clone()
        };
        assert_eq!(row.digest(), stored.digest());
        // A row without a signature is never trusted more than the transaction.
        let of_row = authenticity::examine(&row, &chain, None, None).authenticity();
        assert!(of_row == judged || of_row == Authenticity::Unverified);
    }
}
