//! Commands: any parameters are refused or read; a command that was read is written in a form that
//! reads back as the same command.
#![no_main]

use agentry_protocol::{Json, KnownCommand, Limits, Payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = Json::parse(bytes, Limits::default()) else {
        return;
    };
    let Payload::Command(command) = Payload::read(&json) else {
        return;
    };
    let Ok(Some(read)) = KnownCommand::read(&command) else {
        return;
    };
    assert_eq!(read.name(), command.cmd);
    let Payload::Command(written) = read.to_payload() else {
        unreachable!("a command is written as one");
    };
    assert_eq!(KnownCommand::read(&written), Ok(Some(read)));
});
