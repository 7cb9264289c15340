//! Exact numbers, and Python's spelling of floats.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::{Json, JsonError, Limits};
use crate::text::serde_as_text;

/// An exact JSON number: an integer of any size, or a finite float. `10.0` stays `10.0`, because
/// the text is signed.
///
/// Equality uses the canonical text: `10` and `10.0` differ. Serde writes that text as a string.
#[derive(Clone)]
pub struct Number(Repr);

#[derive(Debug, Clone)]
pub(super) enum Repr {
    Integer(i128),
    /// Canonical digits of an integer that does not fit in 128 bits.
    Big(Box<str>),
    Float(f64),
}

impl Number {
    pub(super) fn repr(&self) -> &Repr {
        &self.0
    }

    /// From an integer in canonical digits.
    pub(super) fn from_digits(digits: &str) -> Self {
        // 40 characters hold every i128.
        match (digits.len() <= 40).then(|| digits.parse()) {
            Some(Ok(value)) => Self(Repr::Integer(value)),
            _ => Self(Repr::Big(digits.into())),
        }
    }

    /// From a float, if it is finite.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(Repr::Float(value)))
    }

    /// Whether it is an integer (`1.0` is not).
    pub fn is_integer(&self) -> bool {
        !matches!(self.0, Repr::Float(_))
    }

    /// Whether it is below zero. `-0.0` is not.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Integer(value) => *value < 0,
            Repr::Big(digits) => digits.starts_with('-'),
            Repr::Float(value) => *value < 0.0,
        }
    }

    /// The value of an integer that fits. None for a float, even `1.0`.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i128()?.try_into().ok()
    }

    /// The value of an integer that fits. None for a float, even `1.0`.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_i128()?.try_into().ok()
    }

    /// The value of an integer that fits. None for a float, even `1.0`.
    pub fn as_i128(&self) -> Option<i128> {
        match self.0 {
            Repr::Integer(value) => Some(value),
            Repr::Big(_) | Repr::Float(_) => None,
        }
    }

    /// The value of a float, or an integer's nearest one if that is finite.
    pub fn as_f64(&self) -> Option<f64> {
        let value = match &self.0 {
            Repr::Integer(value) => *value as f64,
            Repr::Big(digits) => digits.parse().ok()?,
            Repr::Float(value) => *value,
        };
        value.is_finite().then_some(value)
    }

    /// The nearest integer towards zero that 128 bits hold: for adding up amounts and fees, not for
    /// comparing signed values.
    pub fn saturating_i128(&self) -> i128 {
        match &self.0 {
            Repr::Integer(value) => *value,
            Repr::Big(digits) if digits.starts_with('-') => i128::MIN,
            Repr::Big(_) => i128::MAX,
            // `as` truncates and saturates.
            Repr::Float(value) => *value as i128,
        }
    }

    /// Compares with an integer by value: `10.0` equals 10.
    pub fn cmp_integer(&self, other: i64) -> Ordering {
        match &self.0 {
            Repr::Integer(value) => value.cmp(&i128::from(other)),
            Repr::Big(_) => self.saturating_i128().cmp(&i128::from(other)),
            Repr::Float(value) => {
                let whole = self.saturating_i128().cmp(&i128::from(other));
                whole.then_with(|| value.fract().total_cmp(&0.0_f64.copysign(value.fract())))
            }
        }
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {
        $(impl From<$integer> for Number {
            fn from(value: $integer) -> Self {
                Self(Repr::Integer(i128::from(value)))
            }
        })*
    };
}
from_integer!(i32, u32, i64, u64, i128);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Integer(a), Repr::Integer(b)) => a == b,
            (Repr::Big(a), Repr::Big(b)) => a == b,
            (Repr::Float(a), Repr::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Repr::Integer(value) => value.hash(state),
            Repr::Big(digits) => digits.hash(state),
            Repr::Float(value) => value.to_bits().hash(state),
        }
    }
}

impl fmt::Display for Number {
    /// The canonical text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        super::write::write_number(&mut text, self);
        formatter.pad(&text)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Number({self})")
    }
}

impl FromStr for Number {
    type Err = JsonError;

    /// Reads a JSON number.
    fn from_str(text: &str) -> Result<Self, JsonError> {
        let json = Json::parse(text.as_bytes(), Limits::default())?;
        json.root()
            .as_number()
            .ok_or_else(|| JsonError::Unexpected {
                at: 0,
                found: text.trim_start().chars().next().unwrap_or(' '),
                expected: "a number",
            })
    }
}

serde_as_text!(Number, Number::from_str);

/// Appends a finite float as Python's `repr` spells it: the shortest digits that read back as
/// the same double, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn write_float(out: &mut String, value: f64) {
    let scientific = shortest(value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.push_str(sign);
    if !(-4..16).contains(&exponent) {
        out.push_str(mantissa);
        out.push_str(if exponent < 0 { "e-" } else { "e+" });
        out.push_str(&format!("{:02}", exponent.unsigned_abs()));
        return;
    }
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n(
            '0',
            exponent.unsigned_abs() as usize - 1,
        ));
        out.push_str(&digits);
        return;
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    match digits.split_at_checked(whole) {
        Some((before, after)) if !after.is_empty() => {
            out.push_str(before);
            out.push('.');
            out.push_str(after);
        }
        _ => {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', whole - digits.len()));
            out.push_str(".0");
        }
    }
}

/// The shortest digits that read back as this double, as `d.ddde±x`; of two equally short ones the
/// nearer, and of two equally near ones the even one, as CPython chooses.
fn shortest(value: f64) -> String {
    let found = format!("{value:e}");
    let digits = found
        .bytes()
        .take_while(|byte| *byte != b'e')
        .filter(u8::is_ascii_digit)
        .count();
    // Rust's shortest form rounds a tie up; its form of a given length rounds it to even.
    let even = format!("{value:.*e}", digits.saturating_sub(1));
    // Next to a power of two the nearest digits may read back as the adjacent double.
    if even.parse() == Ok(value) {
        even
    } else {
        found
    }
}
