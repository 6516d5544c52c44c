//! How long operations took: counts in buckets of 1/32 of a power of two of nanoseconds.

const STEPS: usize = 32;
const POWERS: usize = 64;

pub struct Latency(Vec<u64>);

impl Latency {
    pub fn new() -> Self {
        Latency(vec![0; STEPS * POWERS])
    }

    pub fn record(&mut self, nanos: u64) {
        if let Some(count) = self.0.get_mut(bucket(nanos)) {
            *count += 1;
        }
    }

    pub fn merge(&mut self, other: &Latency) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// Microseconds within which `share` of all operations ended; 0 when there was none.
    pub fn percentile(&self, share: f64) -> f64 {
        let total: u64 = self.0.iter().sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0.0, |bucket| middle(bucket) as f64 / 1000.0)
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(STEPS as u64);
    let power = nanos.ilog2() as usize;
    let step = (nanos >> (power - STEPS.ilog2() as usize)) as usize - STEPS;
    power * STEPS + step
}

/// The middle of what falls into a bucket.
fn middle(bucket: usize) -> u64 {
    let (power, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    let shift = power.saturating_sub(STEPS.ilog2() as usize);
    ((STEPS as u64 + step) << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thirtieth() {
        let mut latency = Latency::new();
        assert_eq!(latency.percentile(0.5), 0.0);
        for micros in 1..=1000 {
            latency.record(micros * 1000);
        }
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latency.percentile(share);
            assert!((found - micros).abs() <= micros / 30.0, "{share}: {found}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        let mut latency = Latency::new();
        for nanos in [0, 1, 31, 32, 33, u64::MAX] {
            latency.record(nanos);
        }
        assert_eq!(latency.0.iter().sum::<u64>(), 6);
    }
}
