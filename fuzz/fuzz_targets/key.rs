//! Keys and signatures: a signature has one spelling, and only signed messages verify.
#![no_main]

use agentry_protocol::{PublicKey, Signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(signature) = text.parse::<Signature>() {
            assert_eq!(signature.to_string(), text);
        }
        if let Ok(key) = text.parse::<PublicKey>() {
            assert_eq!(key.to_string().parse(), Ok(key));
            assert_eq!(key.to_file_text().parse(), Ok(key));
            if text.len() < 130 {
                assert_eq!(key.to_string(), text.to_ascii_lowercase());
            }
        }
    }
    // 32 bytes of key, 64 of signature, and a message that was never signed: the key's seed is
    // unknown, so only a broken verification accepts the signature.
    let Some((key, rest)) = bytes.split_first_chunk::<32>() else {
        return;
    };
    let Some((signature, message)) = rest.split_first_chunk::<64>() else {
        return;
    };
    if let Ok(key) = PublicKey::from_bytes(*key) {
        assert_eq!(PublicKey::from_slice(key.as_bytes()), Ok(key));
        assert!(!key.verify(message, &Signature::from_bytes(*signature)));
    }
});
