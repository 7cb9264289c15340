//! Vaults: round trip, swapped entries, damage, and ten thousand wallets.

use agentry_protocol::{Address, Json, KeyType, Password, Seed, Vault, VaultError};
use proptest::prelude::*;

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn wallet(name: &str, byte: u8) -> (String, Address, Seed) {
    let seed = Seed::from_bytes([byte; 32]);
    (
        name.to_owned(),
        Address::from_public_key(&seed.public_key()),
        seed,
    )
}

fn pack(entries: Vec<(String, Address, Seed)>) -> Result<Vault, VaultError> {
    Vault::pack_with_rounds(entries, &password("right"), 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_unseals(
        seeds in prop::collection::btree_map("[a-zé \"\\\\]{1,12}", (any::<[u8; 32]>(), any::<bool>()), 0..8),
        // Without NUL: HMAC pads its key with NULs, so "" and "\0" are one password.
        right in "\\PC{0,20}", wrong in "\\PC{0,20}",
    ) {
        let entries = seeds.iter().map(|(name, (bytes, bech32))| {
            let seed = Seed::from_bytes(*bytes);
            let key = seed.public_key();
            let address = if *bech32 {
                Address::bech32_from_public_key(&key)
            } else {
                Address::from_public_key(&key)
            };
            (name.clone(), address, seed)
        });
        let packed = Vault::pack_with_rounds(entries, &password(&right), 2).unwrap();
        let vault = Vault::parse(packed.to_text().as_bytes()).unwrap();
        prop_assert_eq!(vault.to_text(), packed.to_text());
        prop_assert!(vault.wallets().eq(packed.wallets()));
        prop_assert_eq!(vault.len(), seeds.len());
        let key = vault.open(&password(&right)).unwrap();
        for (name, (bytes, _)) in &seeds {
            let entry = vault.get(name).unwrap();
            let seed = vault.unseal(entry, &key).unwrap();
            prop_assert_eq!(seed.expose(), bytes);
            prop_assert_eq!(entry.public_key(), &seed.public_key());
            prop_assert!(entry.address().matches(entry.public_key()));
        }
        if wrong != right {
            // Also when the vault is empty.
            prop_assert!(vault.open(&password(&wrong)).unwrap_err().is_wrong_password());
        }
    }
}

#[test]
fn a_vault_under_the_real_number_of_rounds_opens() {
    let vault = Vault::pack([wallet("a", 1)], &password("right")).unwrap();
    assert!(vault.to_text().contains("\"rounds\": 600000"));
    let vault = Vault::parse(vault.to_text().as_bytes()).unwrap();
    let key = vault.open(&password("right")).unwrap();
    let seed = vault.unseal(vault.get("a").unwrap(), &key).unwrap();
    assert_eq!(seed.expose(), &[1; 32]);
}

/// The type of a key is that of the public key that an entry states, so it cannot be changed alone.
#[test]
fn wallets_of_both_key_types_are_in_one_vault() {
    let types = [KeyType::Ed25519, KeyType::Secp256k1, KeyType::Secp256k1];
    let entries = types.iter().zip(1..).map(|(key_type, byte)| {
        let seed = Seed::new([byte; 32], *key_type).unwrap();
        let address = Address::from_public_key(&seed.public_key());
        (format!("w{byte}"), address, seed)
    });
    let packed = pack(entries.collect()).unwrap();
    let text = packed.to_text();
    let vault = Vault::parse(text.as_bytes()).unwrap();
    assert_eq!(vault.to_text(), text);
    let key = vault.open(&password("right")).unwrap();
    for (entry, (key_type, byte)) in vault.wallets().zip(types.into_iter().zip(1..)) {
        let digits = entry.public_key().to_string().len();
        let is_ed25519 = key_type == KeyType::Ed25519;
        assert_eq!(digits, if is_ed25519 { 64 } else { 66 });
        let seed = vault.unseal(entry, &key).unwrap();
        assert_eq!((seed.expose(), seed.key_type()), (&[byte; 32], key_type));
        assert_eq!(
            *entry.address(),
            Address::from_public_key(&seed.public_key())
        );
        // The same secret as a key of the other type.
        let other = match key_type {
            KeyType::Ed25519 => KeyType::Secp256k1,
            KeyType::Secp256k1 => KeyType::Ed25519,
        };
        let other = Seed::new([byte; 32], other).unwrap().public_key();
        let address = Address::from_public_key(&other);
        let altered = text
            .replace(&entry.public_key().to_string(), &other.to_string())
            .replace(entry.address().as_str(), address.as_str());
        let altered = Vault::parse(altered.as_bytes()).unwrap();
        let key = altered.open(&password("right")).unwrap();
        let error = altered.unseal(altered.get(entry.name()).unwrap(), &key);
        let name = entry.name().to_owned();
        assert_eq!(error.unwrap_err(), VaultError::Altered { name });
    }
}

#[test]
fn swapped_and_renamed_entries_do_not_open() {
    let vault = pack(vec![wallet("a", 1), wallet("b", 2)]).unwrap();
    let text = vault.to_text();
    let part = |name: &str, field: &str| {
        let json: Json = text.parse().unwrap();
        let wallets = json.root().get("wallets").unwrap();
        let found = wallets
            .items()
            .find(|wallet| wallet.get("name").unwrap().as_str() == Some(name));
        found
            .unwrap()
            .get(field)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let swapped = |fields: &[&str]| {
        let mut swapped = text.clone();
        for field in fields {
            let (a, b) = (part("a", field), part("b", field));
            swapped = swapped
                .replace(&a, "PLACE")
                .replace(&b, &a)
                .replace("PLACE", &b);
        }
        swapped
    };
    let cases = [
        swapped(&["sealed", "nonce"]),
        swapped(&["address"]),
        swapped(&["public_key"]),
        swapped(&["address", "public_key"]),
        text.replace("\"name\":\"a\"", "\"name\":\"c\""),
    ];
    for altered in cases {
        assert_ne!(altered, text);
        let altered = Vault::parse(altered.as_bytes()).unwrap();
        let key = altered.open(&password("right")).unwrap();
        let first = altered.wallets().next().unwrap();
        let error = altered.unseal(first, &key).unwrap_err();
        assert_eq!(
            error,
            VaultError::Altered {
                name: first.name().to_owned()
            }
        );
    }
}

#[test]
fn the_key_of_one_vault_opens_no_other() {
    let (one, other) = (
        pack(vec![wallet("a", 1)]).unwrap(),
        pack(vec![wallet("a", 1)]).unwrap(),
    );
    let key = one.open(&password("right")).unwrap();
    let entry = other.get("a").unwrap();
    assert_eq!(
        other.unseal(entry, &key).unwrap_err(),
        VaultError::Altered { name: "a".into() }
    );
    assert_ne!(one.to_text(), other.to_text());
}

/// Any byte altered in one of several ways causes an error, or leaves the seeds unchanged.
#[test]
fn no_damaged_byte_yields_another_seed() {
    let text = pack(vec![wallet("a", 1), wallet("b", 2)])
        .unwrap()
        .to_text();
    let open = |bytes: &[u8]| -> Result<Vec<[u8; 32]>, VaultError> {
        let vault = Vault::parse(bytes)?;
        let key = vault.open(&password("right"))?;
        vault
            .wallets()
            .map(|entry| Ok(*vault.unseal(entry, &key)?.expose()))
            .collect()
    };
    assert_eq!(open(text.as_bytes()).unwrap(), [[1; 32], [2; 32]]);
    let mut errors = 0;
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1 << bit;
            match open(&damaged) {
                Ok(seeds) => assert_eq!(seeds, [[1; 32], [2; 32]], "byte {at} bit {bit}"),
                Err(_) => errors += 1,
            }
        }
        if at + 2 < text.len() {
            assert!(
                Vault::parse(&text.as_bytes()[..at]).is_err(),
                "truncated at {at}"
            );
        }
    }
    assert!(errors > 7 * text.len(), "{errors} of {}", 8 * text.len());
}

#[test]
fn what_cannot_be_packed_is_named() {
    let mismatch = (
        "a".to_owned(),
        Address::from_public_key(&Seed::from_bytes([2; 32]).public_key()),
        Seed::from_bytes([1; 32]),
    );
    let cases = [
        (vec![mismatch], VaultError::Mismatch { name: "a".into() }),
        (
            vec![wallet("a", 1), wallet("a", 2)],
            VaultError::Twice { name: "a".into() },
        ),
        (vec![wallet("", 1)], VaultError::Name),
        (vec![wallet("a\n", 1)], VaultError::Name),
        (vec![wallet(&"a".repeat(129), 1)], VaultError::Name),
    ];
    for (entries, error) in cases {
        assert_eq!(pack(entries).unwrap_err(), error);
    }
    for rounds in [0, 10_000_001] {
        let error = Vault::pack_with_rounds([], &password(""), rounds).unwrap_err();
        assert_eq!(error, VaultError::Rounds);
    }
}

#[test]
fn damage_is_named() {
    let text = pack(vec![wallet("a", 1)]).unwrap().to_text();
    for (from, to, error) in [
        ("agentry_vault", "agentry_fault", "not a vault"),
        ("\"agentry_vault\": 1", "\"agentry_vault\": 2", "version 2"),
        ("\"rounds\": 2", "\"rounds\": 0", "out of range"),
        ("\"rounds\": 2", "\"rounds\": 10000001", "out of range"),
        ("pbkdf2-hmac-sha256", "argon2id", "\"kdf\""),
        ("\"check\"", "\"cheque\"", "\"check\" is missing"),
        ("\"wallets\"", "\"purses\"", "\"wallets\" is missing"),
        (
            "\"address\":\"ait1",
            "\"address\":\"bit1",
            "wallet 1 is damaged: its \"address\"",
        ),
        (
            "\"sealed\":\"",
            "\"sealed\":\"00",
            "wallet 1 is damaged: its \"sealed\"",
        ),
        (
            "\"name\":\"a\"",
            "\"name\":7",
            "wallet 1 is damaged: its \"name\"",
        ),
        ("\"rounds\": 2", "\"rounds\": 2, \"rounds\": 2", "key twice"),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let found = Vault::parse(text.replace(from, to).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(found.contains(error), "{from} -> {to}: {found}");
    }
}

#[test]
fn ten_thousand_wallets_are_packed_read_and_found() {
    let entries = (0..10_000_u32).map(|number| {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let seed = Seed::from_bytes(bytes);
        (
            format!("wallet-{number}"),
            Address::from_public_key(&seed.public_key()),
            seed,
        )
    });
    let text = Vault::pack_with_rounds(entries, &password("right"), 1)
        .unwrap()
        .to_text();
    let vault = Vault::parse(text.as_bytes()).unwrap();
    assert_eq!(vault.len(), 10_000);
    let key = vault.open(&password("right")).unwrap();
    for number in [0, 4_711, 9_999] {
        let entry = vault.get(&format!("wallet-{number}")).unwrap();
        let seed = vault.unseal(entry, &key).unwrap();
        assert_eq!(seed.expose()[..4], u32::to_be_bytes(number));
    }
    assert!(vault.get("wallet-10000").is_none());
    let shown = format!("{vault:?} {:?} {key:?}", vault.get("wallet-1").unwrap());
    assert!(!shown.contains("sealed") && shown.contains("VaultKey(..)"));
}
