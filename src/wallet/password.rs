//! Sources of passwords: a file, the environment, or a prompt; never an argument, which every user
//! of the machine could read.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agentry_protocol::Password;
use zeroize::Zeroizing;

use super::error::WalletError;
use super::store::Wallet;
use super::{files, prompt};

/// The environment variable that may hold the password.
pub const VARIABLE: &str = "AGENTRY_PASSWORD";
/// The name of the credential of systemd that may hold the password (`LoadCredential=`).
pub const CREDENTIAL: &str = "agentry.password";
/// The longest password file, in bytes.
const LARGEST: u64 = 4096;

/// Why no usable password was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("reading the password file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// Every user of the machine can read the file.
    #[error(
        "the password file {} can be read by every user of this machine (mode {mode:03o}); run \
         `chmod 600 {0}`, or mount a container's secret with mode 0400", path.display()
    )]
    Public {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold a password.
    #[error("the password file {} {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The variable is not Unicode.
    #[error("the environment variable {VARIABLE} is not valid Unicode")]
    Variable,
    /// No source has a password, and there is no terminal to ask on.
    #[error(
        "no password is given{hint}; give a file with --password-file, set {VARIABLE}, or run this \
         on a terminal"
    )]
    None {
        /// The configured file, if it does not exist.
        hint: String,
    },
    /// The prompt failed.
    #[error("asking for the password: {0}")]
    Prompt(io::Error),
    /// The password for something new is empty.
    #[error("the password is empty, which protects nothing; choose another")]
    Empty,
    /// The two passwords entered at the prompt differ.
    #[error("the two passwords differ; nothing was done")]
    Different,
}

/// Where to look for a password. The first that exists is used: the flag's file, [`VARIABLE`]
/// unless it is empty, the configured file, systemd's [`CREDENTIAL`], `.password` in the keystore
/// folder, a prompt.
#[derive(Clone, Debug, Default)]
pub struct PasswordSource {
    /// The file given by a flag; it must exist.
    pub flag: Option<PathBuf>,
    /// The file in the configuration; it need not exist yet.
    pub configured: Option<PathBuf>,
    /// The folder whose `.password` is used if it exists.
    pub keystore_dir: Option<PathBuf>,
    /// Whether to ask on the terminal.
    pub prompt: bool,
}

impl PasswordSource {
    /// The password of a wallet. Nothing is asked for one whose key is not encrypted.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub fn password_of(&self, wallet: &Wallet) -> Result<Password, PasswordError> {
        if wallet.is_plain() {
            return Ok(Wallet::no_password());
        }
        self.password(&format!("wallet {}", wallet.info().name))
    }

    /// The password of an existing `what`, for example `wallet temp-agent1`.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub fn password(&self, what: &str) -> Result<Password, PasswordError> {
        match self.silent()? {
            Some(password) => Ok(password),
            None => self.ask(&format!("Password of {what}: ")),
        }
    }

    /// A password for something new: a prompt asks twice.
    ///
    /// # Errors
    /// As [`Self::password`]; [`PasswordError::Different`], [`PasswordError::Empty`].
    pub fn new_password(&self, what: &str) -> Result<Password, PasswordError> {
        if let Some(password) = self.silent()? {
            return not_empty(password);
        }
        let first = self.ask_text(&format!("New password for {what}: "))?;
        let second = self.ask_text("The same again: ")?;
        if *first != *second {
            return Err(PasswordError::Different);
        }
        not_empty(Password::new(String::clone(&first)))
    }

    fn silent(&self) -> Result<Option<Password>, PasswordError> {
        if let Some(path) = &self.flag {
            return read(path).map(Some);
        }
        match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => return Ok(Some(Password::new(text))),
            Err(std::env::VarError::NotUnicode(_)) => return Err(PasswordError::Variable),
            Ok(_) | Err(std::env::VarError::NotPresent) => {}
        }
        if let Some(path) = self.configured.as_ref().filter(|path| path.exists()) {
            return read(path).map(Some);
        }
        if let Some(path) = credential() {
            return read_from(&path, true).map(Some);
        }
        let customary = self.keystore_dir.as_ref().map(|dir| dir.join(".password"));
        match customary.filter(|path| path.exists()) {
            Some(path) => read(&path).map(Some),
            None => Ok(None),
        }
    }

    fn ask(&self, prompt: &str) -> Result<Password, PasswordError> {
        Ok(Password::new(String::clone(&*self.ask_text(prompt)?)))
    }

    fn ask_text(&self, text: &str) -> Result<Zeroizing<String>, PasswordError> {
        // The prompt uses the terminal directly, so that standard input can be a pipe.
        if !self.prompt || !io::stderr().is_terminal() {
            let missing = |path: &PathBuf| format!(" ({} does not exist)", path.display());
            let hint = self.configured.as_ref().map(missing).unwrap_or_default();
            return Err(PasswordError::None { hint });
        }
        prompt::ask(text)
            .map(Zeroizing::new)
            .map_err(PasswordError::Prompt)
    }
}

/// The file of systemd's [`CREDENTIAL`], if this process has it.
fn credential() -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty())?;
    let path = Path::new(&folder).join(CREDENTIAL);
    path.exists().then_some(path)
}

/// Rejects the empty password, for something new.
///
/// # Errors
/// [`PasswordError::Empty`].
pub fn not_empty(password: Password) -> Result<Password, PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    Ok(password)
}

/// Reads a password file: one line. White space around it is ignored, as in AITBC's tools; what was
/// encrypted under the line with its white space still opens. The empty password is accepted, as in
/// AITBC's files. A file that everyone can read is rejected; one that its group can read is logged
/// as a warning.
///
/// # Errors
/// See [`PasswordError`].
pub fn read(path: &Path) -> Result<Password, PasswordError> {
    read_from(path, false)
}

/// As [`read`]. systemd gives the user of a service its credentials by an access-control list, whose
/// mask shows as the permissions of the group.
fn read_from(path: &Path, is_credential: bool) -> Result<Password, PasswordError> {
    let failed = |source| PasswordError::Read {
        path: path.to_owned(),
        source,
    };
    let unusable = |reason| PasswordError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(unusable("is a folder"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    // Pipes (`--password-file <(pass show …)`) are private whatever their mode says.
    if metadata.is_file() && mode & 0o004 != 0 {
        return Err(PasswordError::Public {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.is_file() && mode & 0o040 != 0 && !is_credential {
        tracing::warn!(path = %path.display(), "the password file can be read by its group");
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(unusable("is longer than 4096 bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("is not valid UTF-8"))?;
    if text.trim().contains('\n') {
        return Err(unusable("has more than one line"));
    }
    Ok(Password::of_file(text))
}

/// Creates a password file (mode 0600) with a random password of 256 bits unless the file exists;
/// returns whether it was created. Only for the first start on the embedded node: the owner of a
/// real wallet chooses its password.
///
/// # Errors
/// [`WalletError::Io`]; [`WalletError::Crypto`] if the system gives no random bytes.
pub fn ensure_password_file(path: &Path) -> Result<bool, WalletError> {
    if path.exists() {
        return Ok(false);
    }
    let mut random = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *random).map_err(|error| WalletError::Crypto {
        doing: "creating a random password",
        reason: error.to_string(),
    })?;
    let text = Zeroizing::new(format!(
        "{}\n",
        Zeroizing::new(hex::encode(random.as_slice())).as_str()
    ));
    files::make_private_dir(files::folder(path))?;
    match files::write_new(path, text.as_bytes()) {
        Ok(()) => Ok(true),
        // Another process created it first.
        Err(WalletError::Exists(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = dir.path().join(format!("{mode:o}"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn only_private_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&file(&dir, "x\n", 0o600)).is_ok());
        assert!(read(&file(&dir, "x\r\n", 0o400)).is_ok());
        let public = file(&dir, "x", 0o644);
        assert!(matches!(
            read(&public),
            Err(PasswordError::Public { mode: 0o644, .. })
        ));
        assert!(matches!(
            read(dir.path()),
            Err(PasswordError::Unusable { .. })
        ));
        assert!(read(&file(&dir, "\n", 0o600)).unwrap().is_empty());
        for good in ["\n\n", " \n", "x \n\n"] {
            assert!(read(&file(&dir, good, 0o600)).is_ok(), "{good:?}");
        }
        for bad in ["a\nb\n", "\na\n\nb", &"x".repeat(5000)] {
            assert!(matches!(
                read(&file(&dir, bad, 0o600)),
                Err(PasswordError::Unusable { .. })
            ));
        }
    }

    #[test]
    fn a_password_file_is_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keystore/.password");
        assert!(ensure_password_file(&path).unwrap());
        let first = fs::read(&path).unwrap();
        assert!(first.len() == 65 && read(&path).is_ok());
        assert!(!ensure_password_file(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), first);
    }
}
