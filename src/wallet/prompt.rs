//! Asking for a password on the terminal, and restoring the terminal.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal and its settings before the prompt that is open.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Called before each prompt.
static PREPARE: Mutex<Option<fn()>> = Mutex::new(None);

/// How long an interrupt at the prompt may take to end the process.
const ENDING: Duration = Duration::from_secs(5);

/// Registers a function to call before each prompt. A process that ends during a prompt must
/// restore the terminal, so the function starts the handling of signals.
pub fn before_asking(prepare: fn()) {
    *PREPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepare);
}

/// Restores the terminal if a prompt is open; for a process that ends.
pub fn restore_terminal() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, was)) = before {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &was);
    }
}

/// Asks for a text that is not echoed.
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
        // The signal handler ends the process.
        std::thread::sleep(ENDING);
    }
    restore_terminal();
    answer
}
