//! Why a text is not JSON that can be signed.

/// Why JSON was refused. `at` counts bytes from the beginning of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is longer than the reader's limit.
    #[error("json of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More containers are open at once than the reader's limit.
    #[error("json nests deeper than {limit} levels at byte {at}")]
    TooDeep {
        /// The byte offset.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes are not UTF-8.
    #[error("json is not utf-8 at byte {at}")]
    NotUtf8 {
        /// The byte offset.
        at: usize,
    },
    /// The text ends before the value does.
    #[error("json ends where {expected} is expected")]
    UnexpectedEnd {
        /// What was expected.
        expected: &'static str,
    },
    /// A character is in a place where it is not allowed.
    #[error("json has {found:?} at byte {at}, where {expected} is expected")]
    Unexpected {
        /// The byte offset.
        at: usize,
        /// The character.
        found: char,
        /// What was expected there.
        expected: &'static str,
    },
    /// A string contains an unescaped control character.
    #[error("json has an unescaped control character in a string at byte {at}")]
    ControlCharacter {
        /// The byte offset.
        at: usize,
    },
    /// A backslash does not begin one of JSON's escapes.
    #[error("json has a malformed escape at byte {at}")]
    Escape {
        /// The byte offset.
        at: usize,
    },
    /// A surrogate without its other half: such text has no UTF-8 form.
    #[error("json has a lone surrogate at byte {at}, which no text can hold")]
    LoneSurrogate {
        /// The byte offset.
        at: usize,
    },
    /// `NaN` or `Infinity`, which Python writes although JSON does not have them.
    #[error("json has {word} at byte {at}, which is not a json number")]
    NonFiniteWord {
        /// The byte offset.
        at: usize,
        /// The word.
        word: &'static str,
    },
    /// A float such as `1e400`, beyond the range of a double.
    #[error("json has a float beyond the range of a double at byte {at}")]
    FloatRange {
        /// The byte offset.
        at: usize,
    },
    /// Something follows the value.
    #[error("json has something after its value at byte {at}")]
    Trailing {
        /// The byte offset.
        at: usize,
    },
    /// A float to be written is NaN or infinite.
    #[error("json cannot hold a float that is not finite")]
    NotFinite,
    /// An integer of more than 64 bits, to be read into a type that would turn it into a float and
    /// lose digits.
    #[error(
        "the integer {digits} at `{path}` has more than 64 bits, and would lose digits; write it \
         as a string"
    )]
    IntegerRange {
        /// Where it is, such as `params.amounts[2]`.
        path: String,
        /// The integer, or its beginning.
        digits: String,
    },
    /// Serde could not convert a value.
    #[error("could not convert between json and a typed value: {reason}")]
    Convert {
        /// Serde's reason.
        reason: String,
    },
}

impl JsonError {
    /// Whether the text exceeded a limit, and might be JSON under a higher one.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::TooDeep { .. })
    }
}
