//! Addresses: the two forms that belong to a key, and what a chain may carry instead.
//!
//! | form | text | from |
//! |---|---|---|
//! | hex | `ait1` + 40 hexadecimal digits | the first 20 bytes of the public key |
//! | bech32 | `ait1` + 52 characters + 6 of checksum | SHA-256 of the public key (BIP-173) |
//!
//! The chain itself accepts any text as an address, so what it carries is read by
//! [`Address::from_chain`], and what a person types by [`FromStr`], which detects typing errors.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use sha2::{Digest as _, Sha256};

use crate::dialect::DIALECT;
use crate::key::PublicKey;
use crate::text::serde_as_text;

/// The prefix of both forms: bech32's human-readable part and its separator.
const PREFIX: &str = "ait1";
/// The human-readable part alone.
const HRP: Hrp = Hrp::parse_unchecked("ait");
/// Length of the hex form: the prefix and 40 digits.
pub(crate) const HEX_LENGTH: usize = 44;
/// Length of the bech32 form: the prefix, 256 bits in 52 characters, and 6 of checksum.
pub(crate) const BECH32_LENGTH: usize = 62;
/// Longest address that is read from a chain. Its column has no limit; its own forms are half
/// as long.
const CHAIN_MAX: usize = 128;
/// BIP-173's 32 characters.
const BECH32_CHARACTERS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// An address in its exact spelling: two spellings of the same key are two addresses. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

/// The form of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressForm {
    /// `ait1` and the first 40 digits of a public key.
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
    /// The text does not begin with `ait1`.
    #[error("an address begins with \"ait1\"")]
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
    /// The hex form, which client wallets use.
    pub fn from_public_key(key: &PublicKey) -> Self {
        let digits = hex::encode(key.as_bytes().get(..20).unwrap_or_default());
        Self(format!("{PREFIX}{digits}").into())
    }

    /// The bech32 form, which the node's key tool uses.
    pub fn bech32_from_public_key(key: &PublicKey) -> Self {
        let digest = Sha256::digest(key.as_bytes());
        #[expect(clippy::expect_used, reason = "32 bytes are far below bech32's limit")]
        let text = bech32::encode_lower::<Bech32>(HRP, &digest).expect("32 bytes have a bech32");
        Self(text.into())
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
        Ok(Self(text.into()))
    }

    /// The form of the address.
    pub fn form(&self) -> AddressForm {
        match check(&self.0) {
            Ok(form) => form,
            Err(_) => AddressForm::Other,
        }
    }

    /// Whether the address belongs to this key, in either form.
    pub fn matches(&self, key: &PublicKey) -> bool {
        DIALECT.has_address(key, self)
    }

    /// All addresses of a key.
    pub fn all_of(key: &PublicKey) -> [Self; 2] {
        DIALECT.addresses(key)
    }

    /// Whether it is an address of the wallet that is known by another address and, perhaps, a key.
    pub fn is_of(&self, wallet: &Self, key: Option<&PublicKey>) -> bool {
        self == wallet || key.is_some_and(|key| self.matches(key))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
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

    /// Reads what a person typed: one of the two forms, in lower case, without spaces around it.
    ///
    /// In the bech32 form the checksum detects up to four wrong characters. The hex form has no
    /// checksum: only a wrong length and a character that is not hexadecimal are detected.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        check(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({})", self.0)
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Address {
    fn borrow(&self) -> &str {
        &self.0
    }
}

serde_as_text!(Address, Address::from_chain);
