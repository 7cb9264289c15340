//! Many wallets at once: packing keystore files into a vault, and creating thousands of wallets.

use std::path::Path;

use agentry_protocol::{Address, AddressForm, KeyType, Password, Seed};

use super::error::WalletError;
use super::name::WalletName;
use super::parallel;
use super::store::{WalletInfo, WalletStore};
use super::vault;

/// Packs wallets of a folder into a new vault, unlocking on all cores; `done` is called after
/// each. The keystore files are kept.
///
/// # Errors
/// The vault exists; a file is missing or damaged; [`WalletError::WrongPassword`] with every file
/// that the password does not open. Nothing is written then.
pub fn pack(
    store: &WalletStore,
    names: &[String],
    password: &Password,
    vault_file: &Path,
    vault_password: &Password,
    done: &(dyn Fn() + Sync),
) -> Result<(), WalletError> {
    if vault_file.exists() {
        return Err(WalletError::Exists(vault_file.to_owned()));
    }
    let wallets = store.snapshot()?;
    let results = parallel::map(names, done, |name| {
        let unlocked = wallets.find(name)?.unlock(password)?;
        Ok((name.clone(), unlocked.address, unlocked.seed))
    });
    let mut entries = Vec::with_capacity(results.len());
    let mut wrong = Vec::new();
    for result in results {
        match result {
            Ok(entry) => entries.push(entry),
            Err(WalletError::WrongPassword { names }) => wrong.extend(names),
            Err(error) => return Err(error),
        }
    }
    if !wrong.is_empty() {
        return Err(WalletError::WrongPassword { names: wrong });
    }
    vault::create(vault_file, entries, vault_password)
}

/// The address of a seed in a form; [`AddressForm::Other`] means hex.
pub fn address_of(seed: &Seed, form: AddressForm) -> Address {
    let key = seed.public_key();
    match form {
        AddressForm::Bech32 => Address::bech32_from_public_key(&key),
        AddressForm::Hex | AddressForm::Other => Address::from_public_key(&key),
    }
}

/// The names `base-1`, `base-2`, …, padded with zeros to the same width.
///
/// # Errors
/// A name that is too long.
pub fn numbered(base: &WalletName, count: usize) -> Result<Vec<WalletName>, WalletError> {
    let width = count.to_string().len();
    (1..=count)
        .map(|n| Ok(format!("{base}-{n:0width$}").parse()?))
        .collect()
}

fn generate(key_type: KeyType) -> Result<Seed, WalletError> {
    Seed::generate(key_type).map_err(|error| WalletError::Crypto {
        doing: "creating a key",
        reason: error.to_string(),
    })
}

/// Creates wallets as keystore files, on all cores. Names are checked before the first is written;
/// a later failure (a full disk) leaves the wallets that were already created.
///
/// # Errors
/// As [`WalletStore::add`].
pub fn create(
    store: &WalletStore,
    names: &[WalletName],
    key_type: KeyType,
    form: AddressForm,
    password: &Password,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<WalletInfo>, WalletError> {
    let wallets = store.snapshot_for_new()?;
    for name in names {
        wallets.free_path(name)?;
    }
    parallel::map(names, done, |name| {
        let seed = generate(key_type)?;
        wallets.add(name, &seed, &address_of(&seed, form), password)
    })
    .into_iter()
    .collect()
}

/// Creates wallets in a new vault, with one key derivation for all of them.
///
/// # Errors
/// As [`vault::create`]; nothing is written then.
pub fn create_in_vault(
    vault_file: &Path,
    names: &[WalletName],
    key_type: KeyType,
    form: AddressForm,
    password: &Password,
) -> Result<Vec<WalletInfo>, WalletError> {
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        let seed = generate(key_type)?;
        entries.push((name.to_string(), address_of(&seed, form), seed));
    }
    vault::create(vault_file, entries, password)?;
    WalletStore::new(None, Some(vault_file.to_owned()))
        .list()?
        .into_iter()
        .collect()
}
