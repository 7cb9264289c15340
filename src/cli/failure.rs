//! How a command fails: [`Failure`] holds an exit code and a message.

use std::fmt;
use std::io;

use agentry_chain::{NodeError, SubmitError};
use agentry_protocol::{JsonError, TransactionError};

use crate::config::{ConfigError, HostError};
use crate::ops::OperationError;
use crate::ops::approvals::ApprovalError;
use crate::ops::change::ChangeError;
use crate::ops::delivery::DeliveryError;
use crate::ops::delivery::report::Undelivered;
use crate::ops::queues::list::RowError;
use crate::ops::search::UrlError;
use crate::ops::send::KeyError;
use crate::ops::send::direct::DispatchError;
use crate::ops::tasks::TaskError;
use crate::ops::tasks::fetch::FetchError;
use crate::ops::tokens::TokenError;
use crate::ops::who::WhoError;
use crate::runtime::control::ControlError;
use crate::wallet::{PasswordError, WalletError};

/// Exit code of the process; the numbers are those of BSD's sysexits.h.
///
/// [`Self::word`] and [`Self::meaning`] are the table of exit codes that the help text and the
/// documentation print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The command succeeded.
    Success = 0,
    /// The command did its work, but what it waited for failed, or what it compared differs.
    Failed = 1,
    /// The command line is invalid (`EX_USAGE`).
    Usage = 64,
    /// Data that cannot be parsed, or that is refused (`EX_DATAERR`).
    Data = 65,
    /// Something does not exist (`EX_NOINPUT`).
    NoInput = 66,
    /// A node or a runtime cannot be reached (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// An internal error of agentry (`EX_SOFTWARE`).
    Internal = 70,
    /// The system does not grant a resource that is needed (`EX_OSERR`).
    System = 71,
    /// Something already exists and is never overwritten (`EX_CANTCREAT`).
    CannotCreate = 73,
    /// Reading or writing failed (`EX_IOERR`).
    Io = 74,
    /// The command may succeed later (`EX_TEMPFAIL`).
    Temporary = 75,
    /// A wrong password, or no permission (`EX_NOPERM`).
    Denied = 77,
    /// The configuration has errors (`EX_CONFIG`).
    Config = 78,
}

impl ExitCode {
    /// All exit codes, by number.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Failed,
        Self::Usage,
        Self::Data,
        Self::NoInput,
        Self::Unavailable,
        Self::Internal,
        Self::System,
        Self::CannotCreate,
        Self::Io,
        Self::Temporary,
        Self::Denied,
        Self::Config,
    ];

    /// Short name of the exit code.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Data => "data",
            Self::NoInput => "no input",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::System => "system",
            Self::CannotCreate => "cannot create",
            Self::Io => "input/output",
            Self::Temporary => "temporary",
            Self::Denied => "denied",
            Self::Config => "configuration",
        }
    }

    /// When a command ends with this exit code.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done, or stopped on request",
            Self::Failed => {
                "a job that was waited for failed, was canceled or rejected; `replay` found a \
                 difference; `demo` saw the chain say something else; `bench` could not measure a row"
            }
            Self::Usage => {
                "the command line is invalid: an unknown option, a value that cannot be parsed, a \
                 mistyped address"
            }
            Self::Data => {
                "a file, a text or an answer that cannot be parsed; a name that means several \
                 addresses; a message or a job that was refused"
            }
            Self::NoInput => {
                "something that does not exist: a file, a store, a row, a block, a wallet, a name"
            }
            Self::Unavailable => {
                "a node that cannot be reached; no runtime is running, and the command needs one; \
                 a port that is taken"
            }
            Self::Internal => "an internal error of agentry: please report it",
            Self::System => {
                "the system does not allow enough open files, threads or memory; the message says \
                 how many are needed"
            }
            Self::CannotCreate => "something already exists and is never overwritten",
            Self::Io => "reading or writing failed",
            Self::Temporary => {
                "it may work later: a locked store, a timeout, a second signal that ended the \
                 command at once"
            }
            Self::Denied => "a wrong password, or no permission",
            Self::Config => "the configuration has errors, or the chain is a different one",
        }
    }

    /// The table of exit codes for a help text.
    pub fn table() -> String {
        let mut text = String::from("Exit codes:\n");
        for code in Self::ALL {
            let (number, word, meaning) = (code as u8, code.word(), code.meaning());
            text.push_str(&format!("  {number:>2}  {word}: {meaning}\n"));
        }
        text
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command failed. The message says what to do and contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code of the process.
    pub code: ExitCode,
    /// Printed to standard error, unless it is empty.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code and message.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A usage error: the command line is invalid.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// Data that cannot be parsed, or that is refused.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Data, message)
    }

    /// Something does not exist.
    pub fn no_input(message: impl Into<String>) -> Self {
        Self::new(ExitCode::NoInput, message)
    }

    /// An internal error of agentry.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Internal, message)
    }

    /// A failed file operation; `doing` names it, for example `reading x`. A closed pipe is not a
    /// failure: the command ends silently.
    pub fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::BrokenPipe => return Self::new(ExitCode::Success, ""),
            kind => io_code(kind),
        };
        Self::new(code, format!("{doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

pub(super) fn io_code(kind: io::ErrorKind) -> ExitCode {
    match kind {
        io::ErrorKind::NotFound => ExitCode::NoInput,
        io::ErrorKind::PermissionDenied => ExitCode::Denied,
        io::ErrorKind::InvalidData => ExitCode::Data,
        io::ErrorKind::AlreadyExists => ExitCode::CannotCreate,
        _ => ExitCode::Io,
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let code = match &error {
            ConfigError::Read { source, .. } => io_code(source.kind()),
            ConfigError::Invalid(_) => ExitCode::Config,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) fn wallet_code(error: &WalletError) -> ExitCode {
    match error {
        WalletError::Missing { .. } => ExitCode::NoInput,
        WalletError::Ambiguous { .. } | WalletError::NoPlace | WalletError::KeyType { .. } => {
            ExitCode::Config
        }
        WalletError::Exists(_) | WalletError::ExistsInVault { .. } => ExitCode::CannotCreate,
        WalletError::Damaged { .. }
        | WalletError::NoAddress { .. }
        | WalletError::ShortPassword(_) => ExitCode::Data,
        WalletError::WrongPassword { .. } | WalletError::Public { .. } => ExitCode::Denied,
        WalletError::Name(_) => ExitCode::Usage,
        WalletError::Io { source, .. } => io_code(source.kind()),
        WalletError::Password(error) => password_code(error),
        WalletError::Crypto { .. } => ExitCode::Internal,
    }
}

fn password_code(error: &PasswordError) -> ExitCode {
    match error {
        PasswordError::Read { source, .. } | PasswordError::Prompt(source) => {
            io_code(source.kind())
        }
        PasswordError::Unusable { .. } | PasswordError::Variable | PasswordError::Empty => {
            ExitCode::Data
        }
        PasswordError::Public { .. } | PasswordError::None { .. } | PasswordError::Different => {
            ExitCode::Denied
        }
    }
}

impl From<WalletError> for Failure {
    fn from(error: WalletError) -> Self {
        Self::new(wallet_code(&error), error.to_string())
    }
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        Self::new(password_code(&error), error.to_string())
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let code = match &error {
            HostError::Wallet { source, .. } => wallet_code(source),
            HostError::SameAddress { .. } => ExitCode::Config,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) fn node_code(error: &NodeError) -> ExitCode {
    match error {
        NodeError::Url { .. } => ExitCode::Usage,
        NodeError::Client { .. } => ExitCode::Internal,
        NodeError::TooLarge { .. } | NodeError::Unreadable { .. } => ExitCode::Data,
        error if error.is_not_found() => ExitCode::NoInput,
        _ => ExitCode::Unavailable,
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::new(node_code(&error), error.to_string())
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        let code = match &error {
            SubmitError::Rejected { .. } => ExitCode::Data,
            SubmitError::NotSent { .. } => ExitCode::Unavailable,
            SubmitError::Busy { .. } | SubmitError::Unknown { .. } => ExitCode::Temporary,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match &error {
            ControlError::Silent { .. } => ExitCode::Temporary,
            ControlError::Refused(error) => operation_code(error),
            _ => ExitCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

fn operation_code(error: &OperationError) -> ExitCode {
    match error {
        OperationError::Later(_)
        | OperationError::NoRecipientKey(_)
        | OperationError::TokenBudget(_) => ExitCode::Temporary,
        OperationError::Invalid(_) => ExitCode::Data,
        OperationError::NotHosted(_) | OperationError::NoMessage(_) => ExitCode::NoInput,
        OperationError::NotApplied(_) => ExitCode::Config,
    }
}

impl From<WhoError> for Failure {
    fn from(error: WhoError) -> Self {
        let code = match error {
            WhoError::Address { .. } | WhoError::Form { .. } => ExitCode::Usage,
            WhoError::Unknown { .. } | WhoError::NotOwn { .. } => ExitCode::NoInput,
            WhoError::Several { .. } | WhoError::Announced(_) | WhoError::NoAddress(_) => {
                ExitCode::Data
            }
            WhoError::Wallet(error) => return error.into(),
            WhoError::Store(error) => return error.into(),
            WhoError::Runtime(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<UrlError> for Failure {
    fn from(error: UrlError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<ApprovalError> for Failure {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::Id(_) | ApprovalError::Reason(_) => Self::usage(error.to_string()),
            ApprovalError::Missing { .. } => Self::no_input(error.to_string()),
            ApprovalError::Change(error) => error.into(),
            ApprovalError::Store(error) => error.into(),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unknown { .. } => Self::no_input(error.to_string()),
            TokenError::Random(_) => Self::internal(error.to_string()),
            TokenError::Change(error) => error.into(),
        }
    }
}

impl From<DispatchError> for Failure {
    fn from(error: DispatchError) -> Self {
        let text = error.to_string();
        match error {
            DispatchError::NoRecipientKey(_) => {
                let advice = "--recipient-key gives it here";
                Self::new(ExitCode::Temporary, format!("{text}; {advice}"))
            }
            DispatchError::NotHosted(wallet) => Self::new(
                ExitCode::Unavailable,
                format!(
                    "--ack needs a running runtime that hosts wallet {wallet}: it waits for the \
                     acknowledgment and sends the message again. Start `agentry run`, or omit --ack"
                ),
            ),
            DispatchError::NoKey { .. } => Self::no_input(text),
            DispatchError::Compose(error) if error.is_transient() => {
                Self::new(ExitCode::Temporary, text)
            }
            DispatchError::Compose(_) => Self::data(text),
            DispatchError::Unknown { .. } => Self::new(ExitCode::Temporary, text),
            DispatchError::Runtime(error) => error.into(),
            DispatchError::Password(error) => error.into(),
            DispatchError::Wallet(error) => error.into(),
            DispatchError::Url(error) => error.into(),
            DispatchError::Node(error) => error.into(),
            DispatchError::Submit(error) => error.into(),
            DispatchError::Store(error) => error.into(),
        }
    }
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Deleted(_) => Self::no_input(error.to_string()),
            DeliveryError::Store(error) => error.into(),
            DeliveryError::Node(error) => error.into(),
        }
    }
}

impl From<Undelivered> for Failure {
    fn from(why: Undelivered) -> Self {
        let code = if why.is_transient() {
            ExitCode::Temporary
        } else {
            ExitCode::Data
        };
        Self::new(code, why.to_string())
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Unknown { .. } => Self::no_input(error.to_string()),
            TaskError::Ended { .. }
            | TaskError::NotSigned(_)
            | TaskError::NotAsking { .. }
            | TaskError::Answer(_) => Self::data(error.to_string()),
            TaskError::Fetch(ref fetch) => {
                let code = match fetch {
                    FetchError::NoResult { .. } => ExitCode::NoInput,
                    FetchError::Late { .. } | FetchError::Closed(_) => ExitCode::Temporary,
                    FetchError::TooLong { .. } | FetchError::Other(_) => ExitCode::Data,
                    FetchError::Refused { .. } | FetchError::NotSent { .. } => ExitCode::Failed,
                };
                Self::new(code, error.to_string())
            }
            TaskError::NotOffered { .. } => {
                Self::data(format!("{error}. --anyway sends it regardless"))
            }
            TaskError::Who(error) => error.into(),
            TaskError::Runtime(error) => error.into(),
            TaskError::Store(error) => error.into(),
        }
    }
}

impl From<RowError> for Failure {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Id(_) | RowError::Forged(_) => Self::usage(error.to_string()),
            RowError::Missing { .. } => Self::no_input(error.to_string()),
            RowError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Runtime(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        Self::data(error.to_string())
    }
}

impl From<JsonError> for Failure {
    fn from(error: JsonError) -> Self {
        Self::data(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::io("writing", &io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure, Failure::new(ExitCode::Success, ""));
        let failure = Failure::io("reading x", &io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(failure.code, ExitCode::NoInput);
        assert!(failure.message.starts_with("reading x: "));
    }
}
