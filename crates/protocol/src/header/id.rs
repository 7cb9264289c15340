//! The id that a sender gives a message: a UUIDv7.

use std::fmt;
use std::str::FromStr;

use crate::crypto;
use crate::text::serde_as_text;
use crate::timestamp::{DAY_MS, Timestamp};

/// How old an id may be, in milliseconds: 30 days. A receiver keeps ids no longer than that, so a
/// message with an older one could be acted on twice.
pub const MAX_ID_AGE_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How far an id's time may lie ahead of the receiver's clock, in milliseconds: 10 minutes, for
/// clocks that differ.
pub const MAX_ID_AHEAD_MS: u64 = 10 * 60 * 1000;

/// Milliseconds of a minute.
const MINUTE_MS: u64 = 60 * 1000;

/// The positions of the hyphens in the text of a UUID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// Length of the text of a UUID.
const TEXT_LENGTH: usize = 36;

/// Why a text is not a message id, an id is refused, or none could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageIdError {
    /// The text does not have the form of a UUID: 8-4-4-4-12 hexadecimal digits.
    #[error("a message id is a uuid: 8-4-4-4-12 hexadecimal digits")]
    Form,
    /// It is a UUID of another version or variant.
    #[error("a message id is a uuid of version 7 (RFC 9562), which this one is not")]
    Version,
    /// It was made more than 30 days ago.
    #[error("the message id was made {} days ago; one over 30 days old is refused", age_ms / DAY_MS)]
    TooOld {
        /// How long ago, in milliseconds.
        age_ms: u64,
    },
    /// Its time is more than 10 minutes ahead of the receiver's clock.
    #[error(
        "the message id was made {} minutes from now; more than 10 minutes ahead is refused: \
         compare the clocks", ahead_ms / MINUTE_MS
    )]
    Ahead {
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes for a message id")]
    Random,
}

/// A message's own id: a UUID of version 7 (RFC 9562), which tells when it was made.
///
/// Text and serde: the 36 characters of a UUID, written in lower case, read in either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// The id of a message made at this time. 74 of the given random bits distinguish it from others
    /// of that millisecond. A time beyond the 48 bits that a UUID has for it (the year 10889) is
    /// saturated.
    pub fn new(time: Timestamp, random: [u8; 10]) -> Self {
        let time = time.get().min((1 << 48) - 1).to_be_bytes();
        let mut bytes = [0; 16];
        let (stamp, rest) = bytes.split_at_mut(6);
        stamp.copy_from_slice(time.get(2..).unwrap_or(&[0; 6]));
        rest.copy_from_slice(&random);
        bytes[6] = 0x70 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        Self(bytes)
    }

    /// A new id for a message made at this time, with random bits from the operating system.
    ///
    /// # Errors
    /// [`MessageIdError::Random`].
    pub fn generate(time: Timestamp) -> Result<Self, MessageIdError> {
        let random = crypto::random().map_err(|_| MessageIdError::Random)?;
        Ok(Self::new(time, random))
    }

    /// The id with these bytes.
    ///
    /// # Errors
    /// [`MessageIdError::Version`].
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, MessageIdError> {
        if bytes[6] >> 4 != 7 || bytes[8] >> 6 != 0b10 {
            return Err(MessageIdError::Version);
        }
        Ok(Self(bytes))
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// When it was made, by the clock of its maker.
    pub fn time(&self) -> Timestamp {
        let bytes = self.0.iter().take(6);
        Timestamp::new(bytes.fold(0, |time, byte| time << 8 | u64::from(*byte)))
    }

    /// Checks that a receiver whose clock shows `now` accepts it.
    ///
    /// # Errors
    /// [`MessageIdError::TooOld`] and [`MessageIdError::Ahead`].
    pub fn check(&self, now: Timestamp) -> Result<(), MessageIdError> {
        self.check_between(now, now)
    }

    /// Checks the id for a receiver that only knows that the time is between `earliest` and
    /// `latest`: the id is refused if it is too old, or too far ahead, at every time in between.
    ///
    /// # Errors
    /// [`MessageIdError::TooOld`] and [`MessageIdError::Ahead`].
    pub fn check_between(
        &self,
        earliest: Timestamp,
        latest: Timestamp,
    ) -> Result<(), MessageIdError> {
        let age_ms = earliest.ms_since(self.time());
        if age_ms > MAX_ID_AGE_MS {
            return Err(MessageIdError::TooOld { age_ms });
        }
        let ahead_ms = self.time().ms_since(latest);
        if ahead_ms > MAX_ID_AHEAD_MS {
            return Err(MessageIdError::Ahead { ahead_ms });
        }
        Ok(())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = hex::encode(self.0);
        for at in HYPHENS {
            text.insert(at, '-');
        }
        formatter.write_str(&text)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MessageId({self})")
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        if text.len() != TEXT_LENGTH || !text.is_ascii() {
            return Err(MessageIdError::Form);
        }
        let mut digits = [0; 32];
        let mut free = digits.iter_mut();
        for (at, byte) in text.bytes().enumerate() {
            if HYPHENS.contains(&at) {
                if byte != b'-' {
                    return Err(MessageIdError::Form);
                }
            } else if let Some(digit) = free.next() {
                *digit = byte;
            }
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| MessageIdError::Form)?;
        Self::from_bytes(bytes)
    }
}

serde_as_text!(MessageId, Self::from_str);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9562, appendix A.6: made on 2022-02-22 at 19:22:22 UTC.
    const EXAMPLE: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

    #[test]
    fn the_example_of_the_specification() {
        let id: MessageId = EXAMPLE.parse().unwrap();
        assert_eq!(id.time(), Timestamp::new(1_645_557_742_000));
        assert_eq!(id.to_string(), EXAMPLE);
        assert_eq!(EXAMPLE.to_uppercase().parse(), Ok(id));
        let random = [0xcc, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f];
        assert_eq!(
            MessageId::new(Timestamp::new(1_645_557_742_000), random),
            id
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, error) in [
            ("", MessageIdError::Form),
            ("017f22e279b07cc398c4dc0c0c07398f", MessageIdError::Form),
            ("017f22e2-79b0-7cc3-98c4-dc0c0c07398", MessageIdError::Form),
            ("017f22e2-79b0-7cc3-98c4-dc0c0c07398g", MessageIdError::Form),
            ("017f22e2-79b0-7cc3-98c4+dc0c0c07398f", MessageIdError::Form),
            ("{17f22e2-79b0-7cc3-98c4-dc0c0c07398}", MessageIdError::Form),
            ("017f22e2-79b0-7cc3-98c4-dc0c0c0739é", MessageIdError::Form),
            (
                "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
                MessageIdError::Version,
            ),
            (
                "017f22e2-79b0-7cc3-c8c4-dc0c0c07398f",
                MessageIdError::Version,
            ),
            (
                "00000000-0000-0000-0000-000000000000",
                MessageIdError::Version,
            ),
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_id_is_taken_for_30_days_and_from_10_minutes_before() {
        let made = Timestamp::new(1_795_000_000_000);
        let id = MessageId::new(made, [0; 10]);
        for now in [
            made,
            made.plus_ms(MAX_ID_AGE_MS),
            made.minus_ms(MAX_ID_AHEAD_MS),
        ] {
            assert_eq!(id.check(now), Ok(()));
        }
        assert_eq!(
            id.check(made.plus_ms(MAX_ID_AGE_MS + 1)),
            Err(MessageIdError::TooOld {
                age_ms: MAX_ID_AGE_MS + 1
            })
        );
        assert_eq!(
            id.check(made.minus_ms(MAX_ID_AHEAD_MS + 1)),
            Err(MessageIdError::Ahead {
                ahead_ms: MAX_ID_AHEAD_MS + 1
            })
        );
        assert!(id.check(Timestamp::EPOCH).is_err() && id.check(Timestamp::MAX).is_err());
    }

    #[test]
    fn who_does_not_know_the_time_refuses_what_is_certainly_out_of_it() {
        let made = Timestamp::new(1_795_000_000_000);
        let id = MessageId::new(made, [0; 10]);
        let later = |days| made.plus_ms(days * DAY_MS);
        let before = |days| made.minus_ms(days * DAY_MS);
        // A clock that is 40 days ahead, and one that is a day behind.
        assert_eq!(id.check_between(made, later(40)), Ok(()));
        assert_eq!(id.check_between(before(1), made), Ok(()));
        assert!(id.check_between(later(31), later(40)).is_err());
        assert!(id.check_between(before(2), before(1)).is_err());
    }

    #[test]
    fn generated_ids_differ_and_tell_their_time() {
        let made = Timestamp::new(1_795_000_000_000);
        let (a, b) = (
            MessageId::generate(made).unwrap(),
            MessageId::generate(made).unwrap(),
        );
        assert_ne!(a, b);
        assert_eq!(a.time(), made);
    }

    proptest! {
        #[test]
        fn every_id_reads_back(time in any::<u64>(), random in any::<[u8; 10]>()) {
            let id = MessageId::new(Timestamp::new(time), random);
            prop_assert_eq!(id.time(), Timestamp::new(time.min((1 << 48) - 1)));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(MessageId::from_bytes(*id.as_bytes()), Ok(id));
            let text = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<MessageId>(&text).unwrap(), id);
        }

        #[test]
        fn ids_are_ordered_by_time(
            a in 0_u64..1 << 48, b in 0_u64..1 << 48, random in any::<[u8; 10]>(),
        ) {
            prop_assume!(a != b);
            let (early, late) = (Timestamp::new(a), Timestamp::new(b));
            let earlier = MessageId::new(early, random) < MessageId::new(late, [0; 10]);
            prop_assert_eq!(a < b, earlier);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            if let Ok(id) = text.parse::<MessageId>() {
                prop_assert!(id.to_string().eq_ignore_ascii_case(&text));
            }
        }
    }
}
