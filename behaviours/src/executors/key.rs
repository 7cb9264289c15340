//! The secret that a service asks for: an API key or a token.

use std::fmt;
use std::path::PathBuf;

use agentry_sdk::{ConfigureError, Setup};
use reqwest::header::HeaderValue;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

/// The longest key, in bytes: every server accepts a header of this size.
const KEY_MAX: usize = 4 << 10;

/// The source of the key.
#[derive(Debug)]
pub(super) enum KeySource {
    /// No key is needed.
    None,
    /// A file.
    File(PathBuf),
    /// An environment variable of agentry.
    Variable(String),
}

/// An API key, which is never shown.
pub(super) struct Key(Zeroizing<String>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl KeySource {
    /// The source that an executor's settings `key_file` and `key_env` name.
    ///
    /// # Errors
    /// Both are set.
    pub(super) fn of(
        key_file: Option<PathBuf>,
        key_env: Option<String>,
        setup: &Setup<'_>,
    ) -> Result<Self, ConfigureError> {
        match (key_file, key_env) {
            (Some(_), Some(_)) => Err(ConfigureError(
                "both `key_file` and `key_env` are set; remove one".into(),
            )),
            (Some(file), None) => Ok(Self::File(setup.path(file))),
            (None, Some(name)) => Ok(Self::Variable(name)),
            (None, None) => Ok(Self::None),
        }
    }

    /// Reads the key again from its source.
    ///
    /// # Errors
    /// The reason, without the key.
    pub(super) async fn read(&self) -> Result<Option<Key>, String> {
        let text = match self {
            Self::None => return Ok(None),
            Self::File(path) => {
                let refused =
                    |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
                let file = tokio::fs::File::open(path).await.map_err(refused)?;
                let mut text = Zeroizing::new(String::with_capacity(KEY_MAX + 1));
                let mut file = file.take(KEY_MAX as u64 + 1);
                file.read_to_string(&mut text).await.map_err(refused)?;
                text
            }
            Self::Variable(name) => {
                let refused = |_| format!("the variable {name} is unset or not valid UTF-8");
                Zeroizing::new(std::env::var(name).map_err(refused)?)
            }
        };
        // An editor may have written a byte order mark first.
        let key = text.trim_start_matches('\u{feff}').trim();
        let fits =
            !key.is_empty() && key.len() <= KEY_MAX && key.chars().all(|c| c.is_ascii_graphic());
        if !fits {
            return Err(format!(
                "{self:?} must contain one line of at most {KEY_MAX} printable characters"
            ));
        }
        Ok(Some(Key(Zeroizing::new(key.to_owned()))))
    }
}

impl Key {
    /// The value of the header `Authorization`, marked as sensitive.
    pub(super) fn bearer(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.0.as_str()));
        sensitive(&text)
    }

    /// The value of another header, marked as sensitive.
    pub(super) fn plain(&self) -> Option<HeaderValue> {
        sensitive(&self.0)
    }

    /// Removes the key from a text, since some services repeat it in their errors.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.0.as_str(), "[key]")
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
