//! Damaged bytes of every kind that the format knows: refused or read, never a panic, never more memory than they have
//! bytes. Most are sealed or signed again after the damage, so that what is behind the MAC is reached.
#![allow(clippy::unwrap_used, clippy::panic)]

use aes_siv::siv::Aes256Siv;
use aes_siv::KeyInit;
use aws_lc_rs::hmac;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use kmsfs_format::block::{AeadKey, Entry, FileKey, ENTRY_LEN};
use kmsfs_format::commit::{self, Builder, Commit, Straight, SECTOR};
use kmsfs_format::header::{self, Root};
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_format::layout::{Layout, DIRECT};
use kmsfs_format::names;
use kmsfs_format::random::Nonces;
use kmsfs_format::record::{Device, Kind, Owner, Record, MAX_BINDINGS};
use kmsfs_format::segment::{SegmentHeader, SEGMENT_HEADER_LEN};
use kmsfs_fuzz::{search, Counting, Damage};

#[global_allocator]
static HEAP: Counting = Counting;

const ID: [u8; 16] = [3; 16];
/// What reading `bytes` of anything may take: a copy or two of them, and some room.
fn within(bytes: usize, most: i64) {
    assert!(most <= 4 * bytes as i64 + 16_384, "{most} bytes for an input of {bytes}");
}

fn keys() -> DomainKeys {
    DomainKeys::derive(&[1; 16], &Secret::take(&mut [2; 32])).unwrap()
}

fn damaged(steps: &[Damage], good: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    steps.iter().for_each(|step| step.apply(&mut bytes, other));
    bytes
}

fn sign(key: &Secret<32>, message: &[u8]) -> [u8; 16] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    hmac::sign(&key, message).as_ref()[..16].try_into().unwrap()
}

fn sealed_header(size: u64) -> [u8; 4096] {
    let mut root = Root::empty();
    root.size = size;
    root.direct[3] = Entry::new(7, &[1; 12], &[2; 16]);
    let mut page = [0; 4096];
    let key = FileKey::derive(&keys(), &ID, 7).unwrap();
    header::seal(Layout::new(12).unwrap(), &ID, &[1; 16], 5, &root, &key, &mut page).unwrap();
    page
}

#[test]
fn header_pages_open_to_a_size_that_the_layout_holds_or_not_at_all() {
    let keys = keys();
    let (good, other) = (sealed_header(1_000_000), sealed_header(3));
    let fields = [(0, 8), (8, 2), (10, 1), (11, 1), (12, 4), (16, 8), (32, 8), (48, 8), (56, 8), (88, 4), (120, 8)];
    let draw = |r: &mut kmsfs_fuzz::Random| (Damage::some(r, &fields), Damage::some(r, &[(0, 8), (8, 4), (3592, 4)]));
    search(
        "header",
        3000,
        |r| vec![draw(r)],
        |steps| {
            for (clear, sealed) in steps {
                // As it is; and with the sealed part changed and sealed again, under a clear part that is.
                let Ok(page) = <[u8; 4096]>::try_from(damaged(clear, &good, &other)) else { continue };
                let Ok(parsed) = header::parse(&page) else { continue };
                let material = keys.file(&parsed.file_id, parsed.epoch).unwrap();
                let key = FileKey::derive(&keys, &parsed.file_id, parsed.epoch).unwrap();
                let (as_it_is, most) = Counting::most(|| header::open(&page, &key).is_ok());
                within(4096, most);
                assert!(!as_it_is || page == good || page == other);

                let mut forged = page;
                let mut plain = [0u8; 3976];
                let raw = AeadKey::new(&material.key).unwrap();
                raw.open(good[92..104].try_into().unwrap(), &good[..92], &good[120..], &good[104..120], &mut plain)
                    .ok();
                let mut plain = damaged(sealed, &plain, &[0xFF; 3976]);
                plain.resize(3976, 0);
                forged[56..88].copy_from_slice(&material.commitment);
                let tag = raw.seal_with([9; 12], &forged[..92], &mut plain).unwrap();
                forged[92..104].fill(9);
                forged[104..120].copy_from_slice(&tag);
                forged[120..].copy_from_slice(&plain);
                let Ok(root) = header::open(&forged, &key) else { continue };
                let layout = Layout::new(parsed.block_shift).unwrap();
                assert_eq!(layout.size_of(layout.physical(root.size)), Some(root.size));
                for index in [0, DIRECT, layout.blocks(root.size).saturating_sub(1)] {
                    assert!(layout.path(index).steps().iter().all(|s| (s.slot as u64) < layout.fanout()));
                }
            }
        },
    );
}

#[test]
fn blocks_and_nodes_open_unchanged_or_not_at_all() {
    let keys = keys();
    let key = FileKey::derive(&keys, &ID, 1).unwrap();
    let plain: Vec<u8> = (0..4096).map(|i| (i % 251) as u8).collect();
    let mut sealed = plain.clone();
    let good = key.seal(1, 112, &mut sealed, &mut Nonces::of(1)).unwrap();
    let draw =
        |r: &mut kmsfs_fuzz::Random| (Damage::some(r, &[]), Damage::some(r, &[(0, 4), (4, 8), (16, 8)]), r.number());
    search(
        "node",
        3000,
        |r| vec![draw(r)],
        |steps| {
            for (content, of_entry, index) in steps {
                let bytes = damaged(content, &sealed, &plain);
                let mut raw = damaged(of_entry, good.bytes(), &[0xFF; ENTRY_LEN]);
                raw.resize(ENTRY_LEN, 0);
                let changed = Entry::from_bytes(raw.try_into().unwrap());
                for (level, index, entry) in [(1, 112, good), (1, 112, changed), (*index as u8, *index, good)] {
                    let mut out = vec![0; bytes.len()];
                    let same_seal = entry.bytes()[4..] == good.bytes()[4..];
                    if key.open(level, index, &entry, &bytes, &mut out).is_ok() {
                        assert!(bytes == sealed && out == plain && (level, index) == (1, 112) && same_seal);
                    }
                }
                // Whatever a node holds are entries.
                let node = damaged(content, &plain, &sealed);
                (0..node.len() / ENTRY_LEN).for_each(|slot| assert!(Entry::at(&node, slot).tag().len() == 16));
            }
        },
    );
}

#[test]
fn layouts_answer_every_number() {
    search(
        "layout",
        20_000,
        |r| vec![r.number()],
        |steps| {
            for &n in steps {
                for shift in [12, 14, 16] {
                    let layout = Layout::new(shift).unwrap();
                    if let Some(size) = layout.size_of(n) {
                        assert_eq!(layout.physical(size), n);
                    }
                    let max = layout.max_size(n);
                    assert!(layout.physical(max) <= n.max(4096));
                    if n <= layout.max_size(u64::MAX) {
                        assert_eq!(layout.size_of(layout.physical(n)), Some(n), "size {n}");
                        assert!(layout.stored_len(n >> shift, n) as u64 <= layout.block());
                    }
                }
                assert!(Layout::new(n as u8).is_none_or(|l| [12, 14, 16].contains(&l.shift())));
            }
        },
    );
}

#[test]
fn segment_headers_signed_again_after_damage_stay_within_their_bounds() {
    let mac = keys().log_mac().unwrap();
    let header = |sequence| SegmentHeader {
        uuid: [1; 16],
        sequence,
        first_commit: 9,
        checkpointed: 8,
        volume_generation: 1,
        salt: [4; 32],
        previous_mac: [5; 16],
        root_handle_kind: 1,
        root_handle: vec![6; 20],
        file_system: [7; 16],
    };
    let (good, other) = (header(3).encode(&mac), header(4).encode(&mac));
    let fields = [(0, 8), (8, 8), (24, 8), (32, 8), (40, 8), (48, 8), (104, 2), (106, 2), (108, 4), (240, 8)];
    search(
        "segment header",
        4000,
        |r| Damage::some(r, &fields),
        |steps| {
            let mut bytes = damaged(steps, &good, &other);
            bytes.resize(SEGMENT_HEADER_LEN, 0);
            let mut bytes: [u8; SEGMENT_HEADER_LEN] = bytes.try_into().unwrap();
            assert!(bytes == good || bytes == other || SegmentHeader::decode(&bytes, &mac).is_none());
            let tag = sign(&mac, &bytes[..496]);
            bytes[496..].copy_from_slice(&tag);
            let (read, most) = Counting::most(|| SegmentHeader::decode(&bytes, &mac));
            within(SEGMENT_HEADER_LEN, most);
            assert!(read.is_none_or(|h| h.root_handle.len() <= 128));
        },
    );
}

fn log_record(number: u64, key: &AeadKey) -> Vec<u8> {
    let entry = Entry::new(1, &[number as u8; 12], &[8; 16]);
    let commit = Commit {
        number,
        durable_through: number - 1,
        file_id: ID,
        handle_kind: 1,
        handle: vec![7; 13],
        physical: 12_288,
        mtime: Some((-1, 999_999_999)),
        punched: vec![(8192, 4096), (1 << 40, 4096)],
        straight: vec![Straight { index: 1, len: 4096, entry }; 3],
        images: Vec::new(),
    };
    let images: [(u64, &[u8]); 3] = [(0, &[1; 4096]), (4096, &[2; 1001]), (8192, &[])];
    let mut builder = Builder::new(&commit, &images);
    builder.finish(number, number - 1, &[9; 16], key).unwrap().0.to_vec()
}

fn sign_record(bytes: &mut [u8], key: &AeadKey) {
    if bytes.len() < SECTOR {
        return;
    }
    let len = commit::claimed_len(bytes, bytes.len()).unwrap_or(bytes.len());
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&bytes[24..32]);
    let tag = key.seal_with(nonce, &bytes[16..len], &mut []).unwrap();
    bytes[..16].copy_from_slice(&tag);
}

#[test]
fn log_records_signed_again_after_damage_hold_nothing_beyond_themselves() {
    let key = AeadKey::new(&keys().segment(&[4; 32]).unwrap()).unwrap();
    let (good, other) = (log_record(7, &key), log_record(8, &key));
    let fields = [
        (16, 4),
        (20, 4),
        (24, 8),
        (32, 8),
        (72, 2),
        (74, 2),
        (76, 4),
        (80, 8),
        (100, 4),
        (104, 4),
        (108, 4),
        (128, 8),
        (136, 8),
        (160, 8),
        (168, 4),
        (304, 8),
        (312, 4),
        (328, 4),
    ];
    search(
        "log record",
        4000,
        |r| Damage::some(r, &fields),
        |steps| {
            let mut bytes = damaged(steps, &good, &other);
            assert!(bytes.starts_with(&good) || bytes.starts_with(&other) || commit::read(&bytes, &key).is_none());
            sign_record(&mut bytes, &key);
            let (read, most) = Counting::most(|| commit::read(&bytes, &key));
            within(bytes.len(), most);
            if let Some(read) = read {
                assert!(read.len <= bytes.len() && read.len.is_multiple_of(SECTOR));
                assert!(read.commit.images.iter().all(|i| (i.at as usize + i.len as usize) <= read.len));
                assert!(read.commit.handle.len() <= 128);
            }
        },
    );
}

#[test]
fn inode_records_signed_again_after_damage_are_refused_or_encode_to_the_same_bytes() {
    let keys = keys();
    let owner = Owner { mode: 0o4755, uid: 1000, gid: 100 };
    let mut full = Record::new(Kind::Directory, ID, owner, Device::default());
    (full.old, full.acl, full.old_acl) = (Some(owner), Some([1; 16]), Some([2; 16]));
    full.bindings = (0..MAX_BINDINGS as u8).map(|n| [n; 8]).collect();
    let node = Record::new(Kind::BlockDevice, ID, owner, Device { major: 8, minor: 1 });
    let samples = [full.encode(&keys), node.encode(&keys), Record { bindings: vec![[1; 8]], ..node }.encode(&keys)];
    let fields = [(0, 1), (1, 1), (2, 8), (18, 2), (20, 4), (24, 4), (28, 4), (32, 4), (36, 2), (38, 4)];
    let draw = |r: &mut kmsfs_fuzz::Random| (r.below(3) as usize, Damage::some(r, &fields));
    search(
        "inode record",
        6000,
        |r| vec![draw(r)],
        |steps| {
            for (sample, steps) in steps {
                let good = &samples[*sample];
                let mut bytes = damaged(steps, good, &samples[(sample + 1) % 3]);
                let (known, most) = Counting::most(|| Record::decode(&keys, &bytes).is_ok());
                within(bytes.len(), most);
                assert!(!known || samples.contains(&bytes));
                bytes.truncate(bytes.len().saturating_sub(16));
                let tag = sign(&keys.records, &[b"record", bytes.as_slice()].concat());
                bytes.extend_from_slice(&tag);
                if let Ok(record) = Record::decode(&keys, &bytes) {
                    assert_eq!(record.encode(&keys), bytes);
                    assert!(record.bindings.len() <= MAX_BINDINGS);
                }
            }
        },
    );
}

/// A stored name, target or xattr name, its sidecar or xattr value, and the plaintext to be sealed in their place.
#[derive(Clone, Debug)]
struct Stored {
    which: usize,
    name: Vec<Damage>,
    aside: Vec<Damage>,
    plain: Vec<Damage>,
}

fn siv(key: &[u8; 64], ad: &[u8], plain: &[u8]) -> Vec<u8> {
    Aes256Siv::new(key.into()).encrypt([ad], plain).unwrap()
}

#[test]
fn names_targets_and_xattrs_open_to_what_can_be_sealed_or_not_at_all() {
    let keys = keys();
    let plain: [&[u8]; 4] = [b"a", b"a name of some length", &[b'x'; 160], &[0xC3; 255]];
    let draw = |r: &mut kmsfs_fuzz::Random| {
        let (name, aside) = (Damage::some(r, &[]), Damage::some(r, &[]));
        Stored { which: r.below(4) as usize, name, aside, plain: Damage::some(r, &[(0, 1), (15, 1), (31, 2)]) }
    };
    search(
        "names",
        4000,
        |r| vec![draw(r)],
        |steps| {
            for Stored { which, name, aside, plain: change } in steps {
                let good = names::seal_name(&keys, &ID, plain[*which]).unwrap();
                let other = names::seal_name(&keys, &ID, plain[(which + 1) % 4]).unwrap();
                let stored = damaged(name, good.stored.as_bytes(), other.stored.as_bytes());
                let beside =
                    damaged(aside, good.sidecar.as_deref().unwrap_or(b""), other.sidecar.as_deref().unwrap_or(b""));
                for beside in [None, Some(beside.as_slice()), good.sidecar.as_deref()] {
                    let size = stored.len() + beside.map_or(0, <[u8]>::len);
                    let (opened, most) = Counting::most(|| names::open_name(&keys, &ID, &stored, beside));
                    within(size, most);
                    if let Ok(opened) = opened {
                        assert_eq!(names::seal_name(&keys, &ID, &opened).unwrap().stored.as_bytes(), stored);
                    }
                    let _ = names::open_target(&keys, &ID, &stored, beside);
                }
                let _ = names::open_xattr_name(&keys, &ID, &stored);
                let _ = names::open_xattr_value(&keys, &ID, b"user.a", &beside);

                // Sealed with the right key, whatever it says.
                let changed = damaged(change, &[plain[*which], &[0; 16]].concat(), plain[(which + 1) % 4]);
                let sealed = siv(keys.names.expose(), &ID, &changed);
                let stored = URL_SAFE_NO_PAD.encode(&sealed);
                if let Ok(opened) = names::open_name(&keys, &ID, stored.as_bytes(), None) {
                    assert!(names::is_name(&opened));
                    assert_eq!(siv(keys.names.expose(), &ID, &changed), sealed);
                }
                let stored = URL_SAFE_NO_PAD.encode(siv(keys.xattrs.expose(), &ID, &changed));
                if let Ok(opened) = names::open_xattr_name(&keys, &ID, stored.as_bytes()) {
                    assert!(!opened.is_empty() && !opened.contains(&0));
                }
                let value = siv(keys.xattrs.expose(), &[ID.as_slice(), b"user.a"].concat(), &changed);
                let (opened, most) = Counting::most(|| names::open_xattr_value(&keys, &ID, b"user.a", &value));
                within(value.len(), most);
                assert_eq!(opened.is_ok(), changed.len() >= 16);
                let target = siv(keys.links.expose(), &ID, &changed);
                let opened = names::open_target(&keys, &ID, b"~", Some(&target));
                assert_eq!(opened.is_ok(), changed.len() >= 16);
            }
        },
    );
}

#[test]
fn a_header_with_a_size_beyond_the_last_subtree_is_refused() {
    let key = FileKey::derive(&keys(), &ID, 7).unwrap();
    let largest = Layout::new(12).unwrap().largest();
    assert!(header::open(&sealed_header(largest), &key).is_ok());
    for size in [largest + 1, (1 << 53) - 1, 1 << 53, u64::MAX] {
        assert!(header::open(&sealed_header(size), &key).is_err(), "{size}");
    }
}

#[test]
fn commits_that_no_file_can_have_are_told() {
    let layout = Layout::new(12).unwrap();
    let end = layout.physical(layout.largest());
    let image = commit::Image { home: 0, len: 4096, at: 0 };
    let straight = Straight { index: 0, len: 4096, entry: Entry::HOLE };
    let sound = Commit {
        number: 1,
        durable_through: 0,
        file_id: ID,
        handle_kind: 1,
        handle: Vec::new(),
        physical: end,
        mtime: None,
        punched: vec![(0, u64::MAX)],
        straight: vec![straight],
        images: vec![image, commit::Image { home: end, len: 1, at: 0 }],
    };
    assert!(sound.can_be(layout));
    let cannot = |change: &dyn Fn(&mut Commit)| {
        let mut commit = sound.clone();
        change(&mut commit);
        assert!(!commit.can_be(layout));
    };
    cannot(&|c| c.physical = end + 1);
    cannot(&|c| c.physical = 4095);
    cannot(&|c| c.straight[0].len = 4097);
    cannot(&|c| c.straight[0].len = 0);
    cannot(&|c| c.straight[0].index = layout.blocks(layout.largest()));
    cannot(&|c| c.images[1].home = end + 1);
    cannot(&|c| c.images[1].len = 4097);
    cannot(&|c| c.images[0].len = 4095);
    cannot(&|c| c.images.clear());
}
