//! Where everything of a regular file lives: pure arithmetic of docs/format.md §5, "Homes".

/// Bytes of the header page at offset 0.
pub const HEADER_LEN: u64 = 4096;
/// Data blocks that hang from the header itself.
pub const DIRECT: u64 = 112;
/// Subtrees S1..S5.
pub const SUBTREES: usize = 5;
/// Sizes stay below this, so that every reader can hold them in a double.
pub const MAX_SIZE: u64 = (1 << 53) - 1;

/// One node on the way from a subtree's root to a data block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// 1 for a node of data blocks, up to 5.
    pub level: u8,
    /// Number of the first data block the node covers: its index in the AAD.
    pub index: u64,
    /// Physical offset.
    pub home: u64,
    /// Which of the node's children leads on.
    pub slot: usize,
}

/// The way to a data block: `steps` is empty for a direct one.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    steps: [Step; SUBTREES],
    depth: usize,
    /// Physical offset of the data block.
    pub home: u64,
}

impl Path {
    /// From the subtree's root (level = its number) down to level 1.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.depth]
    }
}

/// The layout of files with one block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    shift: u8,
}

impl Layout {
    /// `shift` is log2 of the block size: 12, 14 or 16.
    pub fn new(shift: u8) -> Option<Self> {
        matches!(shift, 12 | 14 | 16).then_some(Layout { shift })
    }
    pub fn shift(&self) -> u8 {
        self.shift
    }
    /// B, bytes of a block and of a node.
    pub fn block(&self) -> u64 {
        1 << self.shift
    }
    /// N, the children of a node.
    pub fn fanout(&self) -> u64 {
        self.block() / 32
    }
    /// Number of blocks of a file of `size` bytes.
    pub fn blocks(&self, size: u64) -> u64 {
        size.div_ceil(self.block())
    }
    /// Bytes that block `index` stores in a file of `size` bytes; 0 beyond its end.
    pub fn stored_len(&self, index: u64, size: u64) -> usize {
        let start = index << self.shift;
        size.saturating_sub(start).min(self.block()) as usize
    }
    /// Data blocks below a node of `level`: N^level. Level 5 overflows at B = 64 KiB and is never asked for there
    /// with a size below `MAX_SIZE`, so this saturates.
    pub fn covers(&self, level: u8) -> u64 {
        let mut n: u64 = 1;
        for _ in 0..level {
            n = n.saturating_mul(self.fanout());
        }
        n
    }
    /// Physical bytes of a full subtree of `level`, its node included (saturating, as above).
    pub fn span(&self, level: u8) -> u64 {
        let mut span = self.block();
        for _ in 0..level {
            span = span.saturating_mul(self.fanout()).saturating_add(self.block());
        }
        span
    }
    /// First data block and home of the node S_k (k from 1).
    pub fn subtree(&self, k: usize) -> (u64, u64) {
        let (mut first, mut base) = (DIRECT, HEADER_LEN + DIRECT * self.block());
        for level in 1..k as u8 {
            first = first.saturating_add(self.covers(level));
            base = base.saturating_add(self.span(level));
        }
        (first, base)
    }
    /// Which subtree (from 1) block `index` is in; 0: it is direct.
    pub fn subtree_of(&self, index: u64) -> usize {
        if index < DIRECT {
            return 0;
        }
        for k in 1..SUBTREES {
            if index < self.subtree(k + 1).0 {
                return k;
            }
        }
        SUBTREES
    }
    /// The nodes and the home of data block `index`.
    pub fn path(&self, index: u64) -> Path {
        let none = Step { level: 0, index: 0, home: 0, slot: 0 };
        let mut path = Path { steps: [none; SUBTREES], depth: 0, home: 0 };
        let k = self.subtree_of(index);
        if k == 0 {
            path.home = HEADER_LEN + (index << self.shift);
            return path;
        }
        let (mut first, mut home) = self.subtree(k);
        for level in (1..=k as u8).rev() {
            let below = self.covers(level - 1);
            let slot = (index - first) / below;
            path.steps[path.depth] = Step { level, index: first, home, slot: slot as usize };
            path.depth += 1;
            home = home + self.block() + slot * self.span(level - 1);
            first += slot * below;
        }
        path.home = home;
        path
    }
    /// Physical offset of data block `index`.
    pub fn home(&self, index: u64) -> u64 {
        self.path(index).home
    }
    /// How many blocks from `index` on, at most `max`, lie one behind the other at home (no node between).
    pub fn contiguous(&self, index: u64, max: u64) -> u64 {
        let left = if index < DIRECT {
            DIRECT - index
        } else {
            let first = self.subtree(self.subtree_of(index)).0;
            let n = self.fanout();
            n - (index - first) % n
        };
        left.min(max)
    }
    /// Physical length of a file of `size` bytes whose header is written.
    pub fn physical(&self, size: u64) -> u64 {
        if size == 0 {
            return HEADER_LEN;
        }
        let last = (size - 1) >> self.shift;
        self.home(last) + (size - (last << self.shift))
    }
    /// The largest size: all five subtrees full, or `MAX_SIZE`.
    pub fn largest(&self) -> u64 {
        self.subtree(SUBTREES).0.saturating_add(self.covers(SUBTREES as u8)).saturating_mul(self.block()).min(MAX_SIZE)
    }
    /// The size that maps to a physical length; `None` where none does (docs/format.md §5).
    pub fn size_of(&self, physical: u64) -> Option<u64> {
        if physical <= HEADER_LEN {
            return (physical == HEADER_LEN).then_some(0);
        }
        // The home is strictly increasing in the index: find the last block that begins below the length. Nodes
        // only push blocks back, so it is at most the one that would be there without any.
        let (mut low, mut high) = (0u64, self.blocks(physical - HEADER_LEN).min(self.blocks(self.largest())));
        while low + 1 < high {
            let mid = low + (high - low) / 2;
            if self.home(mid) < physical {
                low = mid;
            } else {
                high = mid;
            }
        }
        let within = physical - self.home(low);
        let size = (low << self.shift) + within;
        (within <= self.block() && size <= self.largest()).then_some(size)
    }
    /// The largest size whose physical length is at most `limit`.
    pub fn max_size(&self, limit: u64) -> u64 {
        let (mut low, mut high) = (0u64, self.largest());
        while low < high {
            let mid = low + (high - low).div_ceil(2);
            if self.physical(mid) <= limit {
                low = mid;
            } else {
                high = mid - 1;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn physical_lengths_are_those_of_the_worked_table() {
        let l = Layout::new(12).unwrap();
        for (size, physical) in [
            (0, 4096),
            (1, 4097),
            (4096, 8192),
            (458_752, 462_848),
            (458_753, 466_945),
            (983_040, 991_232),
            (983_041, 999_425),
            (1_000_000, 1_016_384),
        ] {
            assert_eq!(l.physical(size), physical, "size {size}");
            assert_eq!(l.size_of(physical), Some(size));
        }
        assert_eq!(l.size_of(462_849), None);
        assert_eq!(l.size_of(4095), None);
    }

    #[test]
    fn every_block_and_node_has_a_home_of_its_own_around_every_border() {
        for shift in [12, 14, 16] {
            let l = Layout::new(shift).unwrap();
            let mut borders = vec![0, DIRECT];
            for k in 2..=5 {
                let first = l.subtree(k).0;
                if first < l.blocks(l.largest()) {
                    borders.push(first);
                }
            }
            for b in borders {
                for i in b.saturating_sub(3)..b + 3 {
                    let p = l.path(i);
                    let next = l.path(i + 1);
                    let nodes = next.steps().iter().filter(|s| s.index == i + 1).count() as u64;
                    assert_eq!(next.home, p.home + l.block() * (1 + nodes), "block {i} at shift {shift}");
                    assert_eq!(l.contiguous(i, 2) == 2, nodes == 0);
                    for step in p.steps() {
                        assert!(step.slot < l.fanout() as usize && step.home < p.home);
                    }
                    let size = (i << shift) + 1;
                    assert_eq!(l.size_of(l.physical(size)), Some(size));
                }
            }
            let largest = l.max_size(u64::MAX);
            assert_eq!(l.size_of(l.physical(largest)), Some(largest));
            let max = l.max_size(1 << 44);
            assert!(l.physical(max) <= 1 << 44 && l.physical(max + 1) > 1 << 44);
        }
    }
}
