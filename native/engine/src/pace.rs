//! A limit of bytes a second.

use std::time::Duration;

/// Says how long to wait so that what is charged stays below a rate from the first byte on: what was not used while
/// nothing was charged is not made up for. Time is the caller's clock.
pub struct Pace {
    /// Bytes a second; 0: no limit.
    rate: u64,
    /// When all that was charged is paid for.
    paid: Duration,
}

impl Pace {
    pub fn new(rate: u64) -> Self {
        Pace { rate, paid: Duration::ZERO }
    }

    /// The time to wait, at `now`, after `bytes` more.
    pub fn charge(&mut self, bytes: u64, now: Duration) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now).saturating_add(cost);
        self.paid.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stretch_of_time_sees_more_than_the_rate() {
        let mut pace = Pace::new(1_000_000);
        let mut now = Duration::ZERO;
        let mut charged = Vec::new();
        for n in 0..2000u64 {
            // Of all sizes, and with pauses of its own in which nothing is read.
            let bytes = (n * 7919) % 50_000;
            charged.push((now, bytes));
            now += pace.charge(bytes, now) + Duration::from_micros((n % 5) * 700);
        }
        for from in 0..charged.len() {
            let (start, _) = charged[from];
            let mut sum = 0;
            for &(at, bytes) in &charged[from..] {
                // What is charged last is waited for afterwards.
                assert!(sum <= (at - start).as_micros() as u64 + 2000, "{sum} bytes in {:?}", at - start);
                sum += bytes;
            }
        }
    }

    #[test]
    fn nothing_is_waited_for_without_a_limit() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.charge(u64::MAX, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let mut pace = Pace::new(1);
        assert!(pace.charge(u64::MAX, Duration::ZERO) > Duration::from_secs(1 << 30));
        assert!(pace.charge(u64::MAX, Duration::MAX) <= Duration::MAX);
    }
}
