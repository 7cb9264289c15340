//! What AITBC's own functions made and answered: keys, addresses, transactions, a block.

use agentry_protocol::{
    Address, BlockHash, BlockHeight, Json, JsonRef, KeyType, Limits, MessageDigest, PublicKey,
    Seed, Signature, SignedTransaction, SigningKey, StoredTransaction, block_hash,
};

use super::DIALECT;

fn vectors() -> Json {
    let path = format!(
        "{}/tests/vectors/dialect_2026_08.json",
        env!("CARGO_MANIFEST_DIR")
    );
    Json::parse(&std::fs::read(path).unwrap(), Limits::default()).unwrap()
}

fn text<'a>(value: JsonRef<'a>, key: &str) -> &'a str {
    let found = value.get(key).unwrap_or_else(|| panic!("no {key}"));
    found.as_str().unwrap()
}

fn seed(digits: &str) -> Seed {
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let bytes = hex::decode(digits).unwrap().try_into().unwrap();
    Seed::new(bytes, KeyType::Secp256k1).unwrap()
}

#[test]
fn keys_and_their_addresses() {
    let vectors = vectors();
    let keys = vectors.root().get("keys").unwrap();
    assert_eq!(keys.len(), 2);
    for case in keys.items() {
        let key = seed(text(case, "private_key")).public_key();
        let uncompressed = text(case, "public_key_uncompressed_64");
        assert_eq!(key.to_string(), text(case, "public_key_compressed_33"));
        assert_eq!(key.to_file_text(), format!("0x{uncompressed}"));
        assert_eq!(hex::encode(key.coordinates().unwrap()), uncompressed);
        assert_eq!(key.to_file_text().parse::<PublicKey>(), Ok(key));
        let address = Address::from_public_key(&key);
        assert_eq!(address.as_str(), text(case, "address_ait1"));
        assert_eq!(
            address.to_checksummed().as_deref(),
            Some(text(case, "address_0x_checksum"))
        );
        let hash = text(case, "keccak256_of_public_key");
        assert!(address.as_str().ends_with(&hash[24..]));
        for spelling in ["address_ait1", "address_0x_checksum", "address_aitbc1"] {
            // As a person types it, and as a chain carries it.
            assert_eq!(text(case, spelling).parse::<Address>(), Ok(address.clone()));
            let carried = DIALECT.address(text(case, spelling)).unwrap();
            assert_eq!(carried, address);
            assert_eq!(carried.spelled(), text(case, spelling));
        }
    }
    let observed = vectors.root().get("observed").unwrap().get("keys").unwrap();
    for (name, case) in observed.entries() {
        let key = seed(text(case, "private_key")).public_key();
        let address = Address::from_public_key(&key);
        assert_eq!(address.as_str(), text(case, "address"), "{name}");
    }
}

#[test]
fn equality_of_addresses() {
    let vectors = vectors();
    let cases = vectors.root().get("address_equality").unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases.items() {
        match DIALECT.address(text(case, "text")) {
            Ok(address) => assert_eq!(address.as_str(), text(case, "canonical_ait1")),
            // An address is one word here.
            Err(_) => assert_eq!(text(case, "text"), "hello world"),
        }
    }
}

#[test]
fn transactions() {
    let vectors = vectors();
    let keys = vectors.root().get("keys").unwrap();
    let alice = seed(text(keys.items().next().unwrap(), "private_key"));
    let key = SigningKey::from_seed(&alice);
    let mut seen = [0; 4];
    let cases = vectors.root().get("transactions").unwrap();
    for case in cases.items() {
        let name = text(case, "name");
        let (signing_text, spelled) = (text(case, "signing_text"), text(case, "signature"));
        let digest = MessageDigest::of(signing_text.as_bytes());
        assert_eq!(
            digest.to_string(),
            text(case, "sha256_of_signing_text"),
            "{name}"
        );
        // Who signed is found in every spelling that a node accepts.
        let signer = Signature::recover_any(signing_text.as_bytes(), spelled);
        assert_eq!(signer, Some(key.public_key()), "{name}");
        let own = key.sign(signing_text.as_bytes());
        let is_own = own.to_string() == spelled;
        assert_eq!(spelled.parse::<Signature>().is_ok(), is_own, "{name}");
        seen[0] += usize::from(is_own);

        if case.get("admitted").unwrap().as_bool() != Some(true) {
            seen[1] += 1;
            continue;
        }
        let kept = text(case, "stored_text");
        let stored = StoredTransaction::read(DIALECT, kept.as_bytes(), Limits::default()).unwrap();
        assert_eq!(stored.stored_text(), kept, "{name}");
        assert_eq!(
            stored.hash().to_string(),
            text(case, "transaction_hash"),
            "{name}"
        );
        assert_eq!(stored.signature.as_deref(), Some(spelled), "{name}");
        assert_eq!(
            StoredTransaction::parse(kept.as_bytes(), Limits::NONE).unwrap(),
            stored
        );
        let is_right = case.get("signature_still_right_at_the_block").unwrap();
        if is_right.as_bool() == Some(true) {
            assert_eq!(stored.signing_text(), signing_text, "{name}");
            assert_eq!(super::row(&stored).digest(), digest, "{name}");
        } else {
            seen[2] += 1;
            assert_ne!(stored.signing_text(), signing_text, "{name}");
        }
        // What this program would have posted.
        let body = text(case, "body");
        if let Ok(signed) = SignedTransaction::from_body(body.as_bytes(), Limits::default())
            && signed.transaction().dialect == DIALECT
        {
            seen[3] += 1;
            assert_eq!(signed.stored(), stored, "{name}");
            assert_eq!(signed.public_key(), Some(key.public_key()));
            if case.get("note").is_none() {
                assert_eq!(signed.body(), body, "{name}");
            }
        }
    }
    assert_eq!(cases.len(), 12);
    // Signed as this program signs; refused by a node; dropped at the block; read back as a body.
    assert_eq!(seen, [9, 2, 1, 5]);
}

#[test]
fn a_block() {
    let vectors = vectors();
    let block = vectors.root().get("block").unwrap();
    let parts: Vec<&str> = text(block, "text").split('|').collect();
    let [chain, height, parent, time, hashes @ ..] = &*parts else {
        panic!("{parts:?}");
    };
    let height = BlockHeight(height.parse().unwrap());
    let chain = chain.parse().unwrap();
    let hash = block_hash(&chain, height, parent, time, hashes.iter().copied());
    assert_eq!(hash, text(block, "hash").parse::<BlockHash>().unwrap());
    let proposer = DIALECT.address(text(block, "proposer")).unwrap();
    let observed = vectors.root().get("observed").unwrap();
    let observed = observed.get("GET /rpc/blocks/10").unwrap();
    for (block, proposer) in [
        (block, proposer),
        (
            observed,
            DIALECT.address(text(observed, "proposer")).unwrap(),
        ),
    ] {
        let signature = text(block, "signature");
        let hash: BlockHash = text(block, "hash").parse().unwrap();
        let signer = Signature::recover_hash(hash.as_bytes(), signature);
        assert!(proposer.matches(&signer.unwrap()));
        // It is no signature of a message.
        let other = Signature::recover_any(hash.as_bytes(), signature);
        assert!(other.is_none_or(|key| !proposer.matches(&key)));
    }
}
