//! Asking for a password on the terminal, and leaving the terminal as it was.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal, as it was before a prompt that has not ended.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// What is to be done before a person is asked.
static PREPARE: Mutex<Option<fn()>> = Mutex::new(None);

/// How long a signal that a person sent at the prompt may take to end the process.
const ENDING: Duration = Duration::from_secs(5);

/// Has this called before a person is asked: a process that ends while they type must put the
/// terminal back, so somebody must watch for signals from then on.
pub fn before_asking(prepare: fn()) {
    *PREPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepare);
}

/// Puts the terminal back as it was before a prompt that has not ended; for a process that ends.
pub fn restore_terminal() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, was)) = before {
        // A terminal that is gone needs nothing any more.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &was);
    }
}

/// Asks for a text that is not shown.
///
/// # Errors
/// There is no terminal; [`io::ErrorKind::Interrupted`] on Ctrl-C.
pub(super) fn ask(prompt: &str) -> io::Result<String> {
    let prepare = *PREPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(prepare) = prepare {
        prepare();
    }
    if let Ok(terminal) = File::open("/dev/tty")
        && let Ok(was) = tcgetattr(&terminal)
    {
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal, was));
    }
    let answer = rpassword::prompt_password(prompt);
    let interrupted = answer
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::Interrupted);
    if interrupted {
        // The signal is on its way to whoever ends the process.
        std::thread::sleep(ENDING);
    }
    restore_terminal();
    answer
}
