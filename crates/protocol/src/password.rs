//! A password that wipes itself.

use std::fmt;

use zeroize::Zeroizing;

/// A password. It is wiped from memory when dropped, and neither `Debug` nor any error shows it.
///
/// The text is taken as it is: whoever reads it from a file strips the line end first.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// The password that this text is.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether it is the empty password, which AITBC's files allow.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}
