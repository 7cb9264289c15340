//! Payloads: every payload can be read, and a command reads back as the same command.
#![no_main]

use agentry_protocol::{Json, Limits, Payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let read = Payload::read(&Json::string(text));
        check(&read);
        if let Payload::Text(same) = &read {
            assert_eq!(same, text);
        }
    }
    if let Ok(json) = Json::parse(bytes, Limits::default()) {
        let read = Payload::read(&json);
        check(&read);
        assert!(!json.has_duplicate_keys() || matches!(read, Payload::Opaque(_)));
    }
});

fn check(read: &Payload) {
    if let Payload::Command(command) = read {
        let named = command.body.root().get("cmd").and_then(|cmd| cmd.as_str());
        assert_eq!(named, Some(command.cmd.as_str()));
        assert!(!command.body.has_duplicate_keys());
        assert_eq!(&Payload::read(&command.body), read);
        assert_eq!(
            &Payload::read(&Json::string(command.body.to_compact())),
            read
        );
    }
}
