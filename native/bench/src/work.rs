//! Clients that work side by side, and what comes out of it.

use crate::latency::Latency;
use crate::options::Options;
use crate::Result;
use serde::Serialize;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    pub ops: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub p50us: f64,
    pub p99us: f64,
}

/// What one client has done so far.
pub struct Tally {
    pub ops: u64,
    pub bytes: u64,
    began: Instant,
    latency: Latency,
    ops_limit: Option<u64>,
    time_limit: Option<Duration>,
}

impl Tally {
    /// Whether there is more to do, for work that has no end of its own. A client without a limit does one operation.
    pub fn goes_on(&self) -> bool {
        if let Some(limit) = self.time_limit {
            return self.began.elapsed() < limit && self.ops < self.ops_limit.unwrap_or(u64::MAX);
        }
        self.ops < self.ops_limit.unwrap_or(1)
    }

    /// Runs one operation, which tells how many bytes it moved.
    pub fn time(&mut self, operation: impl FnOnce() -> Result<usize>) -> Result<()> {
        let began = Instant::now();
        let bytes = operation()?;
        self.latency.record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.ops += 1;
        self.bytes += bytes as u64;
        Ok(())
    }
}

/// Has each client prepare itself, and times what all of them do from then on.
pub fn clients<P: Send>(
    options: &Options,
    prepare: impl Fn(usize) -> Result<P> + Sync,
    work: impl Fn(P, &mut Tally) -> Result<()> + Sync,
) -> Result<Measured> {
    let ready = Barrier::new(options.threads + 1);
    let one = |client: usize| -> Result<Tally> {
        let prepared = prepare(client);
        // All meet here, also those that could not prepare: nobody waits for ever.
        ready.wait();
        let mut tally = Tally {
            ops: 0,
            bytes: 0,
            began: Instant::now(),
            latency: Latency::new(),
            ops_limit: options.ops,
            time_limit: options.seconds,
        };
        work(prepared?, &mut tally)?;
        Ok(tally)
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..options.threads).map(|client| scope.spawn(move || one(client))).collect();
        ready.wait();
        let began = Instant::now();
        let (mut ops, mut bytes, mut latency) = (0, 0, Latency::new());
        let mut tallies = Vec::new();
        for thread in threads {
            tallies.push(thread.join().map_err(|_| "a client panicked")?);
        }
        let seconds = began.elapsed().as_secs_f64();
        for tally in tallies {
            let tally = tally?;
            ops += tally.ops;
            bytes += tally.bytes;
            latency.merge(&tally.latency);
        }
        Ok(Measured { ops, bytes, seconds, p50us: latency.percentile(0.5), p99us: latency.percentile(0.99) })
    })
}
