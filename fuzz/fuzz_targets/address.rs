//! Addresses: an address keeps its spelling, and a chain may carry every address that a person may
//! type.
#![no_main]

use agentry_protocol::{Address, AddressForm, Seed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let typed = text.parse::<Address>();
    let carried = Address::from_chain(text);
    if let Ok(address) = &typed {
        assert_ne!(address.form(), AddressForm::Other);
        if text.starts_with("ait1") {
            assert_eq!(address.as_str(), text);
            assert_eq!(carried.as_ref(), Ok(address));
        } else {
            // Another spelling of an account.
            assert_eq!(address.as_str().parse().as_ref(), Ok(address));
        }
    }
    if let Ok(address) = &carried {
        assert_eq!(address.as_str(), text);
        assert!(text.len() <= 128);
        let has_form = address.form() != AddressForm::Other;
        assert_eq!(has_form, typed.is_ok() && text.starts_with("ait1"));
        if address.matches(&Seed::from_bytes([0x11; 32]).public_key()) {
            assert!(typed.is_ok());
        }
    }
});
