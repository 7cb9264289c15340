//! Vaults: any file is refused or read; a vault that was read is written in a form that reads back
//! as the same vault.
#![no_main]

use agentry_protocol::Vault;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(vault) = Vault::parse(text) else {
        return;
    };
    let written = vault.to_text();
    let again = Vault::parse(written.as_bytes()).expect("its own text");
    assert!(again.wallets().eq(vault.wallets()));
    assert_eq!(again.to_text(), written);
    for entry in vault.wallets() {
        assert_eq!(vault.get(entry.name()), Some(entry));
    }
});
