//! Choosing which progress reports are stored, and which are delivered to the behaviour.

use std::time::Duration;

use tokio::time::Instant;

/// The least time between two records of a task's progress.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// How far a task is, and a note in words.
pub(super) type Report = (f64, Option<String>);

/// The reports of a running attempt: which are stored, and which are delivered.
#[derive(Debug)]
pub(super) struct Progress {
    tell_every: Option<Duration>,
    latest: Option<Report>,
    /// Whether the latest report is stored.
    stored: bool,
    /// Whether the latest report was delivered to the behaviour.
    told: bool,
    reported_at: Option<Instant>,
    stored_at: Option<Instant>,
    told_at: Option<Instant>,
}

impl Progress {
    /// No report yet; the behaviour gets one report per interval at most.
    pub(super) const fn new(tell_every: Option<Duration>) -> Self {
        Self {
            tell_every,
            latest: None,
            stored: true,
            told: true,
            reported_at: None,
            stored_at: None,
            told_at: None,
        }
    }

    /// Records a report.
    pub(super) fn report(&mut self, report: Report, now: Instant) {
        if self.latest.as_ref() != Some(&report) {
            self.latest = Some(report);
            self.reported_at = Some(now);
            self.stored = false;
            self.told = false;
        }
    }

    /// When the latest report is to be stored or delivered; none, if it was already.
    pub(super) fn due(&self) -> Option<Instant> {
        let tell_at = || {
            let every = self.tell_every.filter(|_| !self.told)?;
            self.told_at
                .map_or(self.reported_at, |told| told.checked_add(every))
        };
        let store_at = self
            .stored_at
            .map_or(self.reported_at, |stored| stored.checked_add(RECORD_EVERY));
        // A delivery is stored, too.
        if self.stored {
            tell_at().max(store_at).filter(|_| tell_at().is_some())
        } else {
            store_at
        }
    }

    /// The latest report, to be stored now, and whether it is to be delivered.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Report, bool)> {
        let report = self.latest.clone()?;
        let tell = self.tell_every.is_some_and(|every| {
            self.told_at
                .is_none_or(|told| now.saturating_duration_since(told) >= every)
        });
        self.stored = true;
        self.stored_at = Some(now);
        if tell {
            self.told = true;
            self.told_at = Some(now);
        }
        Some((report, tell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(began: Instant, ms: u64) -> Instant {
        began + Duration::from_millis(ms)
    }

    #[test]
    fn progress_is_stored_once_a_second_and_delivered_as_often_as_asked() {
        let mut progress = Progress::new(Some(Duration::from_secs(10)));
        assert_eq!(progress.due(), None);
        let began = Instant::now();
        let (mut stored, mut told) = (Vec::new(), Vec::new());
        for step in 0..300_u32 {
            let now = at(began, u64::from(step) * 100);
            progress.report((f64::from(step) / 300.0, None), now);
            if progress.due().is_some_and(|due| due <= now) {
                let (_, tell) = progress.take(now).unwrap();
                stored.push(step);
                if tell {
                    told.push(step);
                }
            }
        }
        let expected: Vec<u32> = (0..30).map(|second| second * 10).collect();
        assert_eq!(stored, expected);
        assert_eq!(told, [0, 100, 200]);
    }

    #[test]
    fn the_last_report_is_delivered_although_no_other_follows() {
        let mut progress = Progress::new(Some(Duration::from_secs(10)));
        let began = Instant::now();
        progress.report((0.1, None), began);
        assert!(progress.take(began).unwrap().1, "the first is delivered");
        progress.report((0.2, None), at(began, 2_000));
        assert_eq!(progress.due(), Some(at(began, 1_000)));
        let early = progress.take(at(began, 2_000)).unwrap();
        assert!(!early.1, "the second is too early");
        assert_eq!(progress.due(), Some(at(began, 10_000)));
        assert_eq!(
            progress.take(at(began, 10_000)).unwrap(),
            ((0.2, None), true)
        );
        assert_eq!(progress.due(), None);
    }

    #[test]
    fn nothing_is_delivered_unasked_or_twice() {
        let mut progress = Progress::new(None);
        let began = Instant::now();
        progress.report((0.5, None), began);
        assert!(!progress.take(began).unwrap().1);
        assert_eq!(progress.due(), None);
        progress.report((0.5, None), at(began, 5_000));
        assert_eq!(progress.due(), None, "it is no news");
    }
}
