//! The signals that end a command.

use std::sync::Once;
use std::sync::mpsc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ExitCode, Failure, logging};
use crate::wallet::prompt;

/// Sent to whoever lets a file grow beyond the limit.
const XFSZ: rustix::process::Signal = rustix::process::Signal::XFSZ;

/// SIGTERM and SIGINT, from when this is made on: they end nothing by themselves any more.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Held, so that a file which may not grow further is an error of whoever writes it, and not the
    /// end.
    _too_large: Signal,
}

impl Signals {
    /// Listens for both. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::io("listening for signals", &error);
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            _too_large: signal(SignalKind::from_raw(XFSZ.as_raw())).map_err(failed)?,
        })
    }

    /// The next of them.
    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

/// Ends the process at the second signal: nothing more is finished. The store is whole at every
/// moment.
pub(super) fn at_once() -> ! {
    tracing::warn!(
        "stopped at once by a second signal; what was in hand goes on at the next start"
    );
    prompt::restore_terminal();
    logging::flush();
    std::process::exit(ExitCode::Temporary as i32)
}

/// For a command that leaves signals to the system, which then ends it at once: has them watched
/// where that is not enough, which is at a password prompt, and as the first process of a container,
/// which the system does not end.
pub(super) fn watch_where_nothing_else_does() {
    prompt::before_asking(end_on_signals);
    if std::process::id() == 1 {
        end_on_signals();
    }
}

/// Ends the process at the first signal from now on, as a shell reports it (128 and the signal's
/// number), with the terminal as it was.
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
                // Nobody waits any more where this fails.
                let _ = ready.send(());
                let signal = signals.next().await;
                prompt::restore_terminal();
                std::process::exit(128 + signal.as_raw_value());
            });
        };
        let thread = std::thread::Builder::new().name("agentry-signals".to_owned());
        if thread.spawn(watch).is_ok() {
            // An error says that signals are left to the system after all.
            let _ = readied.recv();
        }
    });
}
