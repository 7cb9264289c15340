//! Test vectors: with the ephemeral key that each states, the ciphertext is the one it states.
//! Their opening by the public functions is tested in `tests/sealing.rs`.

use super::*;
use crate::json::JsonRef;
use crate::key::Seed;

fn vectors() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/sealing.json");
    Json::parse(&std::fs::read(path).unwrap(), Limits::default()).unwrap()
}

fn text<'a>(case: JsonRef<'a>, key: &str) -> &'a str {
    case.get(key).and_then(JsonRef::as_str).unwrap()
}

fn bytes(case: JsonRef<'_>, key: &str) -> Vec<u8> {
    hex::decode(text(case, key)).unwrap()
}

fn key(case: JsonRef<'_>, field: &str) -> [u8; 32] {
    bytes(case, field).try_into().unwrap()
}

#[test]
fn the_vector_of_rfc_9180() {
    let vectors = vectors();
    let case = vectors.root().get("rfc9180").unwrap();
    let private = DecryptionKey::from_bytes(key(case, "skRm"));
    let public = EncryptionKey::from_bytes(key(case, "pkRm"));
    assert_eq!(private.encryption_key(), public);
    let (info, aad) = (bytes(case, "info"), bytes(case, "aad"));
    let ephemeral = Zeroizing::new(key(case, "ikmE"));
    let (enc, ct) = suite::seal(&public, &info, &aad, &bytes(case, "pt"), &ephemeral).unwrap();
    assert_eq!((enc, &ct), (key(case, "enc"), &bytes(case, "ct")));
    let opened = suite::open(&private, &info, &aad, &enc, &ct).unwrap();
    assert_eq!(*opened, bytes(case, "pt"));
    assert!(suite::open(&private, b"", &aad, &enc, &ct).is_err());
}

#[test]
fn agentry_s_own_vectors() {
    let vectors = vectors();
    let cases = vectors.root().get("cases").unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases.items() {
        let seed = Seed::from_bytes(key(case, "recipient_seed"));
        let private = DecryptionKey::from_seed(&seed);
        let stated = DecryptionKey::from_bytes(key(case, "decryption_key"));
        assert!(private.to_hpke() == stated.to_hpke());
        let public = private.encryption_key();
        assert_eq!(public.to_string(), text(case, "encryption_key"));
        let (from, to) = (
            Address::from_chain(text(case, "from")).unwrap(),
            Address::from_chain(text(case, "to")).unwrap(),
        );
        let binding = Binding {
            chain_id: text(case, "chain_id"),
            from: &from,
            to: &to,
        };
        assert_eq!(binding.to_text(), text(case, "associated_data"));
        let plaintext: Json = text(case, "plaintext").parse().unwrap();
        let ephemeral = Zeroizing::new(key(case, "ephemeral_ikm"));
        let sealed = seal_with(&Payload::read(&plaintext), &public, binding, &ephemeral).unwrap();
        let body = crate::KnownCommand::Sealed(sealed).body();
        assert_eq!(body, text(case, "body").parse().unwrap());
    }
}

#[test]
fn a_key_of_small_order_is_refused() {
    // RFC 7748, section 6.1; the points of small order are those of https://cr.yp.to/ecdh.html.
    let weak = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    let address = Address::from_chain("a").unwrap();
    let binding = Binding {
        chain_id: "c",
        from: &address,
        to: &address,
    };
    for key in weak {
        let key: EncryptionKey = key.parse().unwrap();
        assert_eq!(
            seal(&Payload::Text("secret".into()), &key, binding),
            Err(SealError::WeakKey),
            "{key}"
        );
        // A message with such an ephemeral key does not open.
        let sealed = Sealed::new(*key.as_bytes(), vec![0; 32]).unwrap();
        let private = DecryptionKey::from_bytes([7; 32]);
        assert_eq!(
            open(&sealed, &private, binding, Authenticity::Verified),
            Err(OpenError::DoesNotOpen),
            "{key}"
        );
    }
}
