//! One step of the work, and how it is drawn.

use kmsfs_random::Random;

/// By which way bytes go in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    Vectored,
    Mapped,
    /// O_DIRECT, at any offset.
    Direct,
    /// A descriptor with O_APPEND; writes only.
    Append,
}

#[derive(Clone, Copy, Debug)]
pub enum Move {
    CopyFileRange,
    Sendfile,
    Splice,
}

#[derive(Clone, Copy, Debug)]
pub enum Sync {
    Fsync,
    Fdatasync,
    Msync,
    Range,
    Syncfs,
}

#[derive(Clone, Debug)]
pub enum Op {
    Write {
        way: Way,
        at: u64,
        len: usize,
    },
    Read {
        way: Way,
        at: u64,
        len: usize,
    },
    Truncate {
        to: u64,
        by_path: bool,
    },
    Allocate {
        flags: u32,
        at: u64,
        len: u64,
    },
    Move {
        how: Move,
        from: usize,
        at: u64,
        to: u64,
        len: usize,
    },
    Extents,
    Sync(Sync),
    /// Drops the kernel's clean pages: of the file, or of the whole machine.
    Evict {
        all: bool,
    },
    Reopen {
        truncate: bool,
    },
    Times {
        secs: i64,
        nanos: u32,
    },
    Check(Way),
    Remount,
    /// Everything closed, the server killed.
    CrashClosed,
    /// Everything synced and open, the server killed.
    CrashSynced,
}

pub struct Shape {
    pub base: u64,
    pub limit: u64,
    pub size: u64,
    pub block: u64,
    pub files: usize,
    /// What offsets and lengths of O_DIRECT must be a multiple of.
    pub direct: u64,
}

/// Longest single request.
const LONGEST: u64 = 1_300_000;

impl Shape {
    /// The offsets where something begins: blocks, the direct entries' end, the subtrees' (docs/format.md §5).
    fn borders(&self) -> Vec<u64> {
        let (b, n) = (self.block, self.block / 32);
        let firsts = [0, 112, 112 + n, 112 + n + n * n, 112 + n + n * n + n * n * n];
        let mut all: Vec<u64> = firsts.iter().map(|f| f * b).filter(|o| (self.base..=self.limit).contains(o)).collect();
        all.push(self.base);
        all
    }

    fn offset(&self, r: &mut Random) -> u64 {
        let span = self.limit - self.base;
        let near = |r: &mut Random, o: u64| (o + r.below(3 * 4096)).saturating_sub(r.below(3 * 4096));
        let at = match r.below(8) {
            0 => self.size,
            1 => near(r, self.size),
            2 => {
                let border = r.pick(&self.borders());
                near(r, border)
            }
            3 => self.base + r.below(span / self.block + 1) * self.block,
            4 => self.base + r.below(span / 4096 + 1) * 4096,
            5 => self.base + r.below(span),
            _ => self.base + r.below(self.size - self.base + 1),
        };
        at.clamp(self.base, self.limit)
    }

    fn length(&self, r: &mut Random) -> u64 {
        match r.below(16) {
            0..=3 => r.below(200),
            4..=6 => r.below(9000),
            7 => 4096 * (1 + r.below(4)),
            8..=9 => self.block * (1 + r.below(4)),
            10..=12 => r.below(70_000),
            13..=14 => r.below(400_000),
            _ => r.below(LONGEST),
        }
    }

    fn range(&self, r: &mut Random) -> (u64, u64) {
        let at = self.offset(r);
        let len = self.length(r).min(self.limit - at);
        (at, len)
    }
}

fn way(r: &mut Random) -> Way {
    r.pick(&[Way::Plain, Way::Plain, Way::Vectored, Way::Mapped, Way::Mapped, Way::Direct])
}

const KEEP: u32 = libc::FALLOC_FL_KEEP_SIZE as u32;
const PUNCH: u32 = libc::FALLOC_FL_PUNCH_HOLE as u32 | KEEP;
const ZERO: u32 = libc::FALLOC_FL_ZERO_RANGE as u32;

pub fn draw(r: &mut Random, s: &Shape) -> Op {
    let (at, len) = s.range(r);
    let aligned = |way, n: u64| if way == Way::Direct { n - n % s.direct } else { n };
    match r.below(1000) {
        0..=319 => {
            let way = if r.one_in(10) { Way::Append } else { way(r) };
            Op::Write { way, at: aligned(way, at), len: aligned(way, len) as usize }
        }
        320..=519 => {
            let way = way(r);
            Op::Read { way, at: aligned(way, at), len: aligned(way, len) as usize }
        }
        520..=599 => Op::Truncate { to: at, by_path: r.one_in(3) },
        600..=699 => Op::Allocate { flags: r.pick(&[0, KEEP, PUNCH, PUNCH, PUNCH, ZERO, ZERO | KEEP]), at, len },
        700..=779 => {
            let how = r.pick(&[Move::CopyFileRange, Move::CopyFileRange, Move::Sendfile, Move::Splice]);
            let to = s.offset(r);
            let len = len.min(s.limit - to) as usize;
            Op::Move { how, from: r.below(s.files as u64) as usize, at, to, len }
        }
        780..=819 => Op::Extents,
        820..=889 => {
            Op::Sync(r.pick(&[Sync::Fsync, Sync::Fdatasync, Sync::Msync, Sync::Msync, Sync::Range, Sync::Syncfs]))
        }
        890..=919 => Op::Evict { all: r.one_in(30) },
        920..=949 => Op::Reopen { truncate: r.one_in(20) },
        950..=964 => Op::Times {
            secs: r.pick(&[-1_000_000, 1, 999_999_999, 5_000_000_000]),
            nanos: r.below(1_000_000_000) as u32,
        },
        965..=989 => Op::Check(way(r)),
        990..=994 => Op::Remount,
        995..=996 => Op::CrashClosed,
        997 => Op::CrashSynced,
        _ => Op::Check(Way::Plain),
    }
}
