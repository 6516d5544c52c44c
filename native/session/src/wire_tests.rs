//! The wire: every opcode as the kernel writes it, and what is left of it after any damage.

#[path = "../tests/support/memory.rs"]
mod memory;

use crate::abi::{self, opcode};
use crate::counters::Counters;
use crate::dispatch::{Answer, Context};
use crate::init::Offer;
use crate::reply::{Lifetimes, Reply};
use crate::request::{Header, Operation};
use crate::worker::answer;
use crate::writers::Writers;
use kmsfs_fuzz::{search, Counting, Damage, Random};
use kmsfs_namespace::ops::Errno;
use memory::Memory;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[global_allocator]
static HEAP: Counting = Counting;

const HOUR: Duration = Duration::from_secs(3600);

/// Arguments as a list of integers and strings.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn w(mut self, words: &[u32]) -> Self {
        self.0.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }
    fn q(mut self, longs: &[u64]) -> Self {
        self.0.extend(longs.iter().flat_map(|long| long.to_ne_bytes()));
        self
    }
    fn s(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
    let length = (abi::IN_HEADER + body.len()) as u32;
    let header = Body::default().w(&[length, opcode]).q(&[99, 1]).w(&[10, 20, 30, 0]);
    header.s(body).0
}

fn body() -> Body {
    Body::default()
}

/// One well-formed message of each opcode, and what it means.
fn well_formed() -> Vec<(u32, Vec<u8>, &'static str)> {
    let setattr = body().w(&[0b1101_1111_1111, 0]).q(&[5, 6, 0, 7, 8, 9]).w(&[10, 11, 12, 0o104_755, 0, 14, 15, 0]);
    let read = body().q(&[5, 4096]).w(&[512, 0]).q(&[0]).w(&[0, 0]);
    let copy = body().q(&[5, 6, 7, 8, 9, 10, 0]);
    vec![
        (opcode::LOOKUP, body().s(b"name\0").0, r#"Lookup { name: [110, 97, 109, 101] }"#),
        (opcode::LOOKUP, body().s(b"..\0").0, "Lookup { name: [46, 46] }"),
        (opcode::FORGET, body().q(&[3]).0, "Forget { count: 3 }"),
        (opcode::GETATTR, body().w(&[1, 0]).q(&[5]).0, "GetAttr { handle: Some(Handle(5)) }"),
        (opcode::GETATTR, body().w(&[0, 0]).q(&[5]).0, "GetAttr { handle: None }"),
        (
            opcode::SETATTR,
            setattr.0,
            "SetAttr { set: SetAttr { mode: Some(2541), uid: Some(14), gid: Some(15), size: Some(6), atime: Some(Now), \
             mtime: Some(Now), handle: Some(Handle(5)), ctime: true, kill_suidgid: true } }",
        ),
        (opcode::READLINK, body().0, "ReadLink"),
        (opcode::SYMLINK, body().s(b"n\0t/u\0").0, "Symlink { name: [110], target: [116, 47, 117] }"),
        (opcode::MKNOD, body().w(&[0o100_644, 9, 0o22, 0]).s(b"n\0").0, "MkNod { name: [110], mode: 33188, device: 9, umask: 18 }"),
        (opcode::MKDIR, body().w(&[0o755, 0o22]).s(b"n\0").0, "MkDir { name: [110], mode: 493, umask: 18 }"),
        (opcode::UNLINK, body().s(b"n\0").0, "Unlink { name: [110] }"),
        (opcode::RMDIR, body().s(b"n\0").0, "RmDir { name: [110] }"),
        (
            opcode::RENAME,
            body().q(&[4]).s(b"a\0b\0").0,
            "Rename { name: [97], new_parent: NodeId(4), new_name: [98], flags: 0 }",
        ),
        (
            opcode::RENAME2,
            body().q(&[4]).w(&[2, 0]).s(b"a\0b\0").0,
            "Rename { name: [97], new_parent: NodeId(4), new_name: [98], flags: 2 }",
        ),
        (opcode::LINK, body().q(&[4]).s(b"n\0").0, "Link { node: NodeId(4), name: [110] }"),
        (opcode::OPEN, body().w(&[2, 1]).0, "Open { flags: 2, kill_suidgid: true }"),
        (opcode::READ, read.0.clone(), "Read { handle: Handle(5), offset: 4096, size: 512 }"),
        (
            opcode::WRITE,
            body().q(&[5, 4096]).w(&[4, 5]).q(&[0]).w(&[0, 0]).s(b"data").0,
            "Write { handle: Handle(5), offset: 4096, data: [100, 97, 116, 97], how: Writing { from_cache: true, \
             kill_suidgid: true, by: Writer { gid: 20, pid: 30 } } }",
        ),
        (
            opcode::WRITE,
            body().q(&[5, 4096]).w(&[1, 2]).q(&[7]).w(&[0, 0]).s(b"d").0,
            "Write { handle: Handle(5), offset: 4096, data: [100], how: Writing { from_cache: false, \
             kill_suidgid: false, by: Writer { gid: 20, pid: 30 } } }",
        ),
        (opcode::STATFS, body().0, "StatFs"),
        (opcode::RELEASE, body().q(&[5]).w(&[1, 0]).q(&[0]).0, "Release { handle: Handle(5), flags: 1 }"),
        (opcode::FSYNC, body().q(&[5]).w(&[1, 0]).0, "Fsync { handle: Handle(5), data_only: true }"),
        (
            opcode::SETXATTR,
            body().w(&[1, 2, 1, 0]).s(b"user.n\0v").0,
            "SetXattr { name: [117, 115, 101, 114, 46, 110], value: [118], flags: 2, kill_sgid: true }",
        ),
        (opcode::GETXATTR, body().w(&[8, 0]).s(b"n\0").0, "GetXattr { name: [110], size: 8 }"),
        (opcode::LISTXATTR, body().w(&[8, 0]).0, "ListXattr { size: 8 }"),
        (opcode::REMOVEXATTR, body().s(b"n\0").0, "RemoveXattr { name: [110] }"),
        (opcode::FLUSH, body().q(&[5]).w(&[0, 0]).q(&[0]).0, "Flush { handle: Handle(5) }"),
        (opcode::OPENDIR, body().w(&[0, 0]).0, "OpenDir"),
        (opcode::READDIR, read.0.clone(), "ReadDir { handle: Handle(5), offset: 4096, size: 512, plus: false }"),
        (opcode::READDIRPLUS, read.0, "ReadDir { handle: Handle(5), offset: 4096, size: 512, plus: true }"),
        (opcode::RELEASEDIR, body().q(&[5]).w(&[0, 0]).q(&[0]).0, "ReleaseDir { handle: Handle(5) }"),
        (opcode::FSYNCDIR, body().q(&[5]).w(&[0, 0]).0, "FsyncDir { handle: Handle(5), data_only: false }"),
        (opcode::CREATE, body().w(&[2, 0o644, 0o22, 0]).s(b"n\0").0, "Create { name: [110], mode: 420, flags: 2, umask: 18 }"),
        (opcode::TMPFILE, body().w(&[2, 0o644, 0o22, 0]).s(b"/\0").0, "TmpFile { mode: 420, flags: 2, umask: 18 }"),
        (opcode::INTERRUPT, body().q(&[98]).0, "Unknown"),
        (opcode::DESTROY, body().0, "Destroy"),
        (opcode::IOCTL, body().q(&[5]).w(&[0, 1]).q(&[0]).w(&[0, 0]).0, "Ioctl"),
        (opcode::NOTIFY_REPLY, body().0, "Ignored"),
        (
            opcode::BATCH_FORGET,
            body().w(&[2, 0]).q(&[4, 1, 5, 2]).0,
            "BatchForget { nodes: Forgets([4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2, 0, \
             0, 0, 0, 0, 0, 0]) }",
        ),
        (
            opcode::FALLOCATE,
            body().q(&[5, 6, 7]).w(&[3, 0]).0,
            "Fallocate { handle: Handle(5), offset: 6, length: 7, mode: 3 }",
        ),
        (opcode::LSEEK, body().q(&[5, 6]).w(&[3, 0]).0, "Lseek { handle: Handle(5), offset: 6, whence: 3 }"),
        (
            opcode::COPY_FILE_RANGE,
            copy.0.clone(),
            "CopyFileRange { from: Handle(5), from_offset: 6, to_node: NodeId(7), to: Handle(8), to_offset: 9, length: 10 }",
        ),
        (
            opcode::COPY_FILE_RANGE_64,
            copy.0,
            "CopyFileRange { from: Handle(5), from_offset: 6, to_node: NodeId(7), to: Handle(8), to_offset: 9, length: 10 }",
        ),
        (52, body().0, "Unknown"),
    ]
}

fn parse_as(message: &[u8], long_setxattr: bool) -> Option<Result<String, Errno>> {
    let (header, body) = Header::parse(message)?;
    let operation = body.and_then(|body| Operation::parse(&header, body, long_setxattr));
    Some(operation.map(|operation| format!("{operation:?}")))
}

fn parse(message: &[u8]) -> Option<Result<String, Errno>> {
    parse_as(message, true)
}

#[test]
#[cfg(target_endian = "little")]
fn every_opcode_is_read_as_the_kernel_means_it() {
    for (opcode, body, meaning) in well_formed() {
        assert_eq!(parse(&message(opcode, &body)).unwrap().unwrap(), meaning, "opcode {opcode}");
    }
}

#[test]
fn setxattr_of_an_old_kernel_keeps_setgid_for_root_alone() {
    let mut short = message(opcode::SETXATTR, &body().w(&[1, 2]).s(b"a.b\0v").0);
    let meaning = "SetXattr { name: [97, 46, 98], value: [118], flags: 2, kill_sgid: ";
    assert_eq!(parse_as(&short, false).unwrap().unwrap(), format!("{meaning}true }}"));
    short[24..28].copy_from_slice(&[0; 4]);
    assert_eq!(parse_as(&short, false).unwrap().unwrap(), format!("{meaning}false }}"));
}

#[test]
fn names_that_cannot_be_are_refused() {
    let refused = |opcode, body: &[u8]| parse(&message(opcode, body)).unwrap().unwrap_err().0;
    for bad in [&b"\0"[..], b"", b"a", b"a/b\0", b".\0", b"..\0"] {
        assert_eq!(refused(opcode::UNLINK, bad), libc::EINVAL, "{bad:?}");
    }
    let long = |n: usize| [vec![b'n'; n], vec![0]].concat();
    assert_eq!(refused(opcode::LOOKUP, &long(256)), libc::ENAMETOOLONG);
    assert!(parse(&message(opcode::LOOKUP, &long(255))).unwrap().is_ok());
    assert_eq!(refused(opcode::SYMLINK, &[&b"n\0"[..], &long(4096)].concat()), libc::ENAMETOOLONG);
    assert!(parse(&message(opcode::SYMLINK, &[&b"n\0"[..], &long(4095)].concat())).unwrap().is_ok());
}

#[test]
fn extensions_behind_the_arguments_are_left_out() {
    let mut with = message(opcode::MKDIR, &body().w(&[0o755, 0]).s(b"n\0\0\0\0\0\0\0").w(&[16, 32, 1, 2]).0);
    with[36..38].copy_from_slice(&2u16.to_ne_bytes());
    assert_eq!(parse(&with).unwrap().unwrap(), "MkDir { name: [110], mode: 493, umask: 0 }");
    with[36..38].copy_from_slice(&200u16.to_ne_bytes());
    assert_eq!(parse(&with).unwrap().unwrap_err(), Errno(libc::EINVAL));
}

struct Bench {
    memory: Memory,
    counters: Counters,
    room: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        Bench { memory: Memory::new(), counters: Counters::default(), room: vec![0; 1 << 17] }
    }

    /// Has `message` answered as a session thread would.
    fn answer(&mut self, message: &[u8]) -> Option<(Result<Answer, Errno>, usize)> {
        let context = Context {
            fs: &self.memory,
            lifetimes: Lifetimes { entry: HOUR, attr: HOUR, negative: HOUR },
            cache_directories: true,
            debug: false,
            long_setxattr: true,
            writers: Writers::default(),
            counters: &self.counters,
        };
        let mut reply = Reply::new(&mut self.room);
        let (header, body) = Header::parse(message)?;
        let operation = body.and_then(|body| Operation::parse(&header, body, true));
        let answered = operation.and_then(|operation| answer(&context, &header, operation, &mut reply));
        Some((answered, reply.len()))
    }

    fn panics(&self) -> u64 {
        self.counters.snapshot().into_iter().find(|(name, _)| name == "panics").map_or(0, |(_, count)| count)
    }
}

#[test]
fn replies_have_the_sizes_that_the_kernel_checks() {
    let mut bench = Bench::new();
    let mut size = |opcode, body: Body| {
        let (answered, size) = bench.answer(&message(opcode, &body.0)).unwrap();
        assert_eq!(answered.unwrap(), Answer::Reply, "opcode {opcode}");
        size
    };
    assert_eq!(size(opcode::LOOKUP, body().s(b"absent\0")), 128);
    assert_eq!(size(opcode::CREATE, body().w(&[2, 0o644, 0, 0]).s(b"n\0")), 144);
    assert_eq!(size(opcode::LOOKUP, body().s(b"n\0")), 128);
    assert_eq!(size(opcode::MKDIR, body().w(&[0o755, 0]).s(b"d\0")), 128);
    assert_eq!(size(opcode::GETATTR, body().w(&[0, 0]).q(&[0])), 104);
    assert_eq!(size(opcode::SETATTR, body().w(&[0; 22])), 104);
    assert_eq!(size(opcode::STATFS, body()), 80);
    assert_eq!(size(opcode::OPENDIR, body().w(&[0, 0])), 16);
    assert_eq!(size(opcode::LISTXATTR, body().w(&[0, 0])), 8);
    assert_eq!(size(opcode::RELEASEDIR, body().q(&[0]).w(&[0, 0]).q(&[0])), 0);
    // ".", "..", "n", "d": 24 bytes and the name, each a multiple of 8; with attributes 128 more.
    let list = |size| body().q(&[1, 0]).w(&[size, 0]).q(&[0]).w(&[0, 0]);
    assert_eq!(size(opcode::READDIR, list(4096)), 4 * 32);
    assert_eq!(size(opcode::READDIRPLUS, list(4096)), 4 * 160);
    assert_eq!(size(opcode::READDIR, list(100)), 3 * 32);
    assert_eq!(size(opcode::READDIR, list(31)), 0);
}

#[test]
fn a_message_cut_short_anywhere_is_an_errno_or_a_smaller_message() {
    let mut bench = Bench::new();
    for (opcode, body, _) in well_formed() {
        let whole = message(opcode, &body);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            let answered = bench.answer(&cut);
            assert_eq!(answered.is_none(), length < abi::IN_HEADER);
            if let Some((answered, _)) = answered {
                assert_eq!(answered, Err(Errno(libc::EINVAL)), "a length that is not the header's");
                cut[0..4].copy_from_slice(&(length as u32).to_ne_bytes());
                bench.answer(&cut);
            }
        }
    }
    assert_eq!(bench.panics(), 0);
}

/// What may be damaged of a message, and how long it says it is afterwards.
#[derive(Clone, Debug)]
struct Damaged {
    which: u64,
    damage: Vec<Damage>,
    own_length: bool,
}

/// Numbers of the header, and where arguments have theirs.
const FIELDS: [(usize, u8); 14] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (16, 8),
    (24, 4),
    (36, 2),
    (40, 8),
    (40, 4),
    (44, 4),
    (48, 8),
    (56, 8),
    (56, 4),
    (60, 4),
    (64, 8),
];

#[test]
fn no_damage_to_requests_makes_one_panic_or_its_reading_take_memory() {
    let opcodes: Vec<(u32, Vec<u8>)> = well_formed().into_iter().map(|(opcode, body, _)| (opcode, body)).collect();
    let one = |r: &mut Random| Damaged {
        which: r.next(),
        damage: if r.one_in(4) { Vec::new() } else { Damage::some(r, &FIELDS) },
        own_length: !r.one_in(8),
    };
    let draw = |r: &mut Random| (0..=r.below(60)).map(|_| one(r)).collect();
    search("requests", 400, draw, |steps| {
        let mut bench = Bench::new();
        for Damaged { which, damage, own_length } in steps {
            let pick = |n: u64| &opcodes[n as usize % opcodes.len()];
            let ((opcode, body), (other, of_other)) = (pick(*which), pick(which >> 32));
            let mut bytes = message(*opcode, body);
            damage.iter().for_each(|d| d.apply(&mut bytes, &message(*other, of_other)));
            if let (true, Some(length)) = (own_length, u32::try_from(bytes.len()).ok().filter(|&n| n >= 4)) {
                bytes[0..4].copy_from_slice(&length.to_ne_bytes());
            }
            let read = || {
                let (header, body) = Header::parse(&bytes)?;
                let body = body.ok()?;
                let _ = Offer::parse(body).map(|offer| offer.verdict());
                Operation::parse(&header, body, false).ok().map(|_| ())
            };
            assert_eq!(Counting::most(read).1, 0, "nothing of a request is copied to read it");
            bench.answer(&bytes);
        }
        assert_eq!(bench.panics(), 0);
        assert_eq!(bench.memory.destroyed.load(Ordering::SeqCst), 0);
    });
}
