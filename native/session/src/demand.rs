//! How many threads are to serve where each sleeps in read(2) until its turn: a few, and more while requests wait for a
//! disk. Sixteen readers of a disk that takes a millisecond are served in one only if sixteen threads wait for it; the same
//! sixteen, of what is in memory, by few threads sooner than by many.

use std::time::{Duration, Instant};

/// No two looks in less than this: what the processors did in between is to mean something.
const SOONEST: Duration = Duration::from_millis(2);
/// A look tells nothing of a load as long ago as this.
const LATEST: Duration = Duration::from_millis(50);

pub struct Demand {
    fewest: usize,
    most: usize,
    wanted: usize,
    processors: u32,
    /// When nobody was left to wait for a request last, and the processor time that the process had used by then.
    look: Option<(Instant, Duration)>,
    /// The fewest who were left to wait, in this window.
    least: usize,
}

impl Demand {
    /// `fewest` and `most` threads, on so many processors.
    pub fn new(fewest: usize, most: usize, processors: usize) -> Self {
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Demand { fewest, most: most.max(fewest), wanted: fewest, processors, look: None, least: usize::MAX }
    }

    /// So many are to serve or to wait for it.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Somebody took a request, which left `waiting` to wait for the next.
    pub fn left(&mut self, waiting: usize) {
        self.least = self.least.min(waiting);
    }

    /// Nobody is left, but for a WRITE: those of a file wait for each other, whoever serves them, each with a buffer full.
    /// More are wanted when this comes again soon, and the process has left three quarters of the processors to others
    /// meanwhile. `used`: processor time of the process so far.
    pub fn nobody_left(&mut self, now: Instant, used: impl FnOnce() -> Duration) {
        if self.wanted == self.most {
            return;
        }
        let passed = self.look.map(|(then, _)| now.saturating_duration_since(then));
        if passed.is_some_and(|passed| passed < SOONEST) {
            return;
        }
        let used = used();
        let before = self.look.replace((now, used));
        if let (Some(passed), Some((_, before))) = (passed.filter(|passed| *passed < LATEST), before) {
            if used.saturating_sub(before) < passed * self.processors / 4 {
                self.wanted = (self.wanted * 2).min(self.most);
            }
        }
    }

    /// At the end of a window: half as many do when more than half had nothing to do all the time.
    pub fn think_over(&mut self) {
        if self.least != usize::MAX && self.least > self.wanted / 2 {
            self.wanted = (self.wanted / 2).max(self.fewest);
        }
        self.least = usize::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A load of a second: `clients` requests at a time, of which each takes `busy` of a processor. How many are wanted at
    /// each window's end.
    fn run(demand: &mut Demand, clients: usize, busy: Duration) -> Vec<usize> {
        load(demand, clients, busy, false)
    }

    fn load(demand: &mut Demand, clients: usize, busy: Duration, writes: bool) -> Vec<usize> {
        let start = Instant::now();
        let mut used = Duration::ZERO;
        let mut wanted = Vec::new();
        for n in 1..=1000 {
            // In each millisecond everybody who is there serves one, if there are as many requests.
            let serving = clients.min(demand.wanted());
            used += busy * serving as u32;
            for k in 1..=serving {
                let waiting = demand.wanted().saturating_sub(k);
                demand.left(waiting);
                if waiting == 0 && !writes {
                    demand.nobody_left(start + MS * n, || used);
                }
            }
            if n % 100 == 0 {
                demand.think_over();
                wanted.push(demand.wanted());
            }
        }
        wanted
    }

    #[test]
    fn sixteen_who_wait_for_a_disk_are_served_by_more_than_sixteen_and_stay_so() {
        let mut demand = Demand::new(4, 32, 2);
        assert_eq!(run(&mut demand, 16, MS / 50), [32; 10]);
    }

    #[test]
    fn few_clients_or_busy_processors_want_no_more() {
        let mut demand = Demand::new(4, 32, 2);
        assert_eq!(run(&mut demand, 3, MS / 50), [4; 10]);
        assert_eq!(run(&mut demand, 16, MS / 6), [4; 10]);
    }

    #[test]
    fn those_wanted_no_longer_go() {
        let mut demand = Demand::new(4, 32, 2);
        run(&mut demand, 32, MS / 50);
        assert_eq!(run(&mut demand, 1, MS / 50)[9], 4);
    }

    #[test]
    fn writes_want_no_more_and_let_those_go_who_came_for_others() {
        let mut demand = Demand::new(4, 32, 2);
        assert_eq!(load(&mut demand, 16, MS / 50, true), [4; 10]);
        run(&mut demand, 32, MS / 50);
        assert_eq!(load(&mut demand, 1, MS / 50, true)[9], 4);
    }

    #[test]
    fn a_moment_long_ago_says_nothing() {
        let mut demand = Demand::new(4, 32, 2);
        let start = Instant::now();
        for n in 0..10 {
            demand.nobody_left(start + n * 60 * MS, || Duration::ZERO);
        }
        assert_eq!(demand.wanted(), 4);
    }
}
