//! Addresses: the forms that belong to a key, and what a chain may carry instead.
//!
//! | form | text | from |
//! |---|---|---|
//! | hex | `ait1` + 40 hexadecimal digits | an Ed25519 key: its first 20 bytes; a secp256k1 key: the last 20 of the Keccak-256 of its coordinates |
//! | bech32 | `ait1` + 52 characters + 6 of checksum | SHA-256 of an Ed25519 key (BIP-173) |
//!
//! A chain itself accepts any text as an address, so what it carries is read by
//! [`Dialect::address`](crate::Dialect::address), and what a person types by [`FromStr`], which detects typing errors.
//!
//! On chains of August 2026, `0x` (in any case, as in EIP-55), `ait1` and `aitbc1` before 40 digits are
//! spellings of one account. An [`Address`] is then the account, spelled `ait1` and in lower case, and
//! remembers how it was spelled, because that is what was signed.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use sha2::{Digest as _, Sha256};

use crate::key::{KeyType, PublicKey, secp256k1::keccak};
use crate::text::serde_as_text;

/// The prefix of both forms: bech32's human-readable part and its separator.
const PREFIX: &str = "ait1";
/// The human-readable part alone.
const HRP: Hrp = Hrp::parse_unchecked("ait");
/// Length of the hex form: the prefix and 40 digits.
const HEX_LENGTH: usize = 44;
/// Length of the bech32 form: the prefix, 256 bits in 52 characters, and 6 of checksum.
const BECH32_LENGTH: usize = 62;
/// Longest address that is read from a chain. Its column has no limit; its own forms are half
/// as long.
const CHAIN_MAX: usize = 128;
/// BIP-173's 32 characters.
const BECH32_CHARACTERS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Digits of the hex form.
const DIGITS: usize = 40;

/// An address: the account that a chain knows under it. Cheap to clone.
///
/// Two addresses are equal if they are the same account. Where a chain knows an account by its exact
/// text, as those of April 2026 do, two spellings of the same key are two addresses.
#[derive(Clone)]
pub struct Address {
    account: Arc<str>,
    /// How the account was spelled, if that differs.
    spelled: Option<Arc<str>>,
}

/// The form of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressForm {
    /// `ait1` and 40 digits.
    Hex,
    /// BIP-173 bech32 of SHA-256 of a public key, with a correct checksum.
    Bech32,
    /// Any other text that a chain carries. It belongs to no key.
    Other,
}

/// Why a text is not an address. Positions count characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is empty.
    #[error("the address is empty")]
    Empty,
    /// The text does not begin as an address.
    #[error("an address begins with \"ait1\" or \"0x\"")]
    Prefix,
    /// The text has the length of neither form.
    #[error("an address has 44 characters (hex form) or 62 (bech32 form), not {found}")]
    Length {
        /// How many characters it has.
        found: usize,
    },
    /// The text is longer than 128 characters.
    #[error("an address on a chain has at most 128 characters, not {found}")]
    TooLong {
        /// How many characters it has.
        found: usize,
    },
    /// A character is not allowed in an address.
    #[error("character {position} of the address is {found:?}, which is not allowed there")]
    Character {
        /// The character.
        found: char,
        /// Its position.
        position: usize,
    },
    /// The checksum is wrong: some character was mistyped.
    #[error("the address was mistyped: its checksum is wrong")]
    Checksum,
}

impl Address {
    fn of_account(account: impl Into<Arc<str>>) -> Self {
        Self {
            account: account.into(),
            spelled: None,
        }
    }

    /// The hex form, which client wallets use.
    pub fn from_public_key(key: &PublicKey) -> Self {
        let digits = match key.coordinates() {
            None => hex::encode(key.as_bytes().get(..20).unwrap_or_default()),
            Some(coordinates) => hex::encode(keccak(&coordinates).get(12..).unwrap_or_default()),
        };
        Self::of_account(format!("{PREFIX}{digits}"))
    }

    /// The bech32 form, which the node's key tool of April 2026 uses; of a secp256k1 key, which has none,
    /// the hex form.
    pub fn bech32_from_public_key(key: &PublicKey) -> Self {
        if key.key_type() != KeyType::Ed25519 {
            return Self::from_public_key(key);
        }
        let digest = Sha256::digest(key.as_bytes());
        #[expect(clippy::expect_used, reason = "32 bytes are far below bech32's limit")]
        let text = bech32::encode_lower::<Bech32>(HRP, &digest).expect("32 bytes have a bech32");
        Self::of_account(text)
    }

    /// Reads what a chain may carry as an address: 1 to 128 printable ASCII characters without
    /// spaces.
    ///
    /// # Errors
    /// [`AddressError::Empty`], [`AddressError::TooLong`], [`AddressError::Character`].
    pub fn from_chain(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > CHAIN_MAX {
            return Err(AddressError::TooLong {
                found: text.chars().count(),
            });
        }
        check_characters(text, 0, |found| found.is_ascii_graphic())?;
        Ok(Self::of_account(text))
    }

    /// [`from_chain`](Self::from_chain), on a chain where an account has several spellings: without
    /// spaces around it, and in lower case; `0x` or `aitbc1` before 40 digits are `ait1`.
    ///
    /// # Errors
    /// As [`from_chain`](Self::from_chain).
    pub(crate) fn from_spelling(text: &str) -> Result<Self, AddressError> {
        let spelled = Self::from_chain(text.trim())?;
        let lower = spelled.account.to_ascii_lowercase();
        let account = match digits(&lower) {
            Some(digits) => format!("{PREFIX}{digits}"),
            None => lower,
        };
        if *account == *spelled.account {
            return Ok(spelled);
        }
        Ok(Self {
            account: account.into(),
            spelled: Some(spelled.account),
        })
    }

    /// The form of the address.
    pub fn form(&self) -> AddressForm {
        match check(&self.account) {
            Ok(form) => form,
            Err(_) => AddressForm::Other,
        }
    }

    /// Whether the address belongs to this key, in any form.
    pub fn matches(&self, key: &PublicKey) -> bool {
        match self.account.len() {
            HEX_LENGTH => *self == Self::from_public_key(key),
            BECH32_LENGTH => *self == Self::bech32_from_public_key(key),
            _ => false,
        }
    }

    /// All addresses of a key: the hex form, and the bech32 form if it has one.
    pub fn all_of(key: &PublicKey) -> Vec<Self> {
        let mut all = vec![
            Self::from_public_key(key),
            Self::bech32_from_public_key(key),
        ];
        all.dedup();
        all
    }

    /// Whether it is an address of the wallet that is known by another address and, perhaps, a key.
    pub fn is_of(&self, wallet: &Self, key: Option<&PublicKey>) -> bool {
        self == wallet || key.is_some_and(|key| self.matches(key))
    }

    /// The account.
    pub fn as_str(&self) -> &str {
        &self.account
    }

    /// The account as wallets of August 2026 spell it: `0x` and its 40 digits, whose case is a checksum
    /// (EIP-55). `None` if it has no 40 digits.
    pub fn to_checksummed(&self) -> Option<String> {
        let digits = digits(&self.account)?;
        Some("0x".chars().chain(checksummed(digits)).collect())
    }

    /// The account, spelled as such.
    pub(crate) fn into_account(self) -> Self {
        Self::of_account(self.account)
    }

    /// As it was spelled where it was read, which is what is signed.
    pub fn spelled(&self) -> &str {
        self.spelled.as_ref().unwrap_or(&self.account)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.account == other.account
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.account.cmp(&other.account)
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.account.hash(hasher);
    }
}

/// The digits of an account in one of its spellings, in lower case.
fn digits(lower: &str) -> Option<&str> {
    let digits = ["0x", PREFIX, "aitbc1"].iter().find_map(|prefix| {
        lower
            .strip_prefix(prefix)
            .filter(|rest| rest.len() == DIGITS)
    })?;
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then_some(digits)
}

/// Whether the case of the digits is that of EIP-55, which is a checksum: upper case where the digit of
/// the Keccak-256 of the digits in lower case is at least 8.
fn is_checksummed(digits: &str) -> bool {
    checksummed(&digits.to_ascii_lowercase()).eq(digits.chars())
}

/// Digits in lower case, in the case of EIP-55.
fn checksummed(lower: &str) -> impl Iterator<Item = char> {
    let hash = hex::encode(keccak(lower.as_bytes()));
    let hash = hash.into_bytes();
    lower.chars().zip(hash).map(|(digit, hash)| {
        if hash >= b'8' {
            digit.to_ascii_uppercase()
        } else {
            digit
        }
    })
}

/// Finds the first character that is not allowed, after the first `skip` characters of the text.
fn check_characters(
    text: &str,
    skip: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<(), AddressError> {
    match text
        .chars()
        .enumerate()
        .skip(skip)
        .find(|(_, found)| !allowed(*found))
    {
        Some((index, found)) => Err(AddressError::Character {
            found,
            position: index + 1,
        }),
        None => Ok(()),
    }
}

/// The form of the text, checked strictly: one of the two that belong to a key.
fn check(text: &str) -> Result<AddressForm, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if !text.starts_with(PREFIX) {
        return Err(AddressError::Prefix);
    }
    let behind_prefix = PREFIX.len();
    match text.chars().count() {
        HEX_LENGTH => {
            check_characters(
                text,
                behind_prefix,
                |found| matches!(found, '0'..='9' | 'a'..='f'),
            )?;
            Ok(AddressForm::Hex)
        }
        BECH32_LENGTH => {
            check_characters(text, behind_prefix, |found| {
                BECH32_CHARACTERS.contains(found)
            })?;
            let checked =
                CheckedHrpstring::new::<Bech32>(text).map_err(|_| AddressError::Checksum)?;
            // 52 characters hold 260 bits: the last four are padding, and are zero.
            checked
                .validate_segwit_padding()
                .map_err(|_| AddressError::Checksum)?;
            Ok(AddressForm::Bech32)
        }
        found => Err(AddressError::Length { found }),
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads what a person typed: one of the two forms, in lower case, without spaces around it; or
    /// 40 digits after `0x` or `aitbc1`, which is the hex form.
    ///
    /// In the bech32 form the checksum detects up to four wrong characters, and after `0x` the case of
    /// the digits is one (EIP-55), unless all have the same case. The hex form has no checksum: only a
    /// wrong length and a character that is not hexadecimal are detected.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        for prefix in ["0x", "aitbc1"] {
            if let Some(digits) = text.strip_prefix(prefix) {
                return from_digits(text, digits);
            }
        }
        check(text)?;
        Ok(Self::of_account(text))
    }
}

/// The hex form with these digits, which follow another prefix.
fn from_digits(text: &str, digits: &str) -> Result<Address, AddressError> {
    if digits.chars().count() != DIGITS {
        return Err(AddressError::Length {
            found: text.chars().count(),
        });
    }
    let prefix = text.len() - digits.len();
    check_characters(text, prefix, |found| found.is_ascii_hexdigit())?;
    let has = |is: fn(&char) -> bool| digits.chars().any(|digit| is(&digit));
    let is_mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    if is_mixed && !is_checksummed(digits) {
        return Err(AddressError::Checksum);
    }
    let account = format!("{PREFIX}{}", digits.to_ascii_lowercase());
    Ok(Address::of_account(account))
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.account)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({})", self.account)
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        &self.account
    }
}

impl std::borrow::Borrow<str> for Address {
    fn borrow(&self) -> &str {
        &self.account
    }
}

serde_as_text!(Address, Address::from_chain);
