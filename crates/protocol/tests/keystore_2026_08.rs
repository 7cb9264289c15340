//! The forms of keystore files of August 2026: AITBC's own files, round trips, and damage.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::{
    Address, Json, JsonRef, KeyType, Keystore, KeystoreError, KeystoreForm, Limits, Password, Seed,
};
use proptest::prelude::*;

fn vectors(name: &str) -> Json {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    Json::parse(&std::fs::read(path).unwrap(), Limits::default()).unwrap()
}

fn text(value: JsonRef<'_>, key: &str) -> String {
    value.get(key).unwrap().as_str().unwrap().to_owned()
}

/// Every file, with its form; the password and the secret of all.
fn files() -> (Vec<(KeystoreForm, String)>, Password, Vec<u8>) {
    let (one, other) = (
        vectors("dialect_2026_08.json"),
        vectors("keystores_2026_08.json"),
    );
    let sections = [one.root().get("keystores").unwrap(), other.root()];
    let form = |named: &str| match named {
        "client, keytype secp256k1" => KeystoreForm::Client,
        "CLI wallet, encrypted" => KeystoreForm::Cli,
        "CLI wallet, plain" => KeystoreForm::CliPlain,
        "node proposer file, plain" => KeystoreForm::ProposerPlain,
        "node" => KeystoreForm::Node,
        "proposer" => KeystoreForm::Proposer,
        other => panic!("unknown form {other}"),
    };
    let files = sections.iter().flat_map(|section| {
        let files = section.get("files").unwrap().items();
        files.map(|file| {
            let whole = file.get("file").unwrap().to_spaced();
            (form(&text(file, "form")), whole)
        })
    });
    let password = text(sections[0], "password");
    let secret = text(sections[0], "private_key");
    assert_eq!(text(sections[1], "password"), password);
    assert_eq!(text(sections[1], "private_key"), secret);
    (
        files.collect(),
        Password::new(password),
        hex::decode(secret).unwrap(),
    )
}

fn file(form: KeystoreForm) -> String {
    let (files, ..) = files();
    let found = files.into_iter().find(|(one, _)| *one == form);
    found.unwrap_or_else(|| panic!("{form}")).1
}

#[test]
fn every_file_of_aitbc_opens_to_the_same_wallet() {
    let (files, password, secret) = files();
    assert_eq!(files.len(), 6);
    for (form, file) in files {
        let keystore = Keystore::parse(file.as_bytes()).unwrap();
        assert_eq!(keystore.form(), form);
        assert_eq!(keystore.key_type(), KeyType::Secp256k1, "{form}");
        let seed = keystore.unlock(&password).unwrap();
        assert_eq!(seed.expose().as_slice(), secret, "{form}");
        assert_eq!(seed.key_type(), KeyType::Secp256k1, "{form}");
        let address = Address::from_public_key(&seed.public_key());
        assert_eq!(keystore.address(), Some(&address), "{form}");
        let wrong = keystore.unlock(&Password::new("wrong".to_owned()));
        match form.is_plain() {
            // Whoever can read the file has the secret.
            true => assert!(wrong.is_ok(), "{form}"),
            false => assert!(wrong.unwrap_err().is_wrong_password(), "{form}"),
        }
        let shown = format!("{keystore:?}");
        assert!(!shown.contains("b73a"), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn what_is_written_opens_with_its_password_alone(
        bytes in any::<[u8; 32]>(), right in "\\PC{8,20}", wrong in "\\PC{8,20}",
        wallet_id in "\\PC{0,20}", is_cli in any::<bool>(), is_secp256k1 in any::<bool>(),
    ) {
        let key_type = if is_secp256k1 { KeyType::Secp256k1 } else { KeyType::Ed25519 };
        let Ok(seed) = Seed::new(bytes, key_type) else { return Ok(()) };
        let address = Address::from_public_key(&seed.public_key());
        let password = Password::new(right.clone());
        let (text, form) = if is_cli {
            let at = "2026-12-01T00:00:00+00:00Z";
            let text = Keystore::encrypt_cli(&seed, &password, &address, &wallet_id, at);
            (text.unwrap(), KeystoreForm::Cli)
        } else {
            (Keystore::encrypt(&seed, &password, &address).unwrap(), KeystoreForm::Client)
        };
        let json: Json = text.parse().unwrap();
        if is_cli {
            prop_assert_eq!(json.root().get("wallet_id").unwrap().as_str(), Some(&*wallet_id));
        }
        if is_secp256k1 {
            let spelled = address.to_checksummed();
            prop_assert_eq!(json.root().get("address").unwrap().as_str(), spelled.as_deref());
            prop_assert_eq!(json.root().get("public_key").unwrap().as_str().unwrap().len(), 130);
        }
        let keystore = Keystore::parse(text.as_bytes()).unwrap();
        prop_assert_eq!((keystore.form(), keystore.key_type()), (form, key_type));
        prop_assert_eq!(keystore.address(), Some(&address));
        prop_assert_eq!(keystore.public_key(), Some(&seed.public_key()));
        let opened = keystore.unlock(&password).unwrap();
        prop_assert_eq!((opened.expose(), opened.key_type()), (&bytes, key_type));
        if wrong != right {
            prop_assert!(keystore.unlock(&Password::new(wrong)).unwrap_err().is_wrong_password());
        }
    }
}

/// The keys of AITBC's own file, and no others.
#[test]
fn the_wallet_of_the_command_line_is_written_as_aitbc_writes_it() {
    let (_, password, secret) = files();
    let seed = Seed::new(secret.try_into().unwrap(), KeyType::Secp256k1).unwrap();
    let address = Address::from_public_key(&seed.public_key());
    let at = "2026-08-22T00:00:00+00:00Z";
    let written = Keystore::encrypt_cli(&seed, &password, &address, "alice", at).unwrap();
    let (written, theirs): (Json, Json) = (
        written.parse().unwrap(),
        file(KeystoreForm::Cli).parse().unwrap(),
    );
    for (key, value) in theirs.root().entries() {
        let own = written.root().get(key);
        let own = own.unwrap_or_else(|| panic!("{key} is missing"));
        if key == "private_key" {
            for (key, value) in value.entries() {
                let own = own.get(key).unwrap();
                if !["encrypted_data", "salt"].contains(&key) {
                    assert_eq!(own.to_json(), value.to_json(), "{key}");
                }
            }
        } else {
            assert_eq!(own.to_json(), value.to_json(), "{key}");
        }
    }
    assert_eq!(
        written.root().entries().count(),
        theirs.root().entries().count()
    );
    let short = Password::new("äöüßäöü".to_owned());
    assert_eq!(
        Keystore::encrypt_cli(&seed, &short, &address, "alice", at),
        Err(KeystoreError::ShortPassword)
    );
    let other = Seed::from_bytes([1; 32]);
    assert_eq!(
        Keystore::encrypt_cli(&other, &password, &address, "alice", at),
        Err(KeystoreError::Mismatch { field: "address" })
    );
}

#[test]
fn damage_is_named() {
    let malformed = |field, reason| KeystoreError::Malformed { field, reason };
    let digits = "b73a73568ef6d65efb6ce3e6ed5c7de1c2790d66ba91e6dcd99f45d0d85b3baa";
    let not_a_key = "is not a key of its type";
    for (form, from, to, error) in [
        (
            KeystoreForm::Client,
            "\"keytype\": \"secp256k1\"",
            "\"keytype\": \"ed25519\"",
            malformed("keytype", "is not the type of its public_key"),
        ),
        (
            KeystoreForm::Node,
            "\"mac\": \"",
            "\"mac\": \"00",
            malformed("mac", "is not 32 bytes long"),
        ),
        (
            KeystoreForm::Node,
            "\"mac\": \"",
            "\"mac\": \"xx",
            malformed("mac", "is not hexadecimal"),
        ),
        (
            KeystoreForm::Cli,
            "\"encrypted\": true",
            "\"encrypted\": false",
            malformed("encrypted", "is false, but the key is encrypted"),
        ),
        (
            KeystoreForm::CliPlain,
            "\"wallet_id\"",
            "\"encrypted\": true, \"wallet_id\"",
            malformed("encrypted", "is true, but the key is not encrypted"),
        ),
        (
            KeystoreForm::CliPlain,
            "\"private_key\": \"b7",
            "\"private_key\": \"",
            malformed(
                "private_key",
                "is neither 64 hexadecimal digits nor an encrypted section",
            ),
        ),
        (
            KeystoreForm::CliPlain,
            digits,
            &"0".repeat(64),
            malformed("private_key", not_a_key),
        ),
        (
            KeystoreForm::ProposerPlain,
            digits,
            &"f".repeat(64),
            malformed("private_key", not_a_key),
        ),
        (
            KeystoreForm::ProposerPlain,
            "\"private_key\": \"0xb",
            "\"private_key\": \"0xb!",
            malformed(
                "private_key",
                "is neither 64 hexadecimal digits nor url-safe base64",
            ),
        ),
        (
            KeystoreForm::Proposer,
            "\"encrypted\": true",
            "\"encrypted\": 1",
            malformed("encrypted", "is neither true nor false"),
        ),
        (
            KeystoreForm::Proposer,
            "\"private_key\": \"AAEC",
            "\"private_key\": \"AAEC\", \"x\": \"",
            malformed("private_key", "is too short for a salt and a token"),
        ),
        (
            KeystoreForm::Proposer,
            "\"private_key\": \"AAEC",
            "\"private_key\": \"AAECAAEC",
            malformed("private_key", "is not url-safe base64"),
        ),
    ] {
        let text = file(form);
        assert_eq!(text.matches(from).count(), 1, "{form} {from} in {text}");
        let damaged = text.replace(from, to);
        let found = Keystore::parse(damaged.as_bytes()).unwrap_err();
        assert_eq!(found, error, "{form}: {from} -> {to}");
        assert!(!found.to_string().contains("b73a"), "{found}");
    }
    // A digit in another case: EIP-55 is a checksum.
    let mistyped = file(KeystoreForm::Client).replace("0x2b8fa", "0x2B8fa");
    let error = Keystore::parse(mistyped.as_bytes()).unwrap_err();
    assert!(matches!(error, KeystoreError::Address(_)), "{error}");
}

/// Every altered digit of the MAC is detected, although AES-GCM has a tag of its own.
#[test]
fn a_mac_is_checked_unless_there_is_none() {
    let (_, password, secret) = files();
    let text = file(KeystoreForm::Node);
    let json: Json = text.parse().unwrap();
    let mac = self::text(json.root().get("crypto").unwrap(), "mac");
    for at in [0, 31, 63] {
        let mut altered = mac.clone();
        let digit = if altered.as_bytes()[at] == b'0' {
            "1"
        } else {
            "0"
        };
        altered.replace_range(at..=at, digit);
        let keystore = Keystore::parse(text.replace(&mac, &altered).as_bytes()).unwrap();
        assert!(keystore.unlock(&password).unwrap_err().is_wrong_password());
    }
    let without = Keystore::parse(text.replace(&mac, "TODO").as_bytes()).unwrap();
    assert_eq!(
        without.unlock(&password).unwrap().expose().as_slice(),
        secret
    );
}

/// Any altered byte of a form that is cheap to open: an error, or the same secret.
#[test]
fn no_damaged_byte_of_a_plain_file_yields_another_wallet() {
    for form in [KeystoreForm::CliPlain, KeystoreForm::ProposerPlain] {
        let text = file(form);
        let (_, password, secret) = files();
        for at in 0..text.len() {
            for mask in [0x20, 0x01, 0x80] {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= mask;
                let opened = Keystore::parse(&damaged).and_then(|one| one.unlock(&password));
                if let Ok(seed) = opened {
                    // A secret whose address is not stated any more is not checked against it.
                    let stated = Keystore::parse(&damaged).unwrap();
                    let is_checked = stated.address().is_some() || stated.public_key().is_some();
                    assert!(
                        !is_checked || seed.expose().as_slice() == secret,
                        "{form} {at}"
                    );
                }
            }
            assert!(
                Keystore::parse(&text.as_bytes()[..at]).is_err(),
                "{form} cut at {at}"
            );
        }
    }
}

/// Where a file states neither the type nor the public key.
#[test]
fn the_type_of_a_key_follows_from_what_a_file_states() {
    let secret = "11".repeat(32);
    for (file, key_type) in [
        (
            format!(r#"{{"private_key":"{secret}"}}"#),
            KeyType::Secp256k1,
        ),
        (
            format!(r#"{{"private_key":"{secret}","keytype":"ed25519"}}"#),
            KeyType::Ed25519,
        ),
        (
            format!(r#"{{"private_key":"{secret}","wallet_id":"a"}}"#),
            KeyType::Ed25519,
        ),
        (
            format!(
                r#"{{"private_key":"{secret}","wallet_id":"a","address":"0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"}}"#
            ),
            KeyType::Secp256k1,
        ),
    ] {
        let keystore = Keystore::parse(file.as_bytes()).unwrap();
        assert_eq!(keystore.key_type(), key_type, "{file}");
        let seed = keystore.unlock(&Password::new(String::new())).unwrap();
        assert_eq!(seed.key_type(), key_type);
    }
}
