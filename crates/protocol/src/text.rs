//! Helpers of the textual types: strict hexadecimal, and serde as a string.

use std::fmt;

/// Why a text is not hexadecimal of the expected length. Positions count characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HexFault {
    Length { found: usize },
    Uppercase { position: usize },
    Character { found: char, position: usize },
}

/// Writes at most 65 bytes as lowercase hexadecimal digits, without a text on the heap.
pub(crate) fn write_hex(bytes: &[u8], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [0; 130];
    let digits = digits.get_mut(..2 * bytes.len()).ok_or(fmt::Error)?;
    hex::encode_to_slice(bytes, digits).map_err(|_| fmt::Error)?;
    formatter.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
}

/// Reads exactly `2 * N` hexadecimal digits; upper case is refused when `lower_only`.
pub(crate) fn read_hex<const N: usize>(text: &str, lower_only: bool) -> Result<[u8; N], HexFault> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' if !lower_only => digit - b'A' + 10,
        _ => 0xff,
    };
    let mut bytes = [0; N];
    let mut all = 0;
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (high, low) = (value(digits[0]), value(digits[1]));
        all |= high | low;
        *byte = high << 4 | low;
    }
    if text.len() == 2 * N && all < 16 {
        return Ok(bytes);
    }
    let found = text.chars().count();
    for (found, position) in text.chars().zip(1..).take_while(|_| found == 2 * N) {
        match found {
            '0'..='9' | 'a'..='f' => {}
            'A'..='F' if !lower_only => {}
            'A'..='F' => return Err(HexFault::Uppercase { position }),
            _ => return Err(HexFault::Character { found, position }),
        }
    }
    Err(HexFault::Length { found })
}

/// Serde for a type that is written by `Display` and read by the given function of `&str`.
macro_rules! serde_as_text {
    ($type:ty, $read:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text =
                    <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                $read(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
