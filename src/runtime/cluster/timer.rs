//! Ends a process that is frozen for longer than its lease.
//!
//! A process that is stopped (SIGSTOP, a debugger, a machine without memory) and goes on later would
//! first do what it was about to do, before it can look at a clock: a POST may be on its way although
//! another host has taken over. The system's timer runs out meanwhile and kills it. Only a virtual
//! machine that is frozen as a whole can send such a POST when it thaws; its bytes are stored and signed
//! once, so there is no second answer.

use std::time::Duration;

/// Turns the timer off, so that tests see what the fence in the database alone does.
const SWITCH: &str = "AGENTRY_KERNEL_TIMER";

/// A timer that kills the process unless it is set again in time.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Timer(Option<nix::sys::timer::Timer>);

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer that does not run yet. A system without one is warned of.
    pub(super) fn new() -> Self {
        use nix::sys::signal::{SigEvent, SigevNotify, Signal};
        use nix::time::ClockId;
        if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
            tracing::warn!("{SWITCH} is off: a process that is frozen is not ended");
            return Self(None);
        }
        let kill = SigEvent::new(SigevNotify::SigevSignal {
            signal: Signal::SIGKILL,
            si_value: 0,
        });
        match nix::sys::timer::Timer::new(ClockId::CLOCK_BOOTTIME, kill) {
            Ok(timer) => Self(Some(timer)),
            Err(error) => {
                tracing::warn!(%error, "the system has no timer that ends this process if it is frozen");
                Self(None)
            }
        }
    }

    /// Kills the process after this time, unless this is called again before.
    pub(super) fn set(&mut self, after: Duration) {
        use nix::sys::timer::{Expiration, TimerSetTimeFlags};
        let Some(timer) = &mut self.0 else {
            return;
        };
        let after = Expiration::OneShot(after.into());
        if let Err(error) = timer.set(after, TimerSetTimeFlags::empty()) {
            tracing::warn!(%error, "the timer that ends a frozen process cannot be set");
        }
    }
}

/// This system has no such timer.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(super) fn new() -> Self {
        tracing::warn!("this system has no timer that ends a process which is frozen");
        Self
    }

    pub(super) fn set(&mut self, _: Duration) {}
}
