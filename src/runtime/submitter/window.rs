//! How many POSTs a node takes in a length of time.
//!
//! Nodes count the calls of each client, and refuse further ones for a minute. However they count, in
//! fixed minutes or in moving ones, a client that makes no more than the allowed number in any length of
//! time that long is never refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Rate;

/// The POSTs of the last length of time.
#[derive(Debug)]
pub(super) struct Window {
    rate: Option<Rate>,
    posts: VecDeque<Instant>,
}

impl Window {
    /// No POSTs yet; without a rate, any number is allowed.
    pub(super) const fn new(rate: Option<Rate>) -> Self {
        Self {
            rate,
            posts: VecDeque::new(),
        }
    }

    /// How long to wait until the next POST may begin; `None` if it may begin now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let Rate { count, per } = self.rate?;
        while self.posts.front().is_some_and(|post| *post + per <= now) {
            self.posts.pop_front();
        }
        let oldest = self.posts.front()?;
        (self.posts.len() >= count as usize).then(|| *oldest + per - now)
    }

    /// A POST may have reached the node by this time.
    pub(super) fn posted(&mut self, now: Instant) {
        if self.rate.is_some() {
            self.posts.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut window = Window::new(None);
        let now = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(window.wait(now), None);
            window.posted(now);
        }
        assert!(window.posts.is_empty());
    }

    proptest! {
        /// Whoever posts as soon as it may is never over the rate, and posts as much as it allows.
        #[test]
        fn no_length_of_time_has_more_posts_than_the_rate(
            count in 1..8_u32,
            pauses in proptest::collection::vec(0..50_u64, 1..60),
        ) {
            let per = Duration::from_secs(60);
            let mut window = Window::new(Some(Rate { count, per }));
            let mut now = Instant::now();
            let mut posts = Vec::new();
            for pause in pauses {
                now += Duration::from_secs(pause);
                if let Some(wait) = window.wait(now) {
                    prop_assert!(wait > Duration::ZERO && wait <= per);
                    // It waits only while the rate is used up.
                    let recent = posts.iter().filter(|post| now - **post < per).count();
                    prop_assert_eq!(recent, count as usize);
                    now += wait;
                    prop_assert_eq!(window.wait(now), None);
                }
                window.posted(now);
                posts.push(now);
                let recent = posts.iter().filter(|post| now - **post < per).count();
                prop_assert!(recent <= count as usize);
            }
        }
    }
}
