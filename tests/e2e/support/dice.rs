//! Seeds: every random choice of a test is derived from one number, which is printed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The variable that repeats a run.
const VARIABLE: &str = "AGENTRY_TEST_SEED";

/// Random choices that can be repeated.
#[derive(Debug)]
pub(crate) struct Dice {
    /// The seed that they are derived from.
    pub(crate) seed: u64,
    random: StdRng,
}

impl Dice {
    /// Dice for a test. Its seed is printed, here and in every failure.
    pub(crate) fn new(test: &str) -> Self {
        let seed = match std::env::var(VARIABLE) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{VARIABLE}={text:?} is not a number")),
            Err(_) => u64::from(rand::random::<u32>()),
        };
        println!("{test}: {VARIABLE}={seed}");
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// New dice derived from these.
    pub(crate) fn fork(&mut self) -> Self {
        Self {
            seed: self.seed,
            random: StdRng::seed_from_u64(self.random.random()),
        }
    }

    /// A number from 0 up to, but not including, `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// A length of time up to `longest`.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.random.random())
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// The bytes of a wallet's seed.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        self.random.random()
    }
}
