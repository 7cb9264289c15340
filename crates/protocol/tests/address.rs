//! Addresses: what a person may type, what a chain may carry, and to which key an address belongs.

use agentry_protocol::{Address, AddressError, AddressForm, PublicKey, Seed};
use proptest::prelude::*;

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(|bytes| Seed::from_bytes(bytes).public_key())
}

/// Every character that a typing error can put in place of another.
fn typed() -> impl Strategy<Value = char> {
    prop_oneof![
        prop::char::range(' ', '~'),
        Just('é'),
        Just('１'),
        Just('\u{0}'),
        Just('\n')
    ]
}

proptest! {
    #[test]
    fn both_forms_are_read_back_and_belong_to_their_key_alone(key in key(), other in key()) {
        for (address, form) in [
            (Address::from_public_key(&key), AddressForm::Hex),
            (Address::bech32_from_public_key(&key), AddressForm::Bech32),
        ] {
            prop_assert_eq!(address.as_str().parse::<Address>().unwrap(), address.clone());
            prop_assert_eq!(Address::from_chain(address.as_str()).unwrap(), address.clone());
            prop_assert_eq!(address.form(), form);
            prop_assert!(address.matches(&key));
            prop_assert_eq!(address.matches(&other), key == other);
            let text = serde_json::to_string(&address).unwrap();
            prop_assert_eq!(serde_json::from_str::<Address>(&text).unwrap(), address);
        }
    }

    #[test]
    fn any_single_mistyped_character_of_a_bech32_address_is_found(
        key in key(), at in 0_usize..62, typed in typed(),
    ) {
        let right = Address::bech32_from_public_key(&key);
        let mut wrong: Vec<char> = right.as_str().chars().collect();
        prop_assume!(wrong[at] != typed);
        wrong[at] = typed;
        let wrong: String = wrong.into_iter().collect();
        prop_assert!(wrong.parse::<Address>().is_err(), "{}", wrong);
    }

    #[test]
    fn up_to_four_mistyped_characters_of_a_bech32_address_are_found(
        key in key(),
        slips in prop::collection::btree_map(4_usize..62, 0_usize..31, 1..=4),
    ) {
        const CHARACTERS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
        let mut wrong = Address::bech32_from_public_key(&key).to_string().into_bytes();
        for (at, step) in slips {
            let now = CHARACTERS.iter().position(|known| *known == wrong[at]).unwrap();
            wrong[at] = CHARACTERS[(now + 1 + step) % 32];
        }
        let wrong = String::from_utf8(wrong).unwrap();
        prop_assert_eq!(wrong.parse::<Address>(), Err(AddressError::Checksum));
    }

    #[test]
    fn two_swapped_characters_of_a_bech32_address_are_found(key in key(), at in 4_usize..61) {
        let mut wrong = Address::bech32_from_public_key(&key).to_string().into_bytes();
        prop_assume!(wrong[at] != wrong[at + 1]);
        wrong.swap(at, at + 1);
        let wrong = String::from_utf8(wrong).unwrap();
        prop_assert_eq!(wrong.parse::<Address>(), Err(AddressError::Checksum));
    }

    #[test]
    fn a_hex_address_shows_a_wrong_length_and_foreign_characters(
        key in key(), at in 0_usize..44, typed in typed(),
    ) {
        let right = Address::from_public_key(&key).to_string();
        let mut characters: Vec<char> = right.chars().collect();
        if at >= 4 && !typed.is_ascii_digit() && !('a'..='f').contains(&typed) {
            characters[at] = typed;
            let wrong: String = characters.iter().collect();
            let error = AddressError::Character { found: typed, position: at + 1 };
            prop_assert_eq!(wrong.parse::<Address>(), Err(error));
        }
        let mut cut = right.clone();
        cut.remove(at);
        prop_assert!(cut.parse::<Address>().is_err());
        let mut longer = right;
        longer.insert(at, 'a');
        prop_assert!(longer.parse::<Address>().is_err());
    }

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_ne!(address.form(), AddressForm::Other);
        }
        if let Ok(address) = Address::from_chain(&text) {
            prop_assert_eq!(address.as_str(), text);
        }
    }
}

#[test]
fn typing_errors_are_named() {
    let key = Seed::from_bytes([0x11; 32]).public_key();
    let bech32 = Address::bech32_from_public_key(&key).to_string();
    let hex = Address::from_public_key(&key).to_string();
    for (text, error) in [
        (String::new(), AddressError::Empty),
        (" ".to_owned(), AddressError::Prefix),
        ("ait".to_owned(), AddressError::Prefix),
        (bech32.replace("ait1", "bit1"), AddressError::Prefix),
        (hex.to_uppercase(), AddressError::Prefix),
        ("ait1".to_owned(), AddressError::Length { found: 4 }),
        (format!("{hex} "), AddressError::Length { found: 45 }),
        (hex[..43].to_owned(), AddressError::Length { found: 43 }),
        (
            hex.replacen('d', "D", 1),
            AddressError::Character {
                found: 'D',
                position: 5,
            },
        ),
        (
            bech32.replacen('z', "b", 1),
            AddressError::Character {
                found: 'b',
                position: 5,
            },
        ),
        (bech32.replacen('z', "q", 1), AddressError::Checksum),
    ] {
        assert_eq!(text.parse::<Address>(), Err(error), "{text}");
    }
}

#[test]
fn a_bech32m_checksum_is_not_taken_for_a_bech32_one() {
    let hrp = bech32::Hrp::parse("ait").unwrap();
    let text = bech32::encode::<bech32::Bech32m>(hrp, &[7; 32]).unwrap();
    assert_eq!(text.parse::<Address>(), Err(AddressError::Checksum));
    let text = bech32::encode::<bech32::Bech32>(hrp, &[7; 32]).unwrap();
    assert_eq!(text.parse::<Address>().unwrap().form(), AddressForm::Bech32);
}

#[test]
fn a_chain_may_carry_what_no_key_has() {
    for text in ["genesis", "ait1", "AIT1ABC", "0x00", "~", &"a".repeat(128)] {
        let address = Address::from_chain(text).unwrap();
        assert_eq!(
            (address.form(), address.as_str()),
            (AddressForm::Other, text)
        );
        assert!(!address.matches(&Seed::from_bytes([1; 32]).public_key()));
    }
    assert_eq!(Address::from_chain(""), Err(AddressError::Empty));
    assert_eq!(
        Address::from_chain(&"a".repeat(129)),
        Err(AddressError::TooLong { found: 129 })
    );
    for (text, found) in [
        ("a b", ' '),
        ("a\u{7f}", '\u{7f}'),
        ("aé", 'é'),
        ("a\n", '\n'),
    ] {
        assert_eq!(
            Address::from_chain(text),
            Err(AddressError::Character { found, position: 2 })
        );
    }
}

#[test]
fn a_wallet_is_known_by_its_address_or_by_its_key() {
    let [own, other] = [1, 2].map(|byte| Seed::from_bytes([byte; 32]).public_key());
    for form in Address::all_of(&own) {
        assert!(form.matches(&own) && !form.matches(&other));
        for wallet in Address::all_of(&own) {
            assert!(form.is_of(&wallet, Some(&own)));
            assert_eq!(form.is_of(&wallet, None), form == wallet);
            assert_eq!(form.is_of(&wallet, Some(&other)), form == wallet);
        }
    }
}

/// The examples of EIP-55.
#[test]
fn an_account_is_spelled_as_eip_55_says() {
    for text in [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
    ] {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_checksummed().as_deref(), Some(text));
        assert_eq!(
            address.to_string(),
            format!("ait1{}", text[2..].to_lowercase())
        );
    }
    let key = Seed::from_bytes([1; 32]).public_key();
    assert_eq!(Address::bech32_from_public_key(&key).to_checksummed(), None);
}
