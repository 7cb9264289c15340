//! A password that wipes itself.

use std::fmt;

use zeroize::Zeroizing;

/// A password. It is wiped from memory when dropped, and neither `Debug` nor any error shows it.
#[derive(Clone)]
pub struct Password {
    text: Zeroizing<String>,
    /// A second text to try if the first does not open a wallet.
    otherwise: Option<Box<Password>>,
}

impl Password {
    /// The password with exactly this text, blanks and line ends included.
    pub fn new(text: String) -> Self {
        Self {
            text: Zeroizing::new(text),
            otherwise: None,
        }
    }

    /// The password from the text of a file. AITBC's tools strip the white space around it, so the
    /// stripped text is used to encrypt. A wallet to be decrypted may also have been encrypted
    /// under the whole line, blanks included: that is tried second.
    pub fn of_file(text: &str) -> Self {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let stripped = text.trim_matches(is_blank);
        Self {
            text: Zeroizing::new(stripped.to_owned()),
            otherwise: (line != stripped).then(|| Box::new(Self::new(line.to_owned()))),
        }
    }

    /// Whether it is the empty password, which AITBC's files allow.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn characters(&self) -> usize {
        self.text.chars().count()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Opens something with it: `open` is tried with each possible text until one does not fail
    /// with `wrong`.
    pub(crate) fn open<T, E>(
        &self,
        open: impl Fn(&Self) -> Result<T, E>,
        wrong: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        match (open(self), &self.otherwise) {
            (Err(error), Some(otherwise)) if wrong(&error) => open(otherwise),
            (opened, _) => opened,
        }
    }
}

/// Whether Python's `str.strip` treats the character as white space. Unlike Rust it includes four
/// separators.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}
