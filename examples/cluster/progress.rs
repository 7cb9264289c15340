//! What is told while it runs, on standard error.

use std::time::{Duration, Instant};

/// Lines with the time since the begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress(Instant);

impl Progress {
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    pub(super) fn say(&self, text: &str) {
        eprintln!("{:>5} s  {text}", self.0.elapsed().as_secs());
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A number with commas.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time with three digits.
pub(super) fn show(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        0.1.. => format!("{:.0} ms", seconds * 1e3),
        0.001.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

/// The median and the last of some times.
pub(super) fn median_and_worst(times: &[Duration]) -> Option<(Duration, Duration)> {
    let mut times = times.to_vec();
    times.sort_unstable();
    Some((*times.get(times.len() / 2)?, *times.last()?))
}
