//! For tests alone: damaged inputs from a seed, the smallest one that fails, and a heap that counts.
//!
//! `KMSFS_FUZZ_SEED` and `KMSFS_FUZZ_CASES` replace a test's fixed seed and number of cases; `KMSFS_FUZZ_CASE` runs one.
#![allow(clippy::panic)]

mod damage;
mod heap;
mod random;

pub use damage::{Damage, EXTREMES};
pub use heap::Counting;
pub use random::Random;

use std::fmt::Debug;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The same in every run that does not ask for another.
const SEED: u64 = 6;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Draws lists of steps, `cases` of them, and has each checked. One that fails is made as small as it goes by leaving
/// steps out, and printed with what draws it again.
pub fn search<S: Clone + Debug>(what: &str, cases: u64, draw: impl Fn(&mut Random) -> Vec<S>, holds: impl Fn(&[S])) {
    let seed = number("KMSFS_FUZZ_SEED").unwrap_or(SEED);
    let cases = number("KMSFS_FUZZ_CASES").unwrap_or(cases);
    println!("{what}: KMSFS_FUZZ_SEED={seed} KMSFS_FUZZ_CASES={cases}");
    let one = number("KMSFS_FUZZ_CASE");
    for case in one.map_or(0..cases, |case| case..case + 1) {
        let steps = draw(&mut Random::new(seed.wrapping_mul(1_000_003).wrapping_add(case)));
        let fails = |steps: &[S]| catch_unwind(AssertUnwindSafe(|| holds(steps))).is_err();
        if fails(&steps) {
            let steps = smallest(steps, fails);
            panic!(
                "{what}: KMSFS_FUZZ_SEED={seed} KMSFS_FUZZ_CASE={case} fails, and so do these steps alone:\n{steps:#?}"
            );
        }
    }
}

/// Leaves out every step without which it fails all the same.
fn smallest<S: Clone>(mut steps: Vec<S>, fails: impl Fn(&[S]) -> bool) -> Vec<S> {
    let mut at = 0;
    while at < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(at);
        if fails(&fewer) {
            steps = fewer;
            at = 0;
        } else {
            at += 1;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_made_small_and_names_its_seed() {
        let drawn = || search("numbers", 50, |r| (0..9).map(|_| r.below(20)).collect(), |s| assert!(!s.contains(&7)));
        let said = *catch_unwind(drawn).unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains("KMSFS_FUZZ_SEED=") && said.ends_with("[\n    7,\n]"), "{said}");
    }
}
