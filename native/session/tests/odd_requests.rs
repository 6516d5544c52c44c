#![allow(clippy::unwrap_used, clippy::panic)]
//! No request, however odd, ends a session over a real volume, goes unanswered, is answered twice or out of form, makes
//! memory grow, or does to the volume what is then called tampering.
//!
//! `KMSFS_ODD_SEED` runs one seed, `KMSFS_ODD_SEEDS=N` so many of them (a default of 24 takes some seconds), from
//! `KMSFS_ODD_FIRST` on.

#[path = "support/rig.rs"]
mod rig;

use rig::{open, Rig, SmallDisk, IN_HEADER};
use std::fs;
use std::sync::{Arc, Mutex};

const REQUESTS: usize = 400;
const MOST_HANDLES: usize = 40;
const DISK: u64 = 192 << 20;

/// xorshift64*: the same requests for a seed on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) % bound.max(1) as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Numbers at the borders of what anything can hold.
const ODD: [u64; 22] = [
    0,
    1,
    2,
    511,
    4095,
    4096,
    4097,
    65_535,
    (1 << 20) - 1,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 44,
    (1 << 53) - 1,
    1 << 53,
    (1 << 62) + 1,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 4096,
    u64::MAX,
];

mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const INIT: u32 = 26;
    pub const GETATTR: u32 = 3;
    pub const MKDIR: u32 = 9;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const RELEASE: u32 = 18;
    pub const OPENDIR: u32 = 27;
    pub const RELEASEDIR: u32 = 29;
    pub const CREATE: u32 = 35;
    pub const BATCH_FORGET: u32 = 42;
    pub const NOTIFY_REPLY: u32 = 41;
    pub const TMPFILE: u32 = 51;
}

/// The fields of an opcode's arguments: `q` and `w` are any 64 and 32 bits, `h` a handle, `d` a node, `o` an offset or
/// a length, `z` a size, `m` a mode, `f` flags, `e` a few small flags, `k` mostly none, `n` a name, `x` an xattr name, `b`
/// bytes of length `z`.
const SHAPES: [(u32, &str); 46] = [
    (1, "n"),
    (2, "q"),
    (3, "wwh"),
    (4, "fwhoqqqqqqwwwmwwww"),
    (5, ""),
    (6, "nn"),
    (8, "mwwwn"),
    (9, "mwn"),
    (10, "n"),
    (11, "n"),
    (12, "dnn"),
    (13, "dn"),
    (14, "fw"),
    (15, "hozwqwwww"),
    (16, "hozwqwwb"),
    (17, ""),
    (18, "hfwq"),
    (20, "hww"),
    (21, "zexb"),
    (22, "zwx"),
    (23, "zw"),
    (24, "x"),
    (25, "hwwq"),
    (26, "wwww"),
    (27, "fw"),
    (28, "hozwqww"),
    (29, "hfwq"),
    (30, "hww"),
    (31, "hqoowwww"),
    (32, "hqoowwww"),
    (34, "ww"),
    (35, "fmwwn"),
    (36, "q"),
    (37, "oww"),
    (38, ""),
    (39, "hwwqww"),
    (40, "hqww"),
    (42, "wwdqdq"),
    (43, "hooew"),
    (44, "hozwqww"),
    (45, "dewnn"),
    (46, "hoew"),
    (47, "hodhook"),
    (50, "q"),
    (51, "fmwwn"),
    (53, "hodhook"),
];

/// Opcodes whose node is a directory, and whose handle is one's.
const IN_DIRECTORIES: [u32; 13] = [1, 6, 8, 9, 10, 11, 12, 13, 27, 28, 35, 45, 51];
const LISTS: [u32; 4] = [28, 29, 30, 44];

/// What the session has told so far, as a kernel would keep it.
#[derive(Default)]
struct Known {
    nodes: Vec<u64>,
    directories: Vec<u64>,
    /// Handle, node, and what releases it.
    handles: Vec<(u64, u64, u32)>,
}

struct Writer {
    random: Random,
    known: Known,
}

impl Writer {
    fn number(&mut self) -> u64 {
        let odd = self.random.pick(&ODD);
        match self.random.below(6) {
            0 => odd.wrapping_add(self.random.next() % 9).wrapping_sub(4),
            1 => self.random.next(),
            2 => 1 << self.random.below(64),
            3 | 4 => self.random.next() % 100_000,
            _ => odd,
        }
    }

    /// Mostly of the kind that is wanted.
    fn node(&mut self, directory: bool) -> u64 {
        let kind = directory != self.random.one_in(8);
        match self.random.below(16) {
            0 => self.number(),
            1 if directory => 1,
            _ => {
                let nodes = if kind { &self.known.directories } else { &self.known.nodes };
                nodes.get(self.random.below(nodes.len())).copied().unwrap_or(1)
            }
        }
    }

    /// A handle and its node, mostly of the kind that is wanted.
    fn handle(&mut self, directory: bool) -> (u64, u64) {
        let wanted = if directory != self.random.one_in(8) { opcode::RELEASEDIR } else { opcode::RELEASE };
        let of_kind: Vec<_> = self.known.handles.iter().filter(|known| known.2 == wanted).collect();
        match of_kind.get(self.random.below(of_kind.len())) {
            Some(&&(handle, node, _)) if !self.random.one_in(16) => (handle, node),
            _ => (self.number(), self.node(directory)),
        }
    }

    /// Of any length and with any bytes, mostly a few plain ones that meet again.
    fn name(&mut self) -> Vec<u8> {
        match self.random.below(24) {
            0 => self
                .random
                .pick(&[&b""[..], b".", b"..", b"/", b"a/b", b".kmsfs", b"~", b".t-x", b"lost+found"])
                .to_vec(),
            1 => {
                let length = self.random.pick(&[175, 254, 255, 256, 1000, 4095, 4096, 70_000]);
                vec![b'n'; length]
            }
            2 => (0..self.random.below(300)).map(|_| self.random.next() as u8).collect(),
            n => vec![b'a' + n as u8 % 6],
        }
    }

    fn xattr_name(&mut self) -> Vec<u8> {
        let prefix = self.random.pick(&[
            &b"user."[..],
            b"trusted.",
            b"security.",
            b"security.capability",
            b"system.posix_acl_access",
            b"",
        ]);
        [prefix, &self.name()].concat()
    }

    fn flags(&mut self) -> u32 {
        match self.random.below(4) {
            0 => self.number() as u32,
            1 => self.random.next() as u32 & 0xf_ffff,
            _ => self.random.pick(&[0, 1, 2, 3, 0o1002, 0o2002, 0o100, 0x800, 16, 32, 0x7f]),
        }
    }

    /// A request of a known kind with its fields filled; nothing of it is damaged yet.
    fn shaped(&mut self, unique: u64) -> Vec<u8> {
        let (opcode, shape) = self.random.pick(&SHAPES);
        let (lists, linked) = (LISTS.contains(&opcode), opcode == opcode::LINK);
        let (mut handle, mut node) = self.handle(lists);
        if !shape.contains('h') || self.random.one_in(10) {
            node = self.node(IN_DIRECTORIES.contains(&opcode));
        }
        let mut bytes = 0;
        let mut body = Vec::new();
        for field in shape.chars() {
            match field {
                'q' => body.extend(self.number().to_ne_bytes()),
                'o' => {
                    let near = self.random.next() % 3_000_000;
                    let offset = if self.random.one_in(3) { self.number() } else { near };
                    body.extend(offset.to_ne_bytes());
                }
                'w' => body.extend((self.number() as u32).to_ne_bytes()),
                'm' => {
                    let kind = self
                        .random
                        .pick(&[0, 0o100_000, 0o100_000, 0o040_000, 0o120_000, 0o010_000, 0o060_000, 0o140_000]);
                    body.extend((kind | self.random.next() as u32 & 0o7777).to_ne_bytes());
                }
                'f' => body.extend(self.flags().to_ne_bytes()),
                'e' => body.extend(self.random.pick(&[0u32, 0, 1, 1, 2, 3, 3, 4, 16, 17, 1 << 31]).to_ne_bytes()),
                'k' => body.extend(self.random.pick(&[0u64, 0, 0, 0, 1]).to_ne_bytes()),
                'h' => {
                    body.extend(handle.to_ne_bytes());
                    handle = self.handle(lists).0;
                }
                'd' => body.extend(self.node(!linked).to_ne_bytes()),
                'z' => {
                    bytes = self.random.pick(&[0, 1, 7, 100, 4096, 65_504, 65_536, 131_072, 1 << 20]);
                    let told = if self.random.one_in(10) { self.number() as u32 } else { bytes as u32 };
                    body.extend(told.to_ne_bytes());
                }
                'n' | 'x' => {
                    let text = if field == 'x' { self.xattr_name() } else { self.name() };
                    body.extend(text);
                    body.push(0);
                }
                _ => body.extend((0..bytes).map(|i| i as u8)),
            }
        }
        header(opcode, unique, node, self.random.pick(&[0, 1000]), body)
    }

    /// A request, damaged or not. `None` when it is one that is never answered.
    fn request(&mut self, unique: u64) -> (Vec<u8>, bool) {
        let mut message = match self.random.below(12) {
            0 => {
                let opcode = if self.random.one_in(2) { self.random.below(61) as u32 } else { self.number() as u32 };
                let body = (0..self.random.below(300)).map(|_| self.random.next() as u8).collect();
                header(opcode, unique, self.node(false), 0, body)
            }
            _ => self.shaped(unique),
        };
        let mut told = true;
        if self.random.one_in(5) {
            for _ in 0..=self.random.below(4) {
                // Not the unique number: it is how the reply is found.
                let place = self.random.below(message.len());
                if !(8..16).contains(&place) {
                    message[place] = self.random.next() as u8;
                }
            }
        }
        match self.random.below(20) {
            0 => {
                // At least a byte: nothing at all is the end of a socket.
                message.truncate(1 + self.random.below(message.len()));
                told = self.random.one_in(2);
            }
            1 => {
                message.extend((0..self.random.below(100)).map(|_| 0u8));
                told = self.random.one_in(2);
            }
            2 => message.resize((1 << 20) + 80 + self.random.below(5000), 0),
            _ => {}
        }
        let length = message.len() as u32;
        if let (true, Some(field)) = (told, message.get_mut(..4)) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        let opcode = message.get(4..8).map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap()));
        let silent = [opcode::FORGET, opcode::BATCH_FORGET, opcode::NOTIFY_REPLY];
        let answered = message.len() >= IN_HEADER && opcode.is_some_and(|opcode| !silent.contains(&opcode));
        (message, answered)
    }

    fn learn(&mut self, message: &[u8], answer: &rig::Answer) {
        let Ok(payload) = answer else { return };
        let long = |bytes: &[u8], at: usize| bytes.get(at..at + 8).map(|b| u64::from_ne_bytes(b.try_into().unwrap()));
        let opcode = u32::from_ne_bytes(message[4..8].try_into().unwrap());
        let node = long(message, 16).unwrap();
        match opcode {
            opcode::MKDIR => self.known.directories.extend(long(payload, 0)),
            opcode::LOOKUP | 6 | 8 | opcode::LINK => self.known.nodes.extend(long(payload, 0).filter(|n| *n != 0)),
            opcode::OPEN => self.known.handles.push((long(payload, 0).unwrap(), node, opcode::RELEASE)),
            opcode::OPENDIR => self.known.handles.push((long(payload, 0).unwrap(), node, opcode::RELEASEDIR)),
            opcode::CREATE | opcode::TMPFILE => {
                let (node, handle) = (long(payload, 0).unwrap(), long(payload, 128).unwrap());
                self.known.nodes.push(node);
                self.known.handles.push((handle, node, opcode::RELEASE));
            }
            _ => {}
        }
    }
}

fn header(opcode: u32, unique: u64, node: u64, uid: u32, body: Vec<u8>) -> Vec<u8> {
    let length = (IN_HEADER + body.len()) as u32;
    let mut message = Vec::with_capacity(IN_HEADER + body.len());
    message.extend([length, opcode].iter().flat_map(|word| word.to_ne_bytes()));
    message.extend([unique, node].iter().flat_map(|long| long.to_ne_bytes()));
    message.extend([uid, uid, 1, 0].iter().flat_map(|word: &u32| word.to_ne_bytes()));
    message.extend(body);
    message
}

/// Sizes that the kernel checks (linux/fuse.h), where the opcode alone tells them.
fn check_size(message: &[u8], payload: &[u8]) {
    let word = |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap()) as usize;
    let length = payload.len();
    let fits = match word(4) {
        1 | 6 | 8 | 9 | 13 => length == 128,
        3 | 4 => length == 104,
        5 => (1..4096).contains(&length),
        14 | 27 => length == 16,
        35 | 51 => length == 144,
        15 | 28 | 44 => length <= word(IN_HEADER + 16),
        16 | 46 | 47 | 53 => length == 8,
        17 => length == 80,
        22 | 23 => {
            if word(IN_HEADER) == 0 {
                length == 8
            } else {
                length <= word(IN_HEADER)
            }
        }
        _ => length == 0,
    };
    assert!(fits, "{length} bytes for opcode {}", word(4));
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// An INIT of a kernel of today that offers everything.
fn init(unique: u64) -> Vec<u8> {
    let words = [7u32, 45, 131_072, u32::MAX, u32::MAX];
    let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    body.resize(64, 0);
    header(opcode::INIT, unique, 0, 0, body)
}

fn run(disk: &SmallDisk, seed: u64) {
    let path = disk.path.join("volume");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(path.join(".kmsfs")).unwrap();
    let events = Arc::<Mutex<Vec<String>>>::default();
    let writeback = seed.is_multiple_of(2);
    let mut rig = Rig::start(open(&path, writeback, &events).unwrap(), 1 + seed as usize % 3, writeback);
    let mut writer = Writer { random: Random::new(seed), known: Known::default() };
    let mut unique = 1;
    // Before INIT everything is refused; a message that is no request is not answered at all.
    for _ in 0..5 {
        unique += 1;
        let (message, _) = writer.request(unique);
        let word = |at: usize| message.get(at..at + 4).map(|b| u32::from_ne_bytes(b.try_into().unwrap()));
        if word(4) != Some(opcode::INIT) {
            rig.send(&message);
            if message.len() >= IN_HEADER {
                assert_eq!(rig.reply(unique), Err(libc::EIO), "before INIT");
            }
        }
    }
    rig.send(&init(1));
    assert_eq!(rig.reply(1).unwrap().len(), 64);
    for _ in 0..REQUESTS {
        unique += 1;
        let (message, answered) = writer.request(unique);
        rig.send(&message);
        if answered {
            let answer = rig.reply(unique);
            if let Ok(payload) = &answer {
                check_size(&message, payload);
            }
            writer.learn(&message, &answer);
        }
        // A kernel releases what it opened; without that handles are unbounded by right.
        while writer.known.handles.len() > MOST_HANDLES {
            let chosen = writer.random.below(writer.known.handles.len());
            let (handle, node, opcode) = writer.known.handles.swap_remove(chosen);
            unique += 1;
            rig.send(&header(opcode, unique, node, 0, [handle, 0, 0].iter().flat_map(|n| n.to_ne_bytes()).collect()));
            // It may be released already, by a damaged request.
            let _ = rig.reply(unique);
        }
    }
    // It still serves.
    unique += 1;
    rig.send(&header(opcode::GETATTR, unique, 1, 0, vec![0; 16]));
    assert_eq!(rig.reply(unique).unwrap().len(), 104);
    assert_eq!(rig.counter("panics"), 0);
    rig.end();
    // What they did to the volume is what requests do: it opens, and nothing in it is called tampering.
    drop(open(&path, writeback, &events).unwrap());
    // A forged node id may lead to an inode that is none of the volume's: that is told, and is no harm done.
    let inside = format!("{}/", path.display());
    let own = |event: &&String| event.starts_with(&inside) && !event.contains("/.kmsfs");
    assert_eq!(events.lock().unwrap().iter().find(own), None);
}

#[test]
fn odd_requests_are_answered_once_and_do_no_harm() {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("KMSFS_ODD_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("KMSFS_ODD_FIRST").unwrap_or(1);
            first..first + number("KMSFS_ODD_SEEDS").unwrap_or(24)
        }
    };
    let disk = SmallDisk::make(DISK);
    let mut settled = None;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&disk, seed)));
        assert!(outcome.is_ok(), "run it again with KMSFS_ODD_SEED={seed}");
        // The first run warms allocator and caches up.
        let now = resident();
        let first = *settled.get_or_insert(now);
        assert!(now < first + (96 << 20), "seed {seed}: {now} bytes resident, {first} after the first seed");
    }
}
