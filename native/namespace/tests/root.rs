//! The backing directory's own mount: no devices, the place it was named by, and its file system stays in use.
#![allow(clippy::unwrap_used)]

mod common;

use common::{attr_at, get_at, list, mkdir, put, Backing};
use kmsfs_namespace::backing::path;
use kmsfs_namespace::backing::root::Root;
use kmsfs_namespace::ops::{FileSystem, ROOT};
use rustix::fs::{fcntl_getfl, makedev, mkdirat, mknodat, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{mount, mount_bind, mount_change, unmount, MountFlags, MountPropagationFlags, UnmountFlags};

/// Major 1, minor 3: /dev/null.
const NULL: (u32, u32) = (1, 3);

#[test]
fn a_device_below_the_root_cannot_be_opened_and_everything_else_can() {
    let b = Backing::new();
    let at = |name: &str| b.path.join(name);
    let all = Mode::from_raw_mode(0o666);
    mknodat(CWD, at("device"), FileType::CharacterDevice, all, makedev(NULL.0, NULL.1)).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, all, 0).unwrap();
    std::fs::write(at("file"), "x").unwrap();
    let root = Root::open(&b.path).unwrap();
    assert!(root.no_devices);
    let open = |name| path::open(&root.dir, name, OFlags::RDONLY, 0).map(drop);
    assert_eq!([open("device"), open("fifo"), open("file")], [Err(Errno::ACCESS), Ok(()), Ok(())]);
}

#[test]
fn what_is_below_is_told_by_the_place_that_the_root_was_named_by() {
    let b = Backing::new();
    mkdirat(CWD, b.path.join("directory"), Mode::from_raw_mode(0o700)).unwrap();
    let root = Root::open(&b.path).unwrap();
    let place = b.path.to_str().unwrap();
    assert_eq!(root.place(&root.dir).unwrap(), place);
    let directory = path::entry(&root.dir, "directory").unwrap();
    assert!(fcntl_getfl(&directory).unwrap().contains(OFlags::PATH));
    assert_eq!(root.place(directory).unwrap(), format!("{place}/directory"));
}

#[test]
fn its_file_system_is_busy_while_it_is_open_and_may_be_unmounted_after() {
    let b = Backing::new();
    mount("none", &b.path, "tmpfs", MountFlags::empty(), None).unwrap();
    let root = Root::open(&b.path);
    let while_open = unmount(&b.path, UnmountFlags::empty());
    let opened = root.map(|root| root.no_devices);
    // Whatever was found, nothing stays mounted.
    let after = unmount(&b.path, UnmountFlags::empty());
    assert_eq!((while_open, opened, after), (Err(Errno::BUSY), Ok(true), Ok(())));
}

/// Unmounts at the end, whatever is found.
struct Bound(Backing);

impl Bound {
    /// A backing directory whose mount gives no other: open_tree(2) says EINVAL to what is unbindable.
    fn unbindable() -> Self {
        let b = Backing::new();
        mount_bind(&b.path, &b.path).unwrap();
        let bound = Bound(b);
        mount_change(&bound.0.path, MountPropagationFlags::UNBINDABLE).unwrap();
        bound
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = unmount(&self.0.path, UnmountFlags::DETACH);
    }
}

#[test]
fn without_a_mount_of_its_own_a_volume_is_read_and_written_all_the_same() {
    let bound = Bound::unbindable();
    let b = &bound.0;
    assert!(!Root::open(&b.path).unwrap().no_devices);
    for content in [b"first".as_slice(), b"second"] {
        let v = b.open();
        let dir = v.lookup(ROOT, b"directory").map_or_else(|_| mkdir(&v, ROOT, b"directory"), |e| e.node);
        put(&v, dir, content, content);
        v.link(v.lookup(dir, content).unwrap().node, ROOT, content).unwrap();
        drop(v);
        // What is opened now was looked up only: its descriptor is O_PATH, and cannot be read.
        let v = b.open();
        let dir = v.lookup(ROOT, b"directory").unwrap().node;
        assert_eq!(get_at(&v, dir, content), content);
        assert_eq!(attr_at(&v, ROOT, content).nlink, 2);
        v.unlink(ROOT, content).unwrap();
        assert_eq!(get_at(&v, dir, content), content);
    }
    let v = b.open();
    assert_eq!(list(&v, ROOT, 9), [b"directory"]);
    assert_eq!(b.events(), Vec::<String>::new());
}
