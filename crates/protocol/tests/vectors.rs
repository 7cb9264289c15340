//! Every published test vector: the output of CPython and of the real node for the same input.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::{
    Address, AddressForm, Dialect, Json, JsonError, JsonRef, Keystore, Limits, Password, PublicKey,
    Seed, SignedTransaction, SigningKey, StoredTransaction, Transaction, Verification,
};

fn cases(file: &str) -> Json {
    let path = format!("{}/tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let json = Json::parse(&std::fs::read(path).unwrap(), Limits::default()).unwrap();
    assert!(!json.has_duplicate_keys());
    json.root().get("cases").unwrap().to_json()
}

fn text<'a>(case: JsonRef<'a>, key: &str) -> &'a str {
    case.get(key)
        .unwrap_or_else(|| panic!("no {key}"))
        .as_str()
        .unwrap()
}

fn seed(case: JsonRef<'_>) -> Seed {
    Seed::from_bytes(hex::decode(text(case, "seed")).unwrap().try_into().unwrap())
}

#[test]
fn canonical_json() {
    let cases = cases("canonical_json");
    let mut refused = 0;
    for case in cases.root().items() {
        let input = text(case, "input");
        let json = match Json::parse(input.as_bytes(), Limits::default()) {
            Ok(json) => json,
            Err(JsonError::LoneSurrogate { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("{input}: {error}"),
        };
        for spelled in [input, text(case, "spaced"), text(case, "compact")] {
            let json = Json::parse(spelled.as_bytes(), Limits::default()).unwrap();
            assert_eq!(json.to_spaced(), text(case, "spaced"));
            assert_eq!(json.to_compact(), text(case, "compact"));
        }
        assert_eq!(json.root().to_json(), json);
    }
    assert_eq!((cases.root().len(), refused), (162, 1));
}

#[test]
fn keystores_that_state_a_name() {
    let cases = cases("keystores_named_address");
    for case in cases.root().items() {
        let keystore = case.get("keystore").unwrap();
        let read = Keystore::parse(keystore.to_spaced().as_bytes()).unwrap();
        assert_eq!(read.address(), None);
        assert_eq!(read.name(), Some(text(keystore, "address")));
        let password = Password::new(text(case, "password").to_owned());
        assert_eq!(
            read.unlock(&password).unwrap().expose(),
            seed(case).expose()
        );
    }
}

#[test]
fn floats_as_cpython_spells_them() {
    let cases = cases("floats");
    assert_eq!(cases.root().len(), 600);
    for case in cases.root().items() {
        let bits = u64::from_str_radix(text(case, "bits"), 16).unwrap();
        let json = Json::float(f64::from_bits(bits)).unwrap();
        assert_eq!(json.to_compact(), text(case, "repr"));
        let read = Json::parse(text(case, "repr").as_bytes(), Limits::default()).unwrap();
        assert_eq!(read, json);
    }
}

#[test]
fn addresses() {
    let cases = cases("addresses");
    assert_eq!(cases.root().len(), 11);
    for case in cases.root().items() {
        let key = seed(case).public_key();
        assert_eq!(key.to_string(), text(case, "public_key"));
        let hex_form = Address::from_public_key(&key);
        let bech32_form = Address::bech32_from_public_key(&key);
        assert_eq!(hex_form.as_str(), text(case, "address_hex"));
        assert_eq!(bech32_form.as_str(), text(case, "address_bech32"));
        assert_eq!(hex_form.as_str().parse(), Ok(hex_form.clone()));
        assert_eq!(bech32_form.as_str().parse(), Ok(bech32_form.clone()));
        assert_eq!(hex_form.form(), AddressForm::Hex);
        assert_eq!(bech32_form.form(), AddressForm::Bech32);
        assert!(hex_form.matches(&key) && bech32_form.matches(&key));
    }
}

fn unsigned(case: JsonRef<'_>) -> Transaction {
    let transaction = case.get("transaction").unwrap();
    let number = |key| transaction.get(key).unwrap().as_number().unwrap();
    Transaction {
        dialect: Dialect::April2026,
        from: text(transaction, "from").parse().unwrap(),
        to: text(transaction, "to").parse().unwrap(),
        amount: number("amount"),
        fee: number("fee"),
        nonce: number("nonce"),
        payload: transaction.get("payload").unwrap().to_json(),
        chain_id: text(transaction, "chain_id").parse().unwrap(),
    }
}

#[test]
fn transactions() {
    let cases = cases("transactions");
    assert_eq!(cases.root().len(), 25);
    for case in cases.root().items() {
        let transaction = unsigned(case);
        assert_eq!(transaction.signing_text(), text(case, "signing_text"));
        assert_eq!(
            transaction.digest().to_string(),
            text(case, "signing_sha256")
        );

        let key = SigningKey::from_seed(&seed(case));
        let signed = transaction.sign(&key);
        assert_eq!(
            signed.signature().unwrap().to_string(),
            text(case, "signature")
        );
        assert_eq!(
            signed.public_key().unwrap().to_string(),
            text(case, "public_key")
        );
        assert_eq!(signed.hash().to_string(), text(case, "transaction_hash"));
        assert_eq!(signed.stored().stored_text(), text(case, "stored_text"));
        assert_eq!(
            signed.stored().to_json().to_compact(),
            text(case, "stored_text")
        );
        assert_eq!(
            signed.stored().to_json().root(),
            case.get("stored").unwrap()
        );
        let again = SignedTransaction::from_body(signed.body().as_bytes(), Limits::default());
        assert_eq!(again.unwrap(), signed);

        let stored = StoredTransaction::from_json(case.get("stored").unwrap()).unwrap();
        assert_eq!(stored, signed.stored());
        assert_eq!(stored.hash().to_string(), text(case, "transaction_hash"));
        assert_eq!(stored.digest().to_string(), text(case, "signing_sha256"));
        assert_eq!(stored.verify(&key.public_key()), Verification::Valid);
    }
}

#[test]
fn seven_key_transactions() {
    let cases = cases("transactions_seven_keys");
    assert_eq!(cases.root().len(), 4);
    for case in cases.root().items() {
        let transaction = unsigned(case);
        assert_eq!(
            transaction.signing_text_seven_keys(),
            text(case, "signing_text")
        );
        let stored = StoredTransaction::from_json(case.get("stored").unwrap()).unwrap();
        assert_eq!(stored.hash().to_string(), text(case, "transaction_hash"));
        let key: PublicKey = text(case, "public_key").parse().unwrap();
        assert_eq!(stored.verify(&key), Verification::ValidSevenKeys);
        let signed =
            SignedTransaction::sign_seven_keys(transaction, &SigningKey::from_seed(&seed(case)));
        assert_eq!(signed.stored(), stored);
    }
}

#[test]
fn keystores() {
    let cases = cases("keystores");
    assert_eq!(cases.root().len(), 20);
    for case in cases.root().items() {
        let keystore =
            Keystore::parse(case.get("keystore").unwrap().to_spaced().as_bytes()).unwrap();
        assert_eq!(keystore.form().to_string(), text(case, "form"));
        let password = Password::new(text(case, "password").to_owned());
        let unlocked = keystore.unlock(&password).unwrap();
        assert_eq!(unlocked.expose(), seed(case).expose());
        assert_eq!(unlocked.public_key().to_string(), text(case, "public_key"));
        assert!(keystore.address().unwrap().matches(&unlocked.public_key()));
        assert!(
            keystore
                .public_key()
                .is_none_or(|key| *key == unlocked.public_key())
        );
    }
}
