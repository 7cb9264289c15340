//! Keystores: any file is refused or read; a seed belongs to what its file states.
#![no_main]

use agentry_protocol::{Keystore, KeystoreForm, Password};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(keystore) = Keystore::parse(text) else {
        return;
    };
    let _ = format!("{keystore:?}");
    // The other forms ask for a hundred thousand rounds, or for ten million.
    let form = keystore.form();
    if !form.is_plain() && !matches!(form, KeystoreForm::Fernet | KeystoreForm::FernetFlat) {
        return;
    }
    // The password of the seeds.
    if let Ok(seed) = keystore.unlock(&Password::new("temp123".to_owned())) {
        let key = seed.public_key();
        assert_eq!(key.key_type(), keystore.key_type());
        assert!(keystore.public_key().is_none_or(|stated| *stated == key));
        assert!(keystore.address().is_none_or(|stated| stated.matches(&key)));
    }
});
