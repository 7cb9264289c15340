//! Keys and signatures: which signatures verify, and which never do.

use agentry_protocol::{KeyError, KeyType, PublicKey, Seed, Signature, SignatureError, SigningKey};
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_signed_verifies_under_its_key_alone(
        seed in any::<[u8; 32]>(), other in any::<[u8; 32]>(), message in any::<Vec<u8>>(),
    ) {
        let key = SigningKey::from_seed(&Seed::from_bytes(seed));
        let signature = key.sign(&message);
        prop_assert!(key.public_key().verify(&message, &signature));
        prop_assert_eq!(key.sign(&message), signature);
        let unrelated = Seed::from_bytes(other).public_key();
        prop_assert_eq!(unrelated.verify(&message, &signature), seed == other);
        prop_assert_eq!(signature.to_string().parse::<Signature>().unwrap(), signature);
        prop_assert_eq!(key.public_key().to_string().parse::<PublicKey>().unwrap(), key.public_key());
    }

    #[test]
    fn any_flipped_bit_of_the_message_is_found(
        seed in any::<[u8; 32]>(), message in prop::collection::vec(any::<u8>(), 1..64), at in any::<prop::sample::Index>(),
    ) {
        let key = SigningKey::from_seed(&Seed::from_bytes(seed));
        let signature = key.sign(&message);
        let mut altered = message;
        let bit = at.index(altered.len() * 8);
        altered[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!key.public_key().verify(&altered, &signature));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<Signature>();
        let _ = text.parse::<PublicKey>();
    }
}

#[test]
fn any_flipped_bit_of_a_signature_or_a_key_is_found() {
    let key = SigningKey::from_seed(&Seed::from_bytes([0x11; 32]));
    let signature = key.sign(b"ping");
    for bit in 0..512 {
        let mut bytes: [u8; 64] = signature.as_bytes().try_into().unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(
            !key.public_key()
                .verify(b"ping", &Signature::from_bytes(bytes)),
            "bit {bit}"
        );
    }
    for bit in 0..256 {
        let mut bytes: [u8; 32] = key.public_key().as_bytes().try_into().unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = PublicKey::from_bytes(bytes) {
            assert!(!other.verify(b"ping", &signature), "bit {bit}");
        }
    }
}

#[test]
fn signatures_are_spelled_in_one_way() {
    let right = SigningKey::from_seed(&Seed::from_bytes([0x11; 32]))
        .sign(b"ping")
        .to_string();
    let letter = right
        .find(|digit: char| digit.is_ascii_lowercase())
        .unwrap();
    let mut upper = right.clone();
    upper[letter..=letter].make_ascii_uppercase();
    let mut foreign = right.clone();
    foreign.replace_range(0..1, "g");
    let mut wide = right.clone();
    wide.replace_range(127..128, "é");
    for (text, error) in [
        (
            upper,
            SignatureError::Uppercase {
                position: letter + 1,
            },
        ),
        (right[1..].to_owned(), SignatureError::Length { found: 127 }),
        (format!("{right} "), SignatureError::Length { found: 129 }),
        (format!("0x{right}"), SignatureError::Length { found: 130 }),
        (
            foreign,
            SignatureError::Character {
                found: 'g',
                position: 1,
            },
        ),
        (
            wide,
            SignatureError::Character {
                found: 'é',
                position: 128,
            },
        ),
        (String::new(), SignatureError::Length { found: 0 }),
    ] {
        assert_eq!(text.parse::<Signature>(), Err(error), "{text}");
    }
}

/// Signatures that the plain equation accepts and the strict one does not: a key of small order
/// verifies anything, so it is refused.
#[test]
fn keys_of_small_order_and_odd_encodings_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(PublicKey::from_bytes(identity), Err(KeyError::Weak));
    assert_eq!(PublicKey::from_bytes([0; 32]), Err(KeyError::Weak));
    // y = 2 is not a point.
    let mut two = [0; 32];
    two[0] = 2;
    assert_eq!(PublicKey::from_bytes(two), Err(KeyError::NotAPoint));
    // Every y of at least the prime 2^255 - 19 is another spelling of a smaller one.
    for low in 0xed..=0xff {
        let mut beyond = [0xff; 32];
        beyond[0] = low;
        for top in [0x7f, 0xff] {
            beyond[31] = top;
            assert!(PublicKey::from_bytes(beyond).is_err(), "{low:x} {top:x}");
        }
    }
}

#[test]
fn keys_are_read_in_either_case_and_written_in_lower() {
    let key = Seed::from_bytes([0x11; 32]).public_key();
    assert_eq!(key.to_string().to_uppercase().parse::<PublicKey>(), Ok(key));
    assert_eq!(
        "00".parse::<PublicKey>(),
        Err(KeyError::Length { found: 2 })
    );
    assert_eq!(
        format!("x{}", &key.to_string()[1..]).parse::<PublicKey>(),
        Err(KeyError::Character {
            found: 'x',
            position: 1
        })
    );
    let text = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<PublicKey>(&text).unwrap(), key);
}

#[test]
fn a_key_is_read_in_the_spelling_of_files() {
    for key_type in [KeyType::Ed25519, KeyType::Secp256k1] {
        let key = Seed::new([0x11; 32], key_type).unwrap().public_key();
        let spelled = key.to_file_text();
        assert_eq!(spelled.parse::<PublicKey>(), Ok(key));
        let digits = if key_type == KeyType::Ed25519 {
            64
        } else {
            130
        };
        assert_eq!(spelled.len(), digits);
    }
}

/// Found by the fuzz target `key`: a library reads a point without a sign, too.
#[test]
fn a_compressed_key_says_which_of_two_points_it_is() {
    let digits = "d62310828ade949a7efe3370969c4618c5de469c4618c5de4a97452062c4ec0d";
    for first in 0..=u8::MAX {
        let text = format!("{first:02x}{digits}");
        let read = text.parse::<PublicKey>();
        match first {
            2 | 3 => assert_eq!(read.unwrap().to_string(), text),
            _ => assert_eq!(read, Err(KeyError::NotAPoint), "{text}"),
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    let seed = Seed::from_bytes([0x11; 32]);
    let key = SigningKey::from_seed(&seed);
    let shown = format!(
        "{seed:?} {key:?} {:?}",
        agentry_protocol::Password::new("pa55".into())
    );
    assert!(!shown.contains("1111") && !shown.contains("17, 17") && !shown.contains("pa55"));
    assert!(shown.contains("Seed(..)") && shown.contains("Password(..)"));
}

#[test]
fn generated_seeds_differ() {
    let (a, b) = (
        Seed::generate(KeyType::Ed25519).unwrap(),
        Seed::generate(KeyType::Ed25519).unwrap(),
    );
    assert_ne!(a.expose(), b.expose());
    assert_ne!(a.expose(), &[0; 32]);
}

/// What was found out about a key is remembered by its first bytes: keys that share them are told
/// apart, and what is refused stays refused.
#[test]
fn keys_that_begin_alike_are_told_apart() {
    let key = SigningKey::from_seed(&Seed::from_bytes([0x11; 32]));
    let public = key.public_key();
    let signature = key.sign(b"ping");
    let mut alike = (0..u8::MAX).filter_map(|last| {
        let mut bytes: [u8; 32] = public.as_bytes().try_into().unwrap();
        bytes[30] = last;
        PublicKey::from_bytes(bytes).ok()
    });
    let other = alike.find(|other| *other != public).unwrap();
    for _ in 0..3 {
        assert!(public.verify(b"ping", &signature));
        assert!(!other.verify(b"ping", &signature));
        assert_eq!(PublicKey::from_bytes([0; 32]), Err(KeyError::Weak));
    }
}
