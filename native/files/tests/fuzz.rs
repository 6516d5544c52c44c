//! Homes and log segments, damaged at random and by a forger who has the keys: opened, recovered, read, written,
//! scrubbed. No panic, none but the errors that damage has, no more memory and no more reads than a sound volume takes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, keys, open, open_with, BLOCK, UUID};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::store::{FileId, Home};
use kmsfs_files::{Checked, Config, Error, File, Files, Medium};
use kmsfs_format::block::{AeadKey, Entry, FileKey};
use kmsfs_format::commit::{claimed_len, SECTOR};
use kmsfs_format::header::{self, Root};
use kmsfs_format::layout::Layout;
use kmsfs_format::random::Nonces;
use kmsfs_format::segment::{RECORDS_AT, SEGMENT_HEADER_LEN};
use kmsfs_fuzz::{search, Counting, Damage, Random};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

#[global_allocator]
static HEAP: Counting = Counting;

const SMALL: FileId = [4; 16];
const LARGE: FileId = [5; 16];
const SPARSE: FileId = [6; 16];
const IDS: [FileId; 3] = [SMALL, LARGE, SPARSE];
const SLOTS: u64 = 4;
/// The sector cache, a segment as it is scanned, and the pages of a few reads: 4 MiB are twice what they take.
const MOST_MEMORY: i64 = 4 << 20;
/// A sound volume takes some hundred.
const MOST_READS: u64 = 20_000;

#[derive(Clone, Debug)]
enum Step {
    /// Bytes of a home, at one of its pages.
    Home {
        file: u64,
        page: u64,
        damage: Damage,
    },
    Length {
        file: u64,
        len: u64,
    },
    Growing {
        file: u64,
        growing: bool,
    },
    /// A header, sealed again.
    Root {
        file: u64,
        size: Option<u64>,
        at: u64,
        entry: Entry_,
    },
    /// A node of S1 or S2, sealed again and named by the header.
    Node {
        file: u64,
        level: u8,
        damage: Vec<Damage>,
    },
    /// Bytes of a segment.
    Log {
        slot: u64,
        sector: u64,
        damage: Damage,
    },
    /// Segment headers, signed again.
    Segment {
        slot: u64,
        damage: Vec<Damage>,
    },
    /// A record, signed again; the chain of those behind it is mended.
    Record {
        slot: u64,
        nth: u64,
        damage: Vec<Damage>,
    },
    /// One segment in another's place.
    Exchange {
        from: u64,
        to: u64,
    },
}

/// What is put in the place of an entry.
#[derive(Clone, Copy, Debug)]
enum Entry_ {
    Kept,
    Hole,
    Garbage,
    OfSlot(u64),
}

const RECORD_FIELDS: [(usize, u8); 20] = [
    (16, 4),
    (20, 4),
    (24, 8),
    (32, 8),
    (56, 8),
    (72, 2),
    (74, 2),
    (76, 4),
    (80, 8),
    (88, 8),
    (96, 4),
    (100, 4),
    (104, 4),
    (108, 4),
    (128, 8),
    (136, 8),
    (136, 4),
    (144, 8),
    (152, 8),
    (160, 4),
];
const SEGMENT_FIELDS: [(usize, u8); 7] = [(8, 8), (24, 8), (32, 8), (40, 8), (48, 8), (104, 2), (240, 8)];

fn step(r: &mut Random) -> Step {
    let file = r.below(3);
    match r.below(12) {
        0 => Step::Home { file, page: r.below(310), damage: Damage::draw(r, &[]) },
        1 => Step::Home { file, page: 0, damage: Damage::draw(r, &[(8, 2), (10, 1), (16, 8), (48, 8), (88, 4)]) },
        2 => Step::Length { file, len: if r.one_in(2) { r.number() } else { r.below(300) * 4096 + r.below(3) } },
        3 => Step::Growing { file, growing: r.one_in(2) },
        4 | 5 => {
            let entry = r.pick(&[Entry_::Kept, Entry_::Hole, Entry_::Garbage, Entry_::OfSlot(3), Entry_::OfSlot(113)]);
            Step::Root { file, size: r.one_in(2).then(|| r.number()), at: r.below(117), entry }
        }
        6 => Step::Node { file, level: 1 + r.below(5) as u8, damage: Damage::some(r, &[]) },
        7 => Step::Log { slot: r.below(SLOTS), sector: r.below(300), damage: Damage::draw(r, &[(16, 4), (20, 4)]) },
        8 => Step::Segment { slot: r.below(SLOTS), damage: Damage::some(r, &SEGMENT_FIELDS) },
        9 | 10 => Step::Record { slot: r.below(2), nth: r.below(8), damage: Damage::some(r, &RECORD_FIELDS) },
        _ => Step::Exchange { from: r.below(SLOTS), to: r.below(SLOTS) },
    }
}

fn layout() -> Layout {
    Layout::new(12).unwrap()
}

/// Three files: small, large (below S2, most of it straight), sparse to S3. As left by a clean end, and by a crash.
fn volumes() -> [MemoryStore; 2] {
    let store = Arc::new(MemoryStore::default());
    IDS.iter().for_each(|id| drop(store.create(*id)));
    let files = open(store.clone(), true);
    let file = |id: &FileId| files.file(Arc::new(store.home(id).unwrap())).unwrap();
    let (small, large, sparse) = (file(&SMALL), file(&LARGE), file(&SPARSE));
    small.write(0, b"small").unwrap();
    large.write(0, &vec![1; 260 * BLOCK as usize]).unwrap();
    large.write(250 * BLOCK + 7, &[2; 9000]).unwrap();
    sparse.write(layout().subtree(3).0 * BLOCK + 5, &[3; 6000]).unwrap();
    IDS.iter().for_each(|id| file(id).sync(false).unwrap());
    files.checkpoint().unwrap();
    small.write(3, &[4; 20_000]).unwrap();
    large.truncate(255 * BLOCK - 9).unwrap();
    large.punch(3 * BLOCK, 7 * BLOCK).unwrap();
    small.sync(false).unwrap();
    large.sync(false).unwrap();
    sparse.write(9 * BLOCK, &vec![5; 100_000]).unwrap();
    sparse.commit().unwrap();
    let crashed = store.snapshot();
    files.close().unwrap();
    [crashed, store.snapshot()]
}

fn read(store: &MemoryStore, id: &FileId, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    store.with_home(id, |h| h.read(at, &mut bytes));
    bytes
}

/// The header at home and its key, where it is sound.
fn header_of(store: &MemoryStore, id: &FileId) -> Option<(Root, FileKey)> {
    let page: [u8; 4096] = read(store, id, 0, 4096).try_into().unwrap();
    let key = FileKey::derive(&keys(5), id, header::parse(&page).ok()?.epoch).unwrap();
    Some((header::open(&page, &key).ok()?, key))
}

fn seal_header(store: &MemoryStore, id: &FileId, root: &Root, key: &FileKey) {
    let mut page = [0; 4096];
    header::seal(layout(), id, &UUID, 9, root, key, &mut page).unwrap();
    store.with_home(id, |h| h.write(0, &page));
}

fn segment_key(bytes: &[u8]) -> AeadKey {
    AeadKey::new(&keys(5).segment(bytes[56..88].try_into().unwrap()).unwrap()).unwrap()
}

fn sign_segment(bytes: &mut [u8]) {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, keys(5).log_mac().unwrap().expose());
    let tag = aws_lc_rs::hmac::sign(&key, &bytes[..496]);
    bytes[496..SEGMENT_HEADER_LEN].copy_from_slice(&tag.as_ref()[..16]);
}

/// Changes the `nth` record of a segment, signs it, and chains those behind it to it.
fn forge_record(bytes: &mut [u8], nth: u64, damage: &[Damage]) {
    let key = segment_key(bytes);
    let mut at = RECORDS_AT as usize;
    let mut previous: Option<[u8; 16]> = None;
    for n in 0.. {
        let Some(len) = claimed_len(&bytes[at..], bytes.len() - at) else { return };
        if n == nth {
            let mut record = bytes[at..at + len].to_vec();
            damage.iter().for_each(|d| d.apply(&mut record, &[0xFF; 4096]));
            record.resize(len, 0);
            bytes[at..at + len].copy_from_slice(&record);
        }
        if n >= nth {
            if let Some(mac) = previous {
                bytes[at + 40..at + 56].copy_from_slice(&mac);
            }
            let signed = claimed_len(&bytes[at..], bytes.len() - at).unwrap_or(len);
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&bytes[at + 24..at + 32]);
            let tag = key.seal_with(nonce, &bytes[at + 16..at + signed], &mut []).unwrap();
            bytes[at..at + 16].copy_from_slice(&tag);
            previous = Some(tag);
            at += signed;
        } else {
            at += len;
        }
        if at + SECTOR > bytes.len() {
            return;
        }
    }
}

fn segment(store: &MemoryStore, slot: u64, change: impl FnOnce(&mut Vec<u8>)) {
    store.with_segment(slot as usize, change).unwrap();
}

fn apply(store: &MemoryStore, step: &Step) {
    let id = |file: &u64| &IDS[*file as usize];
    match step {
        Step::Home { file, page, damage } => {
            let mut bytes = read(store, id(file), page * BLOCK, BLOCK as usize);
            damage.apply(&mut bytes, &read(store, &IDS[(*file as usize + 1) % 3], page * BLOCK, BLOCK as usize));
            store.with_home(id(file), |h| h.write(page * BLOCK, &bytes));
        }
        Step::Length { file, len } => drop(store.home(id(file)).unwrap().set_len(*len)),
        Step::Growing { file, growing } => store.home(id(file)).unwrap().set_growing(*growing).unwrap(),
        Step::Root { file, size, at, entry } => {
            let Some((mut root, key)) = header_of(store, id(file)) else { return };
            root.size = size.unwrap_or(root.size);
            let get = |root: &Root, at: u64| match at.checked_sub(112) {
                Some(k) => root.subtrees[k as usize],
                None => root.direct[at as usize],
            };
            let new = match entry {
                Entry_::Kept => get(&root, *at),
                Entry_::Hole => Entry::HOLE,
                Entry_::Garbage => Entry::new(*at as u32, &[8; 12], &[9; 16]),
                Entry_::OfSlot(other) => get(&root, *other),
            };
            match at.checked_sub(112) {
                Some(k) => root.subtrees[k as usize] = new,
                None => root.direct[*at as usize] = new,
            }
            seal_header(store, id(file), &root, &key);
        }
        Step::Node { file, level, damage } => {
            let Some((mut root, key)) = header_of(store, id(file)) else { return };
            let (index, home) = layout().subtree(usize::from(*level));
            let mut node = vec![0; BLOCK as usize];
            damage.iter().for_each(|d| d.apply(&mut node, &[7; 4096]));
            node.resize(BLOCK as usize, 1);
            root.subtrees[usize::from(*level) - 1] = key.seal(*level, index, &mut node, &mut Nonces::of(1)).unwrap();
            store.with_home(id(file), |h| h.write(home, &node));
            seal_header(store, id(file), &root, &key);
        }
        Step::Log { slot, sector, damage } => segment(store, *slot, |s| {
            let len = s.len();
            let at = *sector as usize * SECTOR;
            let mut bytes = s[at..at + 4096].to_vec();
            damage.apply(&mut bytes, b"................kCR1");
            bytes.resize(4096, 0);
            s[at..at + 4096].copy_from_slice(&bytes);
            assert_eq!(s.len(), len);
        }),
        Step::Segment { slot, damage } => segment(store, *slot, |s| {
            let mut header = s[..496].to_vec();
            damage.iter().for_each(|d| d.apply(&mut header, &[0xFF; 496]));
            header.resize(496, 0);
            s[..496].copy_from_slice(&header);
            sign_segment(s);
        }),
        Step::Record { slot, nth, damage } => segment(store, *slot, |s| forge_record(s, *nth, damage)),
        Step::Exchange { from, to } => {
            let bytes = store.with_segment(*from as usize, |s| s.clone()).unwrap();
            segment(store, *to, |s| *s = bytes);
        }
    }
}

/// A home that counts how often it is read, and as its own medium.
struct Counted<'a>(&'a dyn Home, &'a AtomicU64);

impl Medium for Counted<'_> {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_at(buf, offset)
    }
}

/// Damage, a full or absurd file, a mount that became read-only: nothing else comes of it.
fn allowed<T>(result: Result<T, Error>) -> Option<T> {
    let errnos = [libc::EIO, libc::EINVAL, libc::ENXIO, libc::EFBIG, libc::ENOSPC, libc::EROFS];
    match result {
        Ok(value) => Some(value),
        Err(e) => {
            assert!(errnos.contains(&e.errno()), "{e:?}");
            None
        }
    }
}

fn use_file(files: &Arc<Files>, file: &Arc<File>, home: &dyn Home) {
    let size = file.size();
    assert!(size <= layout().max_size(u64::MAX));
    let mut buf = vec![0; 100_000];
    for offset in [0, 4000, 112 * BLOCK - 5, 240 * BLOCK, size / 2, size.saturating_sub(70_000), size, u64::MAX] {
        allowed(file.read(offset, &mut buf));
        allowed(file.read(offset, &mut buf[..3]));
    }
    for offset in [0, size / 2, size.saturating_sub(1)] {
        allowed(file.seek(offset, true));
        allowed(file.seek(offset, false));
    }
    let reads = AtomicU64::new(0);
    let mut medium = Counted(home, &reads);
    let mut checked = Checked::default();
    allowed(file.scrub_header(&mut medium, &mut checked));
    let (mut next, mut rounds) = (Some(0), 0);
    while let Some(from) = next {
        next = allowed(file.scrub_blocks(&mut medium, from, &mut checked, &mut drop)).flatten();
        assert!(next.is_none_or(|next| next > from), "the scrub goes on");
        rounds += 1;
        assert!(rounds < 2000 && reads.load(Ordering::Relaxed) < MOST_READS, "the scrub does not end");
    }
    allowed(file.write(10, b"written"));
    allowed(file.write(size.saturating_sub(3), &[7; 9000]));
    allowed(file.punch(size / 3, 9000));
    allowed(file.allocate(size / 2, 5000, true));
    allowed(file.sync(false));
    allowed(files.checkpoint());
    allowed(file.truncate(size / 2));
    allowed(file.commit());
    allowed(file.truncate(0));
    allowed(file.sync(false));
}

fn survive(store: &MemoryStore, steps: &[Step], read_only: bool) {
    let store = Arc::new(store.snapshot());
    steps.iter().for_each(|s| apply(&store, s));
    let ((), most) = Counting::most(|| {
        let (opened, reports) = open_with(Config { read_only, ..config(false) }, store.clone());
        let Some((files, _)) = allowed(opened) else { return };
        for id in &IDS {
            let home = store.home(id).unwrap();
            match files.file(Arc::new(home.clone())) {
                Ok(file) => use_file(&files, &file, &home),
                Err(Error::Tampered(_)) => assert!(!reports.lock().is_empty()),
                Err(e) => drop(allowed::<()>(Err(e))),
            }
        }
        allowed(files.close());
    });
    assert!(most <= MOST_MEMORY, "{most} bytes");
}

#[test]
fn any_damage_to_homes_and_log_is_survived() {
    let volumes = volumes();
    let draw = |r: &mut Random| (0..=r.below(4)).map(|_| step(r)).collect();
    search("homes and log", 120, draw, |steps| {
        for (store, read_only) in [(&volumes[0], false), (&volumes[0], true), (&volumes[1], false)] {
            survive(store, steps, read_only);
        }
    });
}

#[test]
fn an_undamaged_volume_stays_within_the_bounds() {
    volumes().iter().for_each(|store| survive(store, &[], false));
}

/// A sector of a segment that says it begins a record of all that follows.
fn claim(segment: &mut [u8], at: usize) {
    let rest = (segment.len() - at) as u32;
    segment[at + 16..at + 20].copy_from_slice(b"kCR1");
    segment[at + 20..at + 24].copy_from_slice(&rest.to_le_bytes());
}

#[test]
fn a_segment_full_of_claims_of_records_is_refused_and_not_read_for_hours() {
    let [store, _] = volumes();
    store.with_segment(0, |s| {
        let mut end = RECORDS_AT as usize;
        while let Some(len) = claimed_len(&s[end..], s.len() - end) {
            end += len;
        }
        (end..s.len()).step_by(SECTOR).for_each(|at| claim(s, at));
    });
    let (opened, _) = open_with(config(false), Arc::new(store));
    assert!(matches!(opened, Err(Error::LogDamaged(what)) if what.contains("claims")));
}

#[test]
fn a_forged_commit_that_no_file_can_have_is_damage() {
    // The physical length; the header's image, of another length; the second image's home.
    for (at, value) in [(80, u64::MAX), (80, 5), (136, 77), (144, u64::MAX), (144, 1 << 60)] {
        let [store, _] = volumes();
        let damage = [Damage::Set { at, width: if at == 136 { 4 } else { 8 }, value }];
        segment(&store, 0, |s| forge_record(s, 0, &damage));
        let (opened, _) = open_with(config(false), Arc::new(store));
        assert!(matches!(opened, Err(Error::LogDamaged(what)) if what.contains("no file can have")), "{at}: {value}");
    }
}

#[test]
fn a_forged_segment_header_whose_numbers_cannot_go_on_is_none() {
    for (at, value) in [(24, u64::MAX), (32, u64::MAX), (40, u64::MAX), (32, 0), (24, 0)] {
        let [store, _] = volumes();
        segment(&store, 0, |s| {
            Damage::Set { at, width: 8, value }.apply(s, &[]);
            sign_segment(s);
        });
        let (opened, _) = open_with(config(false), Arc::new(store));
        assert!(matches!(opened, Err(Error::LogDamaged(_))), "{at}: {value}");
    }
}
