//! Hashes as distinct types, so that they cannot be confused.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::text::{HexFault, read_hex, serde_as_text, write_hex};

/// Why a text is not a hash. A hash is 64 lower-case hexadecimal digits, behind `0x` where it
/// names a transaction or a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The text does not begin with `0x`.
    #[error("a hash begins with 0x")]
    Prefix,
    /// The text does not hold 64 digits.
    #[error("a hash has 64 hexadecimal digits, not {found}")]
    Length {
        /// How many characters there are in place of the digits.
        found: usize,
    },
    /// A character is not a lower-case hexadecimal digit.
    #[error("digit {position} of a hash is {found:?}, which is not a lower-case hexadecimal digit")]
    Character {
        /// The character.
        found: char,
        /// Its position among the digits, from 1.
        position: usize,
    },
}

fn read_digits(digits: &str) -> Result<[u8; 32], HashError> {
    read_hex::<32>(digits, true).map_err(|fault| match fault {
        HexFault::Length { found } => HashError::Length { found },
        HexFault::Uppercase { position } => HashError::Character {
            found: digits.chars().nth(position - 1).unwrap_or('?'),
            position,
        },
        HexFault::Character { found, position } => HashError::Character { found, position },
    })
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The hash with these 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The SHA-256 of these bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str($prefix)?;
                write_hex(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = HashError;

            fn from_str(text: &str) -> Result<Self, HashError> {
                let digits = text.strip_prefix($prefix).ok_or(HashError::Prefix)?;
                read_digits(digits).map(Self)
            }
        }

        serde_as_text!($name, Self::from_str);
    };
}

hash_type! {
    /// The hash by which a node identifies a transaction: SHA-256 of its stored form, written `0x`
    /// + hex.
    ///
    /// It covers the signature *as it was spelled*, so one message can be on the chain under
    /// several transaction hashes; [`MessageDigest`] tells messages apart.
    TransactionHash, "0x"
}

hash_type! {
    /// The identity of a message: SHA-256 of the signing text, written as hex without prefix.
    MessageDigest, ""
}

hash_type! {
    /// The SHA-256 of some content, such as the result of a job, written as hex without prefix.
    ContentHash, ""
}

hash_type! {
    /// The hash of a block, written `0x` + hex; see [`block_hash`](crate::block_hash).
    BlockHash, "0x"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_strictly() {
        let hash = TransactionHash::of(b"abc");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("ab".parse::<TransactionHash>(), Err(HashError::Prefix));
        assert_eq!(
            "0xab".parse::<TransactionHash>(),
            Err(HashError::Length { found: 2 })
        );
        let upper = hash.to_string().to_uppercase().replace("0X", "0x");
        assert_eq!(
            upper.parse::<TransactionHash>(),
            Err(HashError::Character {
                found: 'B',
                position: 1
            })
        );
        let foreign = format!("0x{}é", "0".repeat(63));
        assert_eq!(
            foreign.parse::<BlockHash>(),
            Err(HashError::Character {
                found: 'é',
                position: 64
            })
        );
    }

    #[test]
    fn serde_is_a_string() {
        let digest = MessageDigest::of(b"abc");
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, format!("\"{digest}\""));
        assert_eq!(
            serde_json::from_str::<MessageDigest>(&text).unwrap(),
            digest
        );
        assert!(serde_json::from_str::<MessageDigest>("\"0x\"").is_err());
    }
}
