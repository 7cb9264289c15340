//! Messages: every payload can be read; a header that was read is written in a form that reads back
//! as the same header; a message that was read is composed to an equal one.
#![no_main]

use agentry_protocol::{Envelope, Header, Json, Limits, Payload, TransactionHash, compose};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(&Json::string(text));
    }
    if let Ok(json) = Json::parse(bytes, Limits::default()) {
        check(&json);
    }
});

fn check(payload: &Json) {
    let envelope = Envelope::read(payload);
    if let Some(header) = envelope.header() {
        let again = Json::object([("msg", header.to_json())]);
        assert_eq!(Header::read(again.root()), Ok(Some(header.clone())));
    }
    let answer = Payload::Text(String::new());
    let header = envelope.answer_header(TransactionHash::of(b""), &answer);
    assert!(header.is_some() || envelope.header == Ok(None));
    match compose(&envelope.payload, envelope.header()) {
        Ok(sent) => {
            let again = Envelope::read(&sent);
            assert_eq!(again.header(), envelope.header());
            assert_eq!(compose(&again.payload, again.header()), Ok(sent));
        }
        Err(_) => assert!(
            matches!(envelope.payload, Payload::Opaque(_)) || payload.to_compact().len() > 100_000
        ),
    }
}
