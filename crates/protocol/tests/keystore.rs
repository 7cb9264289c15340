//! Keystores: round trip, wrong passwords, and damage at every byte.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::{
    Address, Json, JsonRef, Keystore, KeystoreError, KeystoreForm, Limits, Password, Seed,
};
use proptest::prelude::*;

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn vectors() -> Json {
    let path = format!(
        "{}/tests/vectors/keystores.json",
        env!("CARGO_MANIFEST_DIR")
    );
    Json::parse(&std::fs::read(path).unwrap(), Limits::default()).unwrap()
}

/// The text, password and seed of the published case of a form with the fewest rounds.
fn cheap(form: &str) -> (String, Password, Vec<u8>) {
    let vectors = vectors();
    let text = |case: JsonRef<'_>, key: &str| case.get(key).unwrap().as_str().unwrap().to_owned();
    let case = vectors
        .root()
        .get("cases")
        .unwrap()
        .items()
        .filter(|case| text(*case, "form") == form)
        .nth(2)
        .unwrap();
    let keystore = case.get("keystore").unwrap().to_spaced();
    let seed = hex::decode(text(case, "seed")).unwrap();
    (keystore, password(&text(case, "password")), seed)
}

const FORMS: [&str; 5] = ["client", "node", "fernet", "fernet-flat", "pbkdf2-fernet"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    // Passwords without NUL: HMAC pads its key with NULs, so "" and "\0" are one password.
    #[test]
    fn what_is_encrypted_unlocks_with_its_password_alone(
        seed in any::<[u8; 32]>(), right in "\\PC{0,20}", wrong in "\\PC{0,20}", bech32 in any::<bool>(),
    ) {
        let key = Seed::from_bytes(seed).public_key();
        let address = if bech32 {
            Address::bech32_from_public_key(&key)
        } else {
            Address::from_public_key(&key)
        };
        let text = Keystore::encrypt(&Seed::from_bytes(seed), &password(&right), &address).unwrap();
        let keystore = Keystore::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(keystore.form(), KeystoreForm::Client);
        prop_assert_eq!(keystore.address(), Some(&address));
        prop_assert_eq!(keystore.public_key(), Some(&key));
        let unlocked = keystore.unlock(&password(&right)).unwrap();
        prop_assert_eq!(unlocked.expose(), &seed);
        if wrong != right {
            let error = keystore.unlock(&password(&wrong)).unwrap_err();
            prop_assert!(error.is_wrong_password());
        }
    }
}

/// Exactly the text that AITBC's clients read, and never the same salt or nonce twice.
#[test]
fn the_client_form_is_written_exactly() {
    let seed = Seed::from_bytes([0x11; 32]);
    let address = Address::from_public_key(&seed.public_key());
    let written = || Keystore::encrypt(&seed, &password("temp123"), &address).unwrap();
    let text = written();
    let json: Json = text.parse().unwrap();
    let keys = |value: JsonRef<'_>| {
        value
            .entries()
            .map(|(key, _)| key.to_owned())
            .collect::<Vec<_>>()
    };
    let root = json.root();
    assert_eq!(
        keys(root),
        ["address", "crypto", "keytype", "public_key", "version"]
    );
    let crypto = root.get("crypto").unwrap();
    assert_eq!(
        keys(crypto),
        ["cipher", "cipherparams", "ciphertext", "kdf", "kdfparams"]
    );
    let params = crypto.get("kdfparams").unwrap();
    assert_eq!(keys(params), ["c", "dklen", "prf", "salt"]);
    assert_eq!(params.get("c").unwrap().as_i64(), Some(100_000));
    assert_eq!(params.get("dklen").unwrap().as_i64(), Some(32));
    assert_eq!(params.get("prf").unwrap().as_str(), Some("hmac-sha256"));
    let hex_length = |value: Option<JsonRef<'_>>| value.unwrap().as_str().unwrap().len() / 2;
    assert_eq!(hex_length(params.get("salt")), 32);
    assert_eq!(
        hex_length(crypto.get("cipherparams").unwrap().get("nonce")),
        12
    );
    assert_eq!(hex_length(crypto.get("ciphertext")), 48);
    assert_eq!(crypto.get("cipher").unwrap().as_str(), Some("aes-256-gcm"));
    assert_eq!(crypto.get("kdf").unwrap().as_str(), Some("pbkdf2"));
    assert_eq!(root.get("keytype").unwrap().as_str(), Some("ed25519"));
    assert_eq!(root.get("version").unwrap().as_i64(), Some(1));
    assert!(
        !text.contains(&"11".repeat(32)),
        "the seed is not in the file"
    );
    assert_ne!(text, written());
}

#[test]
fn an_address_of_another_key_is_refused_at_once() {
    let (seed, other) = (Seed::from_bytes([1; 32]), Seed::from_bytes([2; 32]));
    let address = Address::from_public_key(&other.public_key());
    assert_eq!(
        Keystore::encrypt(&seed, &password(""), &address),
        Err(KeystoreError::Mismatch { field: "address" })
    );
}

#[test]
fn wrong_passwords_are_distinguished_from_damage() {
    for form in FORMS {
        let (text, right, seed) = cheap(form);
        let keystore = Keystore::parse(text.as_bytes()).unwrap();
        assert_eq!(
            keystore.unlock(&right).unwrap().expose().as_slice(),
            seed,
            "{form}"
        );
        for wrong in ["wrong", " ", "\n"] {
            let error = keystore.unlock(&password(wrong)).unwrap_err();
            assert_eq!(error, KeystoreError::WrongPassword, "{form}");
        }
        let shown = format!("{keystore:?}");
        assert!(!shown.contains(&hex::encode(&seed)) && !shown.contains("ciphertext"));
    }
}

/// Every byte of every form, altered in several ways: an error, or (where the byte carried no
/// meaning) the same seed. Never another seed, never a panic.
#[test]
fn no_damaged_byte_yields_another_seed() {
    for form in FORMS {
        let (text, right, seed) = cheap(form);
        let mut errors = 0;
        for at in 0..text.len() {
            // Another case, the next digit, and a character that is never allowed.
            for mask in [0x20, 0x01, 0x80] {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= mask;
                match Keystore::parse(&damaged).and_then(|keystore| keystore.unlock(&right)) {
                    Ok(unlocked) => assert_eq!(unlocked.expose().as_slice(), seed, "{form} {at}"),
                    Err(_) => errors += 1,
                }
            }
            // Truncated there.
            assert!(
                Keystore::parse(&text.as_bytes()[..at]).is_err(),
                "{form} cut at {at}"
            );
        }
        assert!(
            errors > text.len(),
            "{form}: of {} only {errors}",
            3 * text.len()
        );
    }
}

/// Every altered digit of the encrypted part is detected.
#[test]
fn every_digit_of_the_encrypted_part_matters() {
    let (text, right, _) = cheap("client");
    for field in [
        "\"salt\": \"",
        "\"nonce\": \"",
        "\"ciphertext\": \"",
        "\"public_key\": \"",
    ] {
        let start = text.find(field).unwrap() + field.len();
        let length = text[start..].find('"').unwrap();
        for at in start..start + length {
            let mut damaged = text.clone().into_bytes();
            damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
            let result = Keystore::parse(&damaged).and_then(|keystore| keystore.unlock(&right));
            assert!(result.is_err(), "{field} at {at}");
        }
    }
}

#[test]
fn damage_is_named() {
    let (client, right, _) = cheap("client");
    let (fernet, ..) = cheap("fernet");
    let (pbkdf2, ..) = cheap("pbkdf2-fernet");
    let missing = |field| KeystoreError::Missing { field };
    let malformed = |field, reason| KeystoreError::Malformed { field, reason };
    let unsupported = |field, found: &str, supported| KeystoreError::Unsupported {
        field,
        found: found.to_owned(),
        supported,
    };
    for (text, from, to, error) in [
        (
            &client,
            "\"c\": 1000",
            "\"c\": 0",
            KeystoreError::Rounds { field: "c" },
        ),
        (
            &client,
            "\"c\": 1000",
            "\"c\": 10000001",
            KeystoreError::Rounds { field: "c" },
        ),
        (
            &client,
            "\"c\": 1000",
            "\"c\": 1000.0",
            KeystoreError::Rounds { field: "c" },
        ),
        (&client, "\"c\": 1000", "\"d\": 1000", missing("c")),
        (
            &client,
            "\"dklen\": 32",
            "\"dklen\": 16",
            unsupported("dklen", "16", "32"),
        ),
        (
            &client,
            "hmac-sha256",
            "hmac-sha512",
            unsupported("prf", "hmac-sha512", "hmac-sha256"),
        ),
        (
            &client,
            "\"kdf\": \"pbkdf2\"",
            "\"kdf\": \"scrypt\"",
            unsupported("kdf", "scrypt", "pbkdf2"),
        ),
        (
            &client,
            "aes-256-gcm",
            "aes-128-ctr",
            unsupported("cipher", "aes-128-ctr", "aes-256-gcm or fernet"),
        ),
        (
            &client,
            "\"keytype\": \"ed25519\"",
            "\"keytype\": \"rsa\"",
            unsupported("keytype", "rsa", "ed25519 or secp256k1"),
        ),
        (
            &client,
            "\"version\": 1",
            "\"version\": 3",
            unsupported("version", "3", "1"),
        ),
        (
            &client,
            "\"ciphertext\": \"3d",
            "\"ciphertext\": \"",
            malformed("ciphertext", "is not 48 bytes long, as a sealed seed is"),
        ),
        (
            &client,
            "\"nonce\": \"c4",
            "\"nonce\": \"",
            malformed("nonce", "is not 12 bytes long"),
        ),
        (
            &client,
            "\"salt\": \"0c",
            "\"salt\": \"xx",
            malformed("salt", "is not hexadecimal"),
        ),
        (&client, "\"address\"", "\"adress\"", missing("address")),
        (&client, "\"crypto\"", "\"krypto\"", missing("crypto")),
        (
            &client,
            "\"crypto\": {",
            "\"crypto\": 7, \"x\": {",
            malformed("crypto", "is not an object"),
        ),
        (
            &client,
            "\"version\": 1",
            "\"version\": 1, \"version\": 1",
            KeystoreError::DuplicateKeys,
        ),
        (
            &fernet,
            "\"kdf\": \"sha256\"",
            "\"kdf\": \"md5\"",
            unsupported("kdf", "md5", "sha256"),
        ),
        (
            &fernet,
            "\"ciphertext\": \"Z",
            "\"ciphertext\": \"*",
            malformed("ciphertext", "is not base64"),
        ),
        (
            &fernet,
            "\"ciphertext\": \"Z0FB",
            "\"ciphertext\": \"aEFB",
            malformed("ciphertext", "is not a fernet token of version 0x80"),
        ),
        (
            &pbkdf2,
            "PBKDF2-SHA256-Fernet",
            "Scrypt",
            unsupported("algorithm", "Scrypt", "PBKDF2-SHA256-Fernet"),
        ),
        (
            &pbkdf2,
            "\"iterations\": 6000",
            "\"iterations\": -1",
            KeystoreError::Rounds {
                field: "iterations",
            },
        ),
        (
            &pbkdf2,
            "\"encrypted_data\": \"gAAA",
            "\"encrypted_data\": \"",
            malformed("encrypted_data", "is not a fernet token of version 0x80"),
        ),
    ] {
        assert_eq!(
            text.matches(from).count(),
            1,
            "{from} occurs once in {text}"
        );
        let damaged = text.replace(from, to);
        assert_eq!(
            Keystore::parse(damaged.as_bytes()).unwrap_err(),
            error,
            "{from} -> {to}"
        );
    }
    for (text, error) in [
        ("", "cannot be parsed"),
        ("[]", "not a json object"),
        ("{}", "\"crypto\""),
        (r#"{"private_key": "00"}"#, "private_key"),
    ] {
        let found = Keystore::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(found.contains(error), "{text}: {found}");
    }
    let other = Seed::from_bytes([9; 32]).public_key();
    for (field, value) in [
        ("public_key", other.to_string()),
        ("address", Address::from_public_key(&other).to_string()),
    ] {
        let json: Json = client.parse().unwrap();
        let old = json.root().get(field).unwrap().as_str().unwrap();
        let foreign = client.replace(&format!("\"{old}\""), &format!("\"{value}\""));
        let keystore = Keystore::parse(foreign.as_bytes()).unwrap();
        assert_eq!(
            keystore.unlock(&right).unwrap_err(),
            KeystoreError::Mismatch { field }
        );
    }
}

/// The pbkdf2-fernet fields are also found under `crypto` or at the top level, and its name is also
/// used for tokens with the plain hash.
#[test]
fn pbkdf2_fernet_is_read_wherever_it_stands() {
    let (text, right, seed) = cheap("pbkdf2-fernet");
    let json: Json = text.parse().unwrap();
    let fields = json.root().get("private_key").unwrap();
    let address = json.root().get("address").unwrap().to_json();
    let under_crypto = Json::object([("address", address.clone()), ("crypto", fields.to_json())]);
    let flat = Json::object(
        fields
            .entries()
            .map(|(key, value)| (key, value.to_json()))
            .chain([("address", address)]),
    );
    for variant in [under_crypto, flat] {
        let keystore = Keystore::parse(variant.to_compact().as_bytes()).unwrap();
        assert_eq!(keystore.form(), KeystoreForm::Pbkdf2Fernet);
        assert_eq!(keystore.unlock(&right).unwrap().expose().as_slice(), seed);
    }

    let (text, right, seed) = cheap("fernet");
    let json: Json = text.parse().unwrap();
    let crypto = json.root().get("crypto").unwrap();
    let wrapped = crypto.get("ciphertext").unwrap().as_str().unwrap();
    let token = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .decode(wrapped)
            .unwrap()
    };
    let named_so = Json::object([
        ("algorithm", Json::string("PBKDF2-SHA256-Fernet")),
        ("iterations", Json::integer(10)),
        (
            "encrypted_data",
            Json::string(String::from_utf8(token).unwrap()),
        ),
        (
            "salt",
            crypto
                .get("kdfparams")
                .unwrap()
                .get("salt")
                .unwrap()
                .to_json(),
        ),
    ]);
    let named_so = Json::object([("private_key", named_so)]);
    let keystore = Keystore::parse(named_so.to_compact().as_bytes()).unwrap();
    assert_eq!(keystore.form(), KeystoreForm::Pbkdf2Fernet);
    assert_eq!(keystore.unlock(&right).unwrap().expose().as_slice(), seed);
    assert_eq!(
        keystore.unlock(&password("x")).unwrap_err(),
        KeystoreError::WrongPassword
    );
}

/// AITBC's fernet tool writes the name that its user gave into the address field.
#[test]
fn a_name_in_the_place_of_the_address_is_not_damage() {
    for form in FORMS {
        let (text, right, seed) = cheap(form);
        let json: Json = text.parse().unwrap();
        let address = json.root().get("address").unwrap().as_str().unwrap();
        let with = |stated: &str| {
            let text = text.replace(
                &format!("\"{address}\""),
                &Json::string(stated).to_compact(),
            );
            Keystore::parse(text.as_bytes())
        };
        for name in [
            "aitbc1genesis",
            "ait1genesis",
            "treasury",
            "mein Konto ü",
            "x",
        ] {
            let keystore = with(name).unwrap();
            assert_eq!((keystore.address(), keystore.name()), (None, Some(name)));
            assert_eq!(keystore.unlock(&right).unwrap().expose().as_slice(), seed);
        }
        let stated = with(address).unwrap();
        assert!(stated.address().is_some() && stated.name().is_none());
        // A text that looks like an address is a damaged one.
        for damaged in [
            &address.replacen("ait1", "bit1", 1),
            &address[..address.len() - 1],
            &format!("{address}0"),
            &address.to_uppercase(),
            &"x".repeat(129),
            "a\u{7}b",
        ] {
            let error = with(damaged).unwrap_err();
            assert!(
                matches!(error, KeystoreError::Address(_)),
                "{damaged}: {error}"
            );
        }
    }
    let (fernet, ..) = cheap("fernet");
    let json: Json = fernet.parse().unwrap();
    let address = json.root().get("address").unwrap().as_str().unwrap();
    let empty = Keystore::parse(fernet.replace(address, "").as_bytes()).unwrap();
    assert!(empty.address().is_none() && empty.name().is_none());
}

/// AITBC strips the white space around a password file's text, as Python's `str.strip` does.
#[test]
fn white_space_around_a_password_is_not_part_of_it() {
    let (text, _, seed) = cheap("fernet");
    let seed = Seed::from_bytes(seed.try_into().unwrap());
    let address = Address::from_public_key(&seed.public_key());
    assert!(Keystore::parse(text.as_bytes()).is_ok());
    let under = |password: Password| {
        let text = Keystore::encrypt(&seed, &password, &address).unwrap();
        Keystore::parse(text.as_bytes()).unwrap()
    };
    let stripped = under(password("temp 123"));
    for file in [
        "temp 123",
        "temp 123\n",
        "temp 123\r\n\n",
        " \ttemp 123 \n\n",
        "\n\u{1c}\u{a0}temp 123\u{1f}\u{85}\n",
    ] {
        assert!(
            stripped.unlock(&Password::of_file(file)).is_ok(),
            "{file:?}"
        );
        assert!(
            under(Password::of_file(file))
                .unlock(&password("temp 123"))
                .is_ok(),
            "{file:?}"
        );
    }
    // A wallet that was encrypted under a line with its blanks also opens.
    let exact = under(password(" temp 123 "));
    assert!(exact.unlock(&Password::of_file(" temp 123 \n")).is_ok());
    for wrong in ["temp 123\n", " temp 123\n", "temp  123", ""] {
        let error = exact.unlock(&Password::of_file(wrong)).unwrap_err();
        assert!(error.is_wrong_password(), "{wrong:?}");
    }
    assert!(Password::of_file(" \n\n").is_empty());
}

#[test]
fn sizes_are_bounded() {
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    assert!(
        matches!(Keystore::parse(huge.as_bytes()), Err(KeystoreError::Json(error)) if error.is_limit())
    );
}
