//! A device that takes its time: a latency that requests in flight spend together, and a bandwidth that they share.

use parking_lot::Mutex;
use std::thread;
use std::time::{Duration, Instant};

pub struct Delay {
    latency: Duration,
    /// Bytes a second.
    bandwidth: Option<u64>,
    /// When the line to the device is free again.
    free: Mutex<Option<Instant>>,
}

impl Delay {
    pub fn new(latency: Duration, bandwidth: Option<u64>) -> Self {
        Delay { latency, bandwidth, free: Mutex::new(None) }
    }

    /// Waits as long as a request of so many bytes takes.
    pub fn wait(&self, bytes: usize) {
        if self.latency.is_zero() && self.bandwidth.is_none() {
            return;
        }
        let now = Instant::now();
        let mut until = now + self.latency;
        if let Some(bandwidth) = self.bandwidth {
            let takes = Duration::from_secs_f64(bytes as f64 / bandwidth as f64);
            let mut free = self.free.lock();
            let sent = free.map_or(now, |free| free.max(now)) + takes;
            *free = Some(sent);
            until = until.max(sent);
        }
        thread::sleep(until.saturating_duration_since(now));
    }
}
