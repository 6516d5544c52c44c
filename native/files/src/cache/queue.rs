//! First in, first out, of slot numbers: a list through a link in each slot, so that it needs no memory of its own.

/// No slot.
pub const NONE: u32 = u32::MAX;

pub struct Queue {
    first: u32,
    last: u32,
    len: usize,
}

impl Queue {
    pub fn new() -> Self {
        Queue { first: NONE, last: NONE, len: 0 }
    }
    pub fn len(&self) -> usize {
        self.len
    }
    /// `n` is in no queue.
    pub fn push(&mut self, n: u32, links: &mut [u32]) {
        links[n as usize] = NONE;
        if self.last == NONE {
            self.first = n;
        } else {
            links[self.last as usize] = n;
        }
        self.last = n;
        self.len += 1;
    }
    pub fn pop(&mut self, links: &[u32]) -> Option<u32> {
        let n = self.first;
        if n == NONE {
            return None;
        }
        self.first = links[n as usize];
        if self.first == NONE {
            self.last = NONE;
        }
        self.len -= 1;
        Some(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_in_the_order_of_arrival() {
        let mut links = [NONE; 5];
        let mut queue = Queue::new();
        assert_eq!(queue.pop(&links), None);
        for n in [3, 0, 4] {
            queue.push(n, &mut links);
        }
        assert_eq!((queue.pop(&links), queue.len()), (Some(3), 2));
        queue.push(3, &mut links);
        let rest: Vec<u32> = std::iter::from_fn(|| queue.pop(&links)).collect();
        assert_eq!((rest, queue.len()), (vec![0, 4, 3], 0));
    }
}
