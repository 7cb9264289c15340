//! Sealed messages: a made-up message does not open, and every message opens unchanged after it was
//! sealed, or is refused before.
#![no_main]

use agentry_protocol::sealing::{Binding, OpenError, SealError, open, seal};
use agentry_protocol::{Address, Authenticity, DecryptionKey, Json, KnownCommand, Limits, Payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = Json::parse(bytes, Limits::default()) else {
        return;
    };
    let address = Address::from_chain("a").expect("an address");
    let binding = Binding {
        chain_id: "c",
        from: &address,
        to: &address,
    };
    let key = DecryptionKey::from_bytes([7; 32]);
    let message = Payload::read(&json);
    if let Payload::Command(command) = &message
        && let Ok(Some(KnownCommand::Sealed(sealed))) = KnownCommand::read(command)
    {
        let opened = open(&sealed, &key, binding, Authenticity::Verified);
        assert_eq!(opened, Err(OpenError::DoesNotOpen));
    }
    match seal(&message, &key.encryption_key(), binding) {
        Ok(sealed) => {
            let opened = open(&sealed, &key, binding, Authenticity::Verified);
            assert_eq!(opened, Ok(message));
        }
        Err(error) => assert!(matches!(
            error,
            SealError::Content(_) | SealError::TooLarge { .. }
        )),
    }
});
