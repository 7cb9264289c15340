//! Signals that end a command.

use std::sync::Once;
use std::sync::mpsc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ExitCode, Failure, logging};
use crate::wallet::prompt;

/// Sent to a process that lets a file grow beyond the limit.
const XFSZ: rustix::process::Signal = rustix::process::Signal::XFSZ;

/// Receives SIGTERM and SIGINT. Once this exists, they no longer end the process by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Held so that a file at its size limit is an error of the write instead of the end of the
    /// process.
    _too_large: Signal,
}

impl Signals {
    /// Starts to receive both. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system refuses to register the handlers.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::io("listening for signals", &error);
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            _too_large: signal(SignalKind::from_raw(XFSZ.as_raw())).map_err(failed)?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

/// Ends the process at the second signal without finishing any work. The store is consistent at all
/// times.
pub(super) fn at_once() -> ! {
    tracing::warn!(
        "stopped at once by a second signal; unfinished work continues at the next start"
    );
    prompt::restore_terminal();
    logging::flush();
    std::process::exit(ExitCode::Temporary as i32)
}

/// Watches signals for a command that otherwise leaves them to the system, which ends the process
/// at once. That is not enough at a password prompt, and not in the first process of a container,
/// which the system does not end.
pub(super) fn watch_where_nothing_else_does() {
    prompt::before_asking(end_on_signals);
    if std::process::id() == 1 {
        end_on_signals();
    }
}

/// Ends the process at the next signal with the exit code that a shell reports (128 plus the
/// signal's number), and restores the terminal.
fn end_on_signals() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let (ready, readied) = mpsc::channel();
        let watch = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok(mut signals) = Signals::listen() else {
                    return;
                };
                // A failure means that nobody waits any more.
                let _ = ready.send(());
                let signal = signals.next().await;
                prompt::restore_terminal();
                std::process::exit(128 + signal.as_raw_value());
            });
        };
        let thread = std::thread::Builder::new().name("agentry-signals".to_owned());
        if thread.spawn(watch).is_ok() {
            // On an error, signals are left to the system.
            let _ = readied.recv();
        }
    });
}
