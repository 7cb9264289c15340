//! Signing in to the console: who may write to the control socket gets a code for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::OperationError;
use crate::doors::console::sessions::Sessions;

/// A code with which one can sign in to the console, once and soon.
#[derive(Clone, Serialize, Deserialize)]
pub struct ConsoleCode {
    /// The address of the console.
    pub url: String,
    /// The code.
    pub code: String,
}

impl fmt::Debug for ConsoleCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleCode")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl ConsoleCode {
    /// The address that signs in whoever opens it. Browsers keep what follows `#` to themselves: it is in
    /// no request.
    pub fn address(&self) -> String {
        format!("{}#code={}", self.url, self.code)
    }
}

/// A code for the console of this process.
///
/// # Errors
/// The console is not served.
pub fn open(sessions: &Sessions, read_only: bool) -> Result<ConsoleCode, OperationError> {
    if !sessions.is_on() {
        let reason = "the console is not served: `http.console` is false";
        return Err(OperationError::Invalid(reason.to_owned()));
    }
    let later = |reason: String| OperationError::Later(reason);
    let address = sessions.address();
    let address = address.ok_or_else(|| later("the HTTP server is starting".to_owned()))?;
    let code = sessions.code(read_only);
    let code = code.map_err(|error| later(error.to_string()))?;
    Ok(ConsoleCode {
        url: format!("http://{address}/"),
        code: code.expose().to_owned(),
    })
}
