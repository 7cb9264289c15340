//! Seeds: every random choice of a test is derived from one number, which is printed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The variable that repeats a run.
const VARIABLE: &str = "AGENTRY_TEST_SEED";

/// Random choices that can be repeated.
#[derive(Debug)]
pub struct Dice {
    /// The seed that they are derived from.
    pub seed: u64,
    random: StdRng,
}

impl Dice {
    /// Dice for a test. Its seed is printed, here and in every failure.
    pub fn new(test: &str) -> Self {
        let seed = match std::env::var(VARIABLE) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{VARIABLE}={text:?} is not a number")),
            Err(_) => Self::any_seed(),
        };
        eprintln!("{test}: {VARIABLE}={seed}");
        Self::of(seed)
    }

    /// Dice that follow from a seed.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// A seed that nobody has chosen.
    pub fn any_seed() -> u64 {
        u64::from(rand::random::<u32>())
    }

    /// New dice derived from these.
    pub fn fork(&mut self) -> Self {
        Self {
            seed: self.seed,
            random: StdRng::seed_from_u64(self.random.random()),
        }
    }

    /// A number from 0 up to, but not including, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// A length of time up to `longest`.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.random.random())
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// The bytes of a wallet's seed.
    pub fn bytes(&mut self) -> [u8; 32] {
        self.random.random()
    }
}
