//! A real backing directory, damaged at random and by a forger who has the keys, below a volume in use: names, records,
//! sidecars, symlinks, xattrs, inodes of the wrong kind. No panic, no wait for ever, no errno that is none, no more memory
//! than a sound one takes, and the volume serves on.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
use common::*;
use kmsfs_format::names::seal_name;
use kmsfs_fuzz::{search, Counting, Damage, Random};
use kmsfs_namespace::ops::{Errno, FileSystem, NodeId, SetAttr, Writing};
use kmsfs_namespace::{Cursor, Finding, ScrubCounts, ScrubEnd, Scrubbing, Volume};
use rustix::fs::{mknodat, FileType, Mode, XattrFlags, CWD};
use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};

#[global_allocator]
static HEAP: Counting = Counting;

/// One request of a sound volume takes a tenth.
const MOST_MEMORY: i64 = 4 << 20;
/// In each of the directories: a file, a small one, a long name, a short and a long symlink, a fifo, a directory.
const NAMES: [&[u8]; 7] = [b"file", b"small", &[b'n'; 200], b"link", b"far", b"fifo", b"dir"];

#[derive(Clone, Debug)]
enum Step {
    /// The nth of an inode's xattrs; `sign`: with the MAC of an inode record.
    Xattr {
        of: usize,
        nth: u64,
        damage: Vec<Damage>,
        sign: bool,
    },
    NewXattr {
        of: usize,
        name: Vec<Damage>,
        len: u64,
    },
    DropXattr {
        of: usize,
        nth: u64,
    },
    /// The record of one inode for another.
    Record {
        from: usize,
        to: usize,
    },
    Rename {
        of: usize,
        damage: Vec<Damage>,
    },
    /// A long name's sidecar, or a long target's: its bytes, or what stands in its place.
    Aside {
        target: bool,
        with: Instead,
    },
    Replace {
        of: usize,
        with: Instead,
        keep_record: bool,
    },
    Bytes {
        of: usize,
        damage: Vec<Damage>,
    },
    Mode {
        of: usize,
        mode: u32,
    },
    Link {
        of: usize,
        damage: Vec<Damage>,
    },
}

#[derive(Clone, Debug)]
enum Instead {
    Nothing,
    Bytes(Vec<Damage>),
    Sparse(u64),
    Fifo,
    Directory,
    Symlink,
}

fn instead(r: &mut Random) -> Instead {
    match r.below(6) {
        0 => Instead::Nothing,
        1 => Instead::Bytes(Damage::some(r, &[])),
        2 => Instead::Sparse(r.number() % (1 << 40)),
        3 => Instead::Fifo,
        4 => Instead::Directory,
        _ => Instead::Symlink,
    }
}

fn step(r: &mut Random) -> Step {
    let of = r.below(NAMES.len() as u64) as usize;
    let fields = [(0, 1), (1, 1), (2, 8), (18, 2), (20, 4), (24, 4), (28, 8), (36, 8)];
    match r.below(14) {
        0..=4 => Step::Xattr { of, nth: r.below(4), damage: Damage::some(r, &fields), sign: r.one_in(2) },
        5 => Step::NewXattr { of, name: Damage::some(r, &[]), len: r.below(2000) },
        6 => Step::DropXattr { of, nth: r.below(4) },
        7 => Step::Record { from: r.below(NAMES.len() as u64) as usize, to: of },
        8 => Step::Rename { of, damage: Damage::some(r, &[]) },
        9 => Step::Aside { target: r.one_in(2), with: instead(r) },
        10 => Step::Replace { of, with: instead(r), keep_record: r.one_in(2) },
        11 => Step::Bytes { of, damage: Damage::some(r, &[(8, 2), (16, 8), (48, 8)]) },
        12 => Step::Mode { of, mode: r.below(0o10000) as u32 },
        _ => Step::Link { of, damage: Damage::some(r, &[]) },
    }
}

fn stored_in(dir: &Path, name: &[u8]) -> String {
    seal_name(&keys(), &record(dir).id, name).unwrap().stored
}

fn xattrs(path: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut names = vec![0; 65_536];
    let Ok(len) = rustix::fs::llistxattr(path, &mut names[..]) else { return Vec::new() };
    let names = names[..len].split(|b| *b == 0).filter(|n| n.starts_with(b"user.") || n.starts_with(b"trusted."));
    let value = |name: &[u8]| {
        let name = OsString::from_vec(name.to_vec());
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, &*name, &mut value[..]).ok()?;
        value.truncate(len);
        Some((name, value))
    };
    names.filter_map(value).collect()
}

/// Whether it took is no matter: what the backing file system refuses, nobody can put there.
fn put_xattr(path: &Path, name: &OsString, value: &[u8]) {
    let _ = rustix::fs::lsetxattr(path, &**name, value, XattrFlags::empty());
}

fn sign(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len().saturating_sub(16));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, keys().records.expose());
    let tag = aws_lc_rs::hmac::sign(&key, &[b"record", bytes.as_slice()].concat());
    bytes.extend_from_slice(&tag.as_ref()[..16]);
}

/// A name that a directory can hold.
fn damaged_name(stored: &str, damage: &[Damage]) -> OsString {
    let mut name = stored.as_bytes().to_vec();
    damage.iter().for_each(|d| d.apply(&mut name, b".t-~.name/kmsfs"));
    name.retain(|b| *b != b'/' && *b != 0);
    name.truncate(255);
    OsString::from_vec(if [&b""[..], b".", b".."].contains(&&name[..]) { b"~".to_vec() } else { name })
}

fn remove(path: &Path) {
    let _ = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn put_instead(path: &Path, with: &Instead) {
    let mut bytes = fs::symlink_metadata(path).ok().filter(|m| m.is_file()).and_then(|_| fs::read(path).ok());
    remove(path);
    match with {
        Instead::Nothing => {}
        Instead::Bytes(damage) => {
            let bytes = bytes.get_or_insert_default();
            damage.iter().for_each(|d| d.apply(bytes, &[0xFF; 300]));
            let _ = fs::write(path, bytes);
        }
        Instead::Sparse(len) => drop(fs::File::create(path).and_then(|f| f.set_len(*len))),
        Instead::Fifo => {
            let _ = mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0);
        }
        Instead::Directory => drop(fs::create_dir(path)),
        Instead::Symlink => drop(symlink("/dev/zero", path)),
    }
}

fn apply(backing: &Path, dir: &Path, stored: &[String], step: &Step) {
    let at = |of: &usize| dir.join(&stored[*of]);
    match step {
        Step::Xattr { of, nth, damage, sign: signed } => {
            let all = xattrs(&at(of));
            let Some((name, value)) = all.get(*nth as usize % all.len().max(1)) else { return };
            let mut value = value.clone();
            damage.iter().for_each(|d| d.apply(&mut value, &[0xFF; 200]));
            if *signed && name.to_str().is_some_and(|n| n.ends_with(".kmsfs")) {
                sign(&mut value);
            }
            put_xattr(&at(of), name, &value);
        }
        Step::NewXattr { of, name, len } => {
            let name = damaged_name("kmsfs.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", name).into_vec();
            put_xattr(&at(of), &OsString::from_vec([b"user.", &name[..]].concat()), &vec![1; *len as usize]);
            put_xattr(&at(of), &OsString::from_vec([b"trusted.", &name[..]].concat()), &vec![1; *len as usize]);
        }
        Step::DropXattr { of, nth } => {
            let all = xattrs(&at(of));
            let Some((name, _)) = all.get(*nth as usize % all.len().max(1)) else { return };
            let _ = rustix::fs::lremovexattr(at(of), &**name);
        }
        Step::Record { from, to } => {
            for (name, value) in
                xattrs(&at(from)).iter().filter(|(n, _)| n.to_str().is_some_and(|n| n.ends_with(".kmsfs")))
            {
                put_xattr(&at(to), name, value);
            }
        }
        Step::Rename { of, damage } => drop(fs::rename(at(of), dir.join(damaged_name(&stored[*of], damage)))),
        Step::Link { of, damage } => drop(fs::hard_link(at(of), dir.join(damaged_name(&stored[*of], damage)))),
        Step::Aside { target: false, with } => put_instead(&dir.join(format!("{}.name", stored[2])), with),
        Step::Aside { target: true, with } => {
            let all = xattrs(&at(&4));
            let Some((_, record)) = all.iter().find(|(n, _)| n == "trusted.kmsfs").filter(|(_, r)| r.len() > 18) else {
                return;
            };
            let id: String = record[2..18].iter().map(|b| format!("{b:02x}")).collect();
            put_instead(&backing.join(".kmsfs/links").join(id), with);
        }
        Step::Replace { of, with, keep_record } => {
            let before = xattrs(&at(of));
            put_instead(&at(of), with);
            if *keep_record {
                before.iter().for_each(|(name, value)| put_xattr(&at(of), name, value));
            }
        }
        Step::Bytes { of, damage } => {
            if fs::symlink_metadata(at(of)).is_ok_and(|m| m.is_file() && m.len() < 1 << 20) {
                put_instead(&at(of), &Instead::Bytes(damage.clone()));
                return;
            }
            if let Ok(target) = fs::read_link(at(of)) {
                let mut bytes = target.into_os_string().into_vec();
                damage.iter().for_each(|d| d.apply(&mut bytes, b"~"));
                bytes.retain(|b| *b != 0);
                let before = xattrs(&at(of));
                remove(&at(of));
                let _ = symlink(OsString::from_vec(bytes), at(of));
                before.iter().for_each(|(name, value)| put_xattr(&at(of), name, value));
            }
        }
        Step::Mode { of, mode } => {
            if fs::symlink_metadata(at(of)).is_ok_and(|m| !m.is_symlink()) {
                let _ = fs::set_permissions(at(of), fs::Permissions::from_mode(*mode));
            }
        }
    }
}

/// A directory of its own for each case; the kernel has forgotten all in it.
fn prepare(v: &Volume, name: &[u8]) -> NodeId {
    let dir = mkdir(v, R, name);
    let file = put(v, dir, NAMES[0], &[1; 20_000]);
    v.setxattr(file, b"user.colour", b"blue", 0, false).unwrap();
    v.setxattr(file, b"user.size", &[2; 300], 0, false).unwrap();
    let mut made = vec![file, put(v, dir, NAMES[1], b"small"), put(v, dir, NAMES[2], b"long")];
    made.push(v.symlink(ME, dir, NAMES[3], b"target").unwrap().node);
    made.push(v.symlink(ME, dir, NAMES[4], &[b't'; 2000]).unwrap().node);
    made.push(v.mknod(ME, dir, NAMES[5], libc::S_IFIFO | 0o644, 0, 0).unwrap().node);
    let inner = mkdir(v, dir, NAMES[6]);
    made.push(put(v, inner, b"inner", b"inner"));
    made.push(inner);
    // All at home, so that what is damaged there is what is read.
    v.files().checkpoint().unwrap();
    made.iter().for_each(|node| v.forget(*node, 1));
    dir
}

fn sound<T>(result: Result<T, Errno>) -> Option<T> {
    result.map_err(|e| assert!((1..512).contains(&e.0) && e.0 != libc::ENOSYS, "errno {}", e.0)).ok()
}

struct Everything;

impl Scrubbing for Everything {
    fn step(&mut self, _: &ScrubCounts, _: &Cursor, _: u64) -> bool {
        true
    }
    fn found(&mut self, _: Finding) {}
}

fn use_node(v: &Volume, dir: NodeId, name: &[u8]) {
    let Some(entry) = sound(v.lookup(dir, name)) else { return };
    let node = entry.node;
    sound(v.getattr(node, None));
    sound(v.readlink(node));
    let _ = sound(v.listxattr(node))
        .map(|names| names.split(|b| *b == 0).filter(|n| !n.is_empty()).for_each(|n| drop(sound(v.getxattr(node, n)))));
    sound(v.getxattr(node, b"user.colour"));
    sound(v.setxattr(node, b"user.new", b"new", 0, false));
    sound(v.removexattr(node, b"user.size"));
    sound(v.setattr(ME, node, &SetAttr { mode: Some(0o600), ..SetAttr::default() }));
    if let Some(handle) = sound(v.open(node, libc::O_RDWR as u32)) {
        let mut buf = vec![0; 30_000];
        sound(v.read(node, handle, 0, &mut buf));
        sound(v.write(node, handle, 5, b"more", Writing::default()));
        sound(v.flush(node, handle));
        sound(v.setattr(ME, node, &SetAttr { size: Some(9), handle: Some(handle), ..SetAttr::default() }));
        sound(v.fsync(node, handle, false));
        sound(v.release(node, handle));
    }
    sound(v.link(node, dir, b"again"));
    v.forget(node, 1);
}

fn use_all(v: &Volume, dir: NodeId) {
    for round in 0..2 {
        if let Some(handle) = sound(v.opendir(dir)) {
            let mut all = Listed { room: 100, plus: round == 1, ..Listed::default() };
            sound(v.readdir(dir, handle, 0, &mut all));
            all.entries.iter().flatten().for_each(|e| v.forget(e.node, 1));
            sound(v.releasedir(dir, handle));
        }
    }
    NAMES.iter().for_each(|name| use_node(v, dir, name));
    if let Some(inner) = sound(v.lookup(dir, NAMES[6])) {
        use_node(v, inner.node, b"inner");
        sound(v.rename(dir, NAMES[0], inner.node, b"moved", 0));
        sound(v.unlink(inner.node, b"inner"));
    }
    sound(v.rename(dir, NAMES[1], dir, NAMES[2], 0));
    sound(v.rename(dir, NAMES[3], dir, NAMES[4], 2));
    for name in NAMES {
        sound(v.unlink(dir, name));
        sound(v.rmdir(dir, name));
    }
}

#[test]
fn any_damage_below_a_volume_in_use_is_survived() {
    let backing = Backing::new();
    let volume = backing.open();
    let next = Cell::new(0);
    let draw = |r: &mut Random| (0..=r.below(4)).map(|_| step(r)).collect();
    search("backing directory", 40, draw, |steps| {
        let v = &volume;
        let name = format!("case {}", next.replace(next.get() + 1)).into_bytes();
        let dir = prepare(v, &name);
        let path: PathBuf = root_path(&backing, &name);
        let stored: Vec<String> = NAMES.iter().map(|name| stored_in(&path, name)).collect();
        steps.iter().for_each(|step| apply(&backing.path, &path, &stored, step));
        let ((), most) = Counting::most(|| {
            assert_eq!(v.scrub(None, ScrubCounts::default(), &mut Everything).map_err(|e| e.0), Ok(ScrubEnd::Done));
            use_all(v, dir);
        });
        assert!(most <= MOST_MEMORY, "{most} bytes");
        // Nothing of it hinders what is sound.
        put(v, R, b"sound", b"sound");
        assert_eq!(get_at(v, R, b"sound"), b"sound");
        v.unlink(R, b"sound").unwrap();
        backing.events();
        remove(&path);
    });
    let _ = volume.close();
    drop(volume);
    backing.open().close().unwrap();
}
