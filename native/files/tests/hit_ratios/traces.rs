//! Traces of lookups, from fixed seeds and without a function of libm: the same on every machine.

use crate::common::Random;

/// Data blocks that are read.
pub const BLOCKS: u64 = 50_000;
/// Children of a node.
const FANOUT: u64 = 128;
/// Blocks and level-1 nodes of the volume that is read all over.
const WIDE: u64 = 640_000;
pub const LEAVES: u64 = WIDE / FANOUT;

#[derive(Clone, Copy)]
pub struct Lookup {
    /// Of the block or node: no two are the same.
    pub id: u64,
    pub node: bool,
}

pub struct Trace {
    pub name: &'static str,
    pub reads: u64,
    pub lookups: Vec<Lookup>,
}

impl Trace {
    fn new(name: &'static str) -> Trace {
        Trace { name, reads: 0, lookups: Vec::new() }
    }
    /// A read of one block: first the nodes above it.
    fn read(&mut self, block: u64) {
        self.reads += 1;
        self.lookups.push(Lookup { id: (1 << 41) | (block / FANOUT / FANOUT), node: true });
        self.lookups.push(Lookup { id: (1 << 40) | (block / FANOUT), node: true });
        self.lookups.push(Lookup { id: block, node: false });
    }
}

/// Block numbers, the one of rank k with a chance of 1 / k^s; ranks lie anywhere in the file.
struct Zipf {
    sums: Vec<f64>,
    places: Vec<u64>,
}

impl Zipf {
    /// `tenths`: 10 s, of which one is below or above 10.
    fn new(tenths: u32, random: &mut Random) -> Zipf {
        let mut places: Vec<u64> = (0..BLOCKS).collect();
        for n in (1..places.len()).rev() {
            places.swap(n, random.below(n as u64 + 1) as usize);
        }
        let mut sum = 0.0;
        let weight = |k: f64| if tenths < 10 { k / root10(k) } else { k * root10(k) };
        let sums = (1..=BLOCKS).map(|k| {
            sum += 1.0 / weight(k as f64);
            sum
        });
        Zipf { sums: sums.collect(), places }
    }
    fn next(&self, random: &mut Random) -> u64 {
        let all = self.sums[self.sums.len() - 1];
        let at = random.below(1 << 50) as f64 / (1u64 << 50) as f64 * all;
        self.places[self.sums.partition_point(|sum| *sum <= at).min(self.places.len() - 1)]
    }
}

/// The tenth root, by Newton's method from above.
fn root10(k: f64) -> f64 {
    let mut x = 4.0;
    for _ in 0..60 {
        let x4 = x * x * x * x;
        x = (9.0 * x + k / (x4 * x4 * x)) / 10.0;
    }
    x
}

const READS: u64 = 200_000;

pub fn mixes() -> Vec<Trace> {
    let mut traces = Vec::new();
    for (tenths, plain, scans) in [
        (9, "Zipf 0.9", "Zipf 0.9, every second read in a scan of 5000 blocks"),
        (11, "Zipf 1.1", "Zipf 1.1, every second read in a scan of 5000 blocks"),
    ] {
        let mut random = Random::new(u64::from(tenths));
        let zipf = Zipf::new(tenths, &mut random);
        let mut trace = Trace::new(plain);
        (0..READS).for_each(|_| trace.read(zipf.next(&mut random)));
        traces.push(trace);

        let mut trace = Trace::new(scans);
        let mut at = 0;
        for n in 0..READS / 2 {
            if n % 5000 == 0 {
                at = random.below(BLOCKS);
            }
            trace.read((at + n % 5000) % BLOCKS);
            trace.read(zipf.next(&mut random));
        }
        traces.push(trace);
    }
    let mut random = Random::new(7);
    let zipf = Zipf::new(9, &mut random);
    let mut trace = Trace::new("Zipf 0.9, every second read in a loop over 10 % of the data");
    for n in 0..READS / 2 {
        trace.read(n % (BLOCKS / 10));
        trace.read(zipf.next(&mut random));
    }
    traces.push(trace);
    traces
}

/// Every block as likely as every other.
pub fn uniform() -> Trace {
    let mut random = Random::new(3);
    let mut trace = Trace::new("uniform");
    (0..2 * READS).for_each(|_| trace.read(random.below(WIDE)));
    trace
}
