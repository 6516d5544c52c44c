//! Whether to keep processors awake (see `keeper`): tried out now and then, on the requests that come.
//!
//! Where a virtual processor that has halted is slow to wake, keeping it awake serves five times as much; where the
//! kernel lets client and server share a processor instead, a third less (docs/decisions/0012). Nothing tells beforehand
//! which machine this is, and it can change under us: a guest is moved, its neighbours come and go.

use std::time::Duration;

/// How long one way is tried before the other has its turn.
pub const STEP: Duration = Duration::from_millis(10);
/// Turns each way has in a trial.
const TURNS: u32 = 4;
/// Steps before the first trial, and after one that changed the way.
const SOON: u32 = 20;
/// Steps between trials at most: each that changes nothing doubles them.
const LATE: u32 = 800;
/// With fewer requests a second there is nothing to gain, nor to be learnt.
const BUSY: u64 = 2000;

pub struct Trial {
    /// The way found better so far.
    keeps: bool,
    /// Steps until the next trial begins, and what they will be after it.
    left: u32,
    pause: u32,
    /// Turns had in this trial.
    turn: u32,
    /// Requests a second in the first turn of this pair.
    first: u64,
    /// Pairs of turns that spoke for the other way.
    won: u32,
}

impl Default for Trial {
    fn default() -> Self {
        Trial { keeps: false, left: SOON, pause: SOON, turn: 0, first: 0, won: 0 }
    }
}

impl Trial {
    /// After a step of `lasted`, in which `taken` requests came: whether processors are kept awake in the next.
    pub fn step(&mut self, taken: u64, lasted: Duration) -> bool {
        let rate = taken.saturating_mul(1_000_000) / (lasted.as_micros() as u64).max(1);
        if rate < BUSY {
            // What was learnt of a trial so far is of another load.
            if self.left == 0 {
                self.pause_for(self.pause);
            }
            return self.keeps;
        }
        if self.left > 0 {
            self.left -= 1;
            return self.keeps != (self.left == 0);
        }
        if self.turn.is_multiple_of(2) {
            self.first = rate;
        } else {
            let (other, own) = if is_other(self.turn) { (rate, self.first) } else { (self.first, rate) };
            self.won += u32::from(self.better(other, own));
        }
        self.turn += 1;
        if self.turn < 2 * TURNS {
            return self.keeps != is_other(self.turn);
        }
        // To keep processors awake costs: that takes all pairs, and the way back a majority.
        if self.won >= if self.keeps { TURNS / 2 + 1 } else { TURNS } {
            self.keeps = !self.keeps;
            self.pause_for(SOON);
        } else {
            self.pause_for((self.pause * 2).min(LATE));
        }
        self.keeps
    }

    /// Whether the other way, of which `other` is known, beats the own by more than chance does.
    fn better(&self, other: u64, own: u64) -> bool {
        if self.keeps {
            other + other / 10 > own
        } else {
            other > own + own / 4
        }
    }

    fn pause_for(&mut self, steps: u32) {
        (self.pause, self.left) = (steps, steps);
        (self.turn, self.won) = (0, 0);
    }
}

/// Whether a turn is the other way's: the first of its pair and the second in turn, so that a load that comes and goes
/// by itself does not meet one way always at its best.
fn is_other(turn: u32) -> bool {
    matches!(turn % 4, 0 | 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of a load of which `rate(keeps, step)` is served a second: in how many of them processors were kept awake.
    fn kept(steps: u32, rate: impl Fn(bool, u32) -> u64) -> u32 {
        let (mut trial, mut keeps, mut kept) = (Trial::default(), false, 0);
        for n in 0..steps {
            kept += u32::from(keeps);
            keeps = trial.step(rate(keeps, n) / 100, STEP);
        }
        kept
    }

    #[test]
    fn where_it_serves_more_processors_are_kept_awake_nearly_always() {
        assert!(kept(3000, |keeps, _| if keeps { 40_000 } else { 6_000 }) > 2850);
    }

    #[test]
    fn where_it_serves_less_they_are_kept_awake_for_the_trials_alone() {
        assert!(kept(3000, |keeps, _| if keeps { 13_000 } else { 18_000 }) < 60);
    }

    #[test]
    fn where_it_is_all_the_same_nothing_changes() {
        assert!(kept(3000, |keeps, _| if keeps { 18_500 } else { 18_000 }) < 60);
    }

    #[test]
    fn a_machine_that_changes_is_noticed() {
        let at_first_slow = |keeps, n: u32| if keeps == (n < 3000) { 40_000 } else { 6_000 };
        let kept = kept(6000, at_first_slow);
        assert!((2000..4000).contains(&kept), "{kept}");
    }

    #[test]
    fn a_load_that_comes_and_goes_by_itself_does_not_keep_them_awake() {
        for period in 2..40 {
            let kept = kept(3000, |_, n| if n % period < period / 2 { 30_000 } else { 12_000 });
            assert!(kept < 300, "{kept} of period {period}");
        }
    }

    #[test]
    fn a_light_load_starts_no_trial() {
        assert_eq!(kept(3000, |_, _| 1_000), 0);
    }
}
