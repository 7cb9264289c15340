//! Addresses: an address keeps its spelling, and a chain may carry every address that a person may
//! type.
#![no_main]

use agentry_protocol::{Address, AddressForm, Seed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let typed = text.parse::<Address>();
    let carried = Address::from_chain(text);
    if let Ok(address) = &typed {
        assert_eq!(address.as_str(), text);
        assert_ne!(address.form(), AddressForm::Other);
        assert_eq!(carried.as_ref(), Ok(address));
    }
    if let Ok(address) = &carried {
        assert_eq!(address.as_str(), text);
        assert!(text.len() <= 128);
        assert_eq!(address.form() != AddressForm::Other, typed.is_ok());
        if address.matches(&Seed::from_bytes([0x11; 32]).public_key()) {
            assert!(typed.is_ok());
        }
    }
});
