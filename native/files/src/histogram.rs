//! How long things take: counts in fixed buckets, kept without a lock and without memory of single events.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets, inclusive, in nanoseconds; one more bucket holds what took longer. They are part of the
/// metrics' names, so to say: who compares two days needs them to stay.
pub const BOUNDS: [u64; 19] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// A histogram as it stood at one moment; what was recorded meanwhile may be in one number and not in the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One for each of `BOUNDS`, and one for what took longer. Not cumulative.
    pub counts: Vec<u64>,
    /// Sum of all that was recorded.
    pub nanos: u64,
}

impl Histogram {
    /// Records the time since `started`.
    pub fn since(&self, started: Instant) {
        self.record(started.elapsed());
    }

    pub fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        let counts = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        Snapshot { counts, nanos: self.nanos.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_its_bucket() {
        let h = Histogram::default();
        for nanos in [0, 5_000, 5_001, 10_000_000_000, 10_000_000_001, u64::MAX / 4] {
            h.record(Duration::from_nanos(nanos));
        }
        let seen = h.snapshot();
        assert_eq!(seen.counts.len(), BOUNDS.len() + 1);
        assert_eq!((seen.counts[0], seen.counts[1], seen.counts[18], seen.counts[19]), (2, 1, 1, 2));
        assert_eq!(seen.counts.iter().sum::<u64>(), 6);
        assert_eq!(seen.nanos, 20_000_010_002 + u64::MAX / 4);
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
