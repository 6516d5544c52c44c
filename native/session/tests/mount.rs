//! A session serving a real mount, used through the kernel.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/mount.rs"]
mod mount;

use kmsfs_session::{Ended, Options};
use memory::Memory;
use mount::Mount;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;

fn mounted(options: Options) -> Option<(Arc<Memory>, Mount)> {
    let memory = Arc::new(Memory::new());
    let mount = Mount::new(memory.clone(), options)?;
    Some((memory, mount))
}

fn with(writeback: bool) -> Option<(Arc<Memory>, Mount)> {
    mounted(Options { writeback, ..Options::default() })
}

fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

fn checked(result: i64) -> io::Result<u64> {
    u64::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn seek(file: &File, offset: i64, whence: i32) -> io::Result<u64> {
    // SAFETY: lseek takes no pointers.
    checked(unsafe { libc::lseek(file.as_raw_fd(), offset, whence) })
}

fn fallocate(file: &File, mode: i32, offset: i64, length: i64) -> io::Result<u64> {
    // SAFETY: fallocate takes no pointers.
    checked(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) }.into())
}

fn setxattr(file: &Path, name: &CStr, value: &[u8], flags: i32) -> io::Result<u64> {
    // SAFETY: the strings are NUL-ended, the value has the length given, and all outlive the call.
    checked(unsafe {
        libc::setxattr(path(file).as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags).into()
    })
}

fn getxattr(file: &Path, name: &CStr, room: &mut [u8]) -> io::Result<u64> {
    // SAFETY: the strings are NUL-ended, the buffer has the length given, and all outlive the call.
    checked(unsafe { libc::getxattr(path(file).as_ptr(), name.as_ptr(), room.as_mut_ptr().cast(), room.len()) as i64 })
}

fn renameat2(from: &Path, to: &Path, flags: u32) -> io::Result<u64> {
    // SAFETY: both strings are NUL-ended and outlive the call.
    checked(unsafe {
        libc::renameat2(libc::AT_FDCWD, path(from).as_ptr(), libc::AT_FDCWD, path(to).as_ptr(), flags).into()
    })
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn what_is_written_is_read_back_with_and_without_the_writeback_cache() {
    for writeback in [true, false] {
        let Some((_memory, mount)) = with(writeback) else { return };
        let big: Vec<u8> = (0..5_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(mount.at("big"), &big).unwrap();
        let mut file = OpenOptions::new().read(true).write(true).open(mount.at("big")).unwrap();
        file.write_all_at(b"patched", 4093).unwrap();
        file.sync_all().unwrap();
        let mut expected = big.clone();
        expected[4093..4100].copy_from_slice(b"patched");
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert!(read == expected);
        file.set_len(10).unwrap();
        assert_eq!(fs::read(mount.at("big")).unwrap(), &expected[..10]);
        let mut appender = OpenOptions::new().append(true).open(mount.at("big")).unwrap();
        appender.write_all(b"one").unwrap();
        appender.write_all(b"two").unwrap();
        drop(appender);
        assert_eq!(fs::metadata(mount.at("big")).unwrap().len(), 16);
        assert_eq!(&fs::read(mount.at("big")).unwrap()[10..], b"onetwo");
        fs::write(mount.at("big"), b"shorter").unwrap();
        assert_eq!(fs::read(mount.at("big")).unwrap(), b"shorter");
        drop(file);
        assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
    }
}

#[test]
fn direct_io_and_mmap_sized_reads_cross_every_request_border() {
    let Some((_memory, mount)) = with(true) else { return };
    let data: Vec<u8> = (0..3 << 20).map(|n: u32| (n / 4096) as u8 ^ n as u8).collect();
    fs::write(mount.at("f"), &data).unwrap();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(mount.at("f")).unwrap();
    let mut room = vec![0u8; (3 << 20) + 4096];
    let skew = room.as_ptr().align_offset(4096);
    let aligned = &mut room[skew..skew + (3 << 20)];
    file.read_exact_at(aligned, 0).unwrap();
    assert!(*aligned == *data);
}

#[test]
fn a_directory_of_5000_lists_whole_removes_whole_and_lists_again() {
    for cache_directories in [true, false] {
        let Some((memory, mount)) = mounted(Options { cache_directories, ..Options::default() }) else { return };
        fs::create_dir(mount.at("d")).unwrap();
        let names: BTreeSet<String> = (0..5000).map(|n| format!("{n:05}-{}", "x".repeat(n % 200))).collect();
        for name in &names {
            File::create(mount.at("d").join(name)).unwrap();
        }
        let list = || -> BTreeSet<String> {
            let entries = fs::read_dir(mount.at("d")).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        for _ in 0..3 {
            assert!(list() == names);
        }
        // Removing while reading, as rm -r does: nothing may be passed over.
        let mut left = names.len();
        while left > 0 {
            let before = left;
            for entry in fs::read_dir(mount.at("d")).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
                left -= 1;
                if left.is_multiple_of(1700) {
                    File::create(mount.at("d/added")).unwrap();
                    fs::remove_file(mount.at("d/added")).unwrap();
                }
            }
            assert!(left < before, "{left} entries are not listed");
        }
        assert_eq!(list().len(), 0);
        File::create(mount.at("d/last")).unwrap();
        assert_eq!(list(), BTreeSet::from(["last".to_owned()]));
        fs::remove_file(mount.at("d/last")).unwrap();
        fs::remove_dir(mount.at("d")).unwrap();
        assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
        assert_eq!(memory.open.load(Ordering::SeqCst), 0, "every handle comes back");
    }
}

#[test]
fn telldir_positions_hold_after_seekdir_in_a_kept_listing() {
    let Some((_memory, mount)) = with(true) else { return };
    for n in 0..500 {
        File::create(mount.at(&format!("{n:03}"))).unwrap();
    }
    for _ in 0..2 {
        // SAFETY: the string is NUL-ended; the stream is closed below and each entry is read before the next call.
        unsafe {
            let dir = libc::opendir(path(&mount.path).as_ptr());
            assert!(!dir.is_null());
            let mut seen = Vec::new();
            loop {
                let position = libc::telldir(dir);
                let entry = libc::readdir(dir);
                if entry.is_null() {
                    break;
                }
                seen.push((position, CStr::from_ptr((*entry).d_name.as_ptr()).to_owned()));
            }
            assert_eq!(seen.len(), 502);
            for (position, name) in seen.iter().rev().step_by(37) {
                libc::seekdir(dir, *position);
                let entry = libc::readdir(dir);
                assert!(!entry.is_null());
                assert_eq!(CStr::from_ptr((*entry).d_name.as_ptr()), name.as_c_str());
            }
            libc::closedir(dir);
        }
    }
}

#[test]
fn names_links_and_renames_follow_the_system_calls() {
    let Some((_memory, mount)) = with(true) else { return };
    assert_eq!(errno(fs::metadata(mount.at("a"))), libc::ENOENT);
    fs::write(mount.at("a"), b"a").unwrap();
    assert_eq!(fs::read(mount.at("a")).unwrap(), b"a", "the remembered absence is forgotten");
    fs::write(mount.at("b"), b"b").unwrap();
    assert_eq!(errno(renameat2(&mount.at("a"), &mount.at("b"), libc::RENAME_NOREPLACE)), libc::EEXIST);
    renameat2(&mount.at("a"), &mount.at("b"), libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(fs::read(mount.at("a")).unwrap(), b"b");
    fs::rename(mount.at("a"), mount.at("b")).unwrap();
    assert_eq!(fs::read(mount.at("b")).unwrap(), b"b");
    assert_eq!(errno(fs::metadata(mount.at("a"))), libc::ENOENT);
    fs::hard_link(mount.at("b"), mount.at("c")).unwrap();
    assert_eq!(fs::metadata(mount.at("c")).unwrap().nlink(), 2);
    let target = "t/".repeat(2000);
    std::os::unix::fs::symlink(&target, mount.at("s")).unwrap();
    for _ in 0..2 {
        assert_eq!(fs::read_link(mount.at("s")).unwrap(), Path::new(&target));
    }
    fs::create_dir(mount.at("d")).unwrap();
    assert_eq!(errno(fs::remove_dir(mount.path.join("d/../b"))), libc::ENOTDIR);
    let long = "n".repeat(255);
    fs::write(mount.at(&long), b"").unwrap();
    assert_eq!(errno(fs::write(mount.at(&"n".repeat(256)), b"")), libc::ENAMETOOLONG);
    fs::remove_file(mount.at(&long)).unwrap();
    // SAFETY: the string is NUL-ended and outlives the call.
    checked(
        unsafe { libc::mknod(path(&mount.at("null")).as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(259, 70_000)) }
            .into(),
    )
    .unwrap();
    assert_eq!(fs::metadata(mount.at("null")).unwrap().rdev(), libc::makedev(259, 70_000));
}

#[test]
fn attributes_are_set_to_the_nanosecond_and_one_by_one() {
    let Some((_memory, mount)) = with(true) else { return };
    let file = mount.at("f");
    fs::write(&file, b"x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    let stamp = |secs, nanos| libc::timespec { tv_sec: secs, tv_nsec: nanos };
    let set = |times: [libc::timespec; 2]| {
        // SAFETY: the string is NUL-ended, the array has two elements, both outlive the call.
        checked(unsafe { libc::utimensat(libc::AT_FDCWD, path(&file).as_ptr(), times.as_ptr(), 0) }.into()).unwrap()
    };
    set([stamp(-5, 999_999_999), stamp(1_234_567_890, 123_456_789)]);
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.atime(), meta.atime_nsec()), (-5, 999_999_999));
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_234_567_890, 123_456_789));
    set([stamp(7, 8), stamp(0, libc::UTIME_OMIT)]);
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.atime(), meta.atime_nsec()), (7, 8));
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_234_567_890, 123_456_789));
    set([stamp(0, libc::UTIME_OMIT), stamp(0, libc::UTIME_NOW)]);
    assert!(fs::metadata(&file).unwrap().mtime() > 1_600_000_000);
    std::os::unix::fs::chown(&file, Some(12), Some(34)).unwrap();
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (12, 34));
    assert_eq!(meta.mode() & 0o777, 0o751);
}

#[test]
fn holes_are_punched_found_and_copied() {
    // One thread: a seek waits for the kernel's dirty pages, which that thread must be free to take.
    let Some((_memory, mount)) = mounted(Options { threads: 1, ..Options::default() }) else { return };
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(mount.at("f")).unwrap();
    file.write_all_at(&[7; 40960], 0).unwrap();
    fallocate(&file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 8192, 8192).unwrap();
    assert_eq!(seek(&file, 0, libc::SEEK_HOLE).unwrap(), 8192);
    assert_eq!(seek(&file, 8192, libc::SEEK_DATA).unwrap(), 16384);
    assert_eq!(errno(seek(&file, 40960, libc::SEEK_DATA)), libc::ENXIO);
    let mut part = [1; 4];
    file.read_exact_at(&mut part, 8190).unwrap();
    assert_eq!(part, [7, 7, 0, 0]);
    fallocate(&file, 0, 0, 50000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 50000);
    let mut copy = OpenOptions::new().read(true).write(true).create_new(true).open(mount.at("g")).unwrap();
    let mut from = 0i64;
    while from < 50000 {
        // SAFETY: `from` outlives the call; a null offset means the file's own.
        let copied = checked(unsafe {
            libc::copy_file_range(file.as_raw_fd(), &mut from, copy.as_raw_fd(), std::ptr::null_mut(), 60000, 0) as i64
        });
        assert!(copied.unwrap() > 0);
    }
    copy.seek(SeekFrom::Start(0)).unwrap();
    let mut bytes = Vec::new();
    copy.read_to_end(&mut bytes).unwrap();
    assert!(bytes == fs::read(mount.at("f")).unwrap());
}

#[test]
fn extended_attributes_keep_the_size_protocol() {
    let Some((_memory, mount)) = with(true) else { return };
    let file = mount.at("f");
    fs::write(&file, b"").unwrap();
    let value: Vec<u8> = (0..60_000u32).map(|n| n as u8).collect();
    setxattr(&file, c"user.big", &value, 0).unwrap();
    setxattr(&file, c"user.empty", b"", libc::XATTR_CREATE).unwrap();
    assert_eq!(errno(setxattr(&file, c"user.empty", b"", libc::XATTR_CREATE)), libc::EEXIST);
    assert_eq!(errno(setxattr(&file, c"user.none", b"", libc::XATTR_REPLACE)), libc::ENODATA);
    assert_eq!(getxattr(&file, c"user.big", &mut []).unwrap(), 60_000);
    assert_eq!(errno(getxattr(&file, c"user.big", &mut [0; 100])), libc::ERANGE);
    let mut room = vec![0; 65_536];
    assert_eq!(getxattr(&file, c"user.big", &mut room).unwrap(), 60_000);
    assert!(room[..60_000] == value);
    assert_eq!(getxattr(&file, c"user.empty", &mut room).unwrap(), 0);
    // SAFETY: the string is NUL-ended, the buffer has the length given, both outlive the call.
    let length = checked(unsafe { libc::listxattr(path(&file).as_ptr(), room.as_mut_ptr().cast(), room.len()) } as i64);
    assert_eq!(&room[..length.unwrap() as usize], b"user.big\0user.empty\0");
    // SAFETY: both strings are NUL-ended and outlive the call.
    checked(unsafe { libc::removexattr(path(&file).as_ptr(), c"user.big".as_ptr()) }.into()).unwrap();
    assert_eq!(errno(getxattr(&file, c"user.big", &mut room)), libc::ENODATA);
}

#[test]
fn an_unnamed_file_gets_a_name_or_goes() {
    let Some((_memory, mount)) = with(true) else { return };
    let open = || OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(&mount.path);
    let file = open().unwrap();
    file.write_all_at(b"unnamed", 0).unwrap();
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let to = path(&mount.at("named"));
    // SAFETY: both strings are NUL-ended and outlive the call.
    let linked =
        unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    checked(linked.into()).unwrap();
    drop(file);
    assert_eq!(fs::read(mount.at("named")).unwrap(), b"unnamed");
    drop(open().unwrap());
    assert_eq!(fs::read_dir(&mount.path).unwrap().count(), 1);
}

#[test]
fn a_panic_is_that_requests_eio_and_nothing_more() {
    let Some((memory, mount)) = mounted(Options { threads: 1, ..Options::default() }) else { return };
    fs::write(mount.at("panic"), [1; 10]).unwrap();
    // Out of the page cache: the read must reach the file system.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(mount.at("panic")).unwrap();
    for _ in 0..3 {
        assert_eq!(errno(file.read_at(&mut [0; 4096], 0)), libc::EIO);
    }
    drop(file);
    fs::write(mount.at("fine"), b"fine").unwrap();
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
    assert_eq!(memory.destroyed.load(Ordering::SeqCst), 1);
}

/// As many readers as there are threads in all, each of whom is answered only when all of them were taken; in rounds.
fn readers_wait_for_each_other(threads: usize, more_threads: usize, rounds: usize) {
    let readers = threads + more_threads;
    let memory = Arc::new(Memory::expecting(readers));
    let Some(mount) = Mount::new(memory, Options { threads, more_threads, ..Options::default() }) else { return };
    fs::write(mount.at("together"), [1; 10]).unwrap();
    let (done, all) = mpsc::channel();
    // Once when few requests came before, and again after the threads were parked.
    for round in 0..rounds {
        for _ in 0..readers {
            let (name, done) = (mount.at("together"), done.clone());
            std::thread::spawn(move || {
                let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(name).unwrap();
                let read = file.read_at(&mut [0; 4096], 0).unwrap();
                // Closed before anybody unmounts.
                drop(file);
                done.send(read).unwrap();
            });
        }
        for _ in 0..readers {
            let read = all.recv_timeout(Duration::from_secs(120));
            assert_eq!(read.unwrap_or_else(|_| panic!("round {round}: a read is never answered")), 10);
        }
        (0..500).for_each(|_| drop(fs::symlink_metadata(mount.at("nobody"))));
    }
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
}

#[test]
fn requests_that_wait_for_each_other_are_all_taken_by_as_many_threads() {
    readers_wait_for_each_other(6, 0, 20);
}

#[test]
fn requests_that_wait_for_each_other_are_all_taken_by_threads_called_for_them() {
    readers_wait_for_each_other(2, 14, 5);
}

#[test]
fn many_clients_at_once_are_all_served_and_counted() {
    let options = Options::default();
    let counters = options.counters.clone();
    let Some((memory, mount)) = mounted(options) else { return };
    std::thread::scope(|scope| {
        for client in 0..8 {
            let mount = &mount;
            scope.spawn(move || {
                for n in 0..200 {
                    let name = mount.at(&format!("{client}-{n}"));
                    fs::write(&name, vec![client; 3000]).unwrap();
                    assert_eq!(fs::read(&name).unwrap(), vec![client; 3000]);
                    fs::remove_file(&name).unwrap();
                }
            });
        }
    });
    assert_eq!(mount.unmount().unwrap(), Ended::Unmounted);
    assert_eq!(memory.destroyed.load(Ordering::SeqCst), 1);
    let count = |name: &str| counters.snapshot().into_iter().find(|(n, _)| n == name).map_or(0, |(_, count)| count);
    assert_eq!(count("requests_create"), 1600);
    assert_eq!(count("requests_unlink"), 1600);
    assert_eq!(count("bytes_written"), 1600 * 3000);
    assert_eq!(count("malformed"), 0);
}

#[test]
fn setuid_is_cleared_by_a_write_of_someone_without_the_right() {
    for writeback in [true, false] {
        let Some((_memory, mount)) = with(writeback) else { return };
        let file = mount.at("f");
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&mount.path, fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6777)).unwrap();
        let target = file.clone();
        // A thread of another user: a child would keep the open files of the tests beside this one, and their mounts busy.
        let writes = std::thread::spawn(move || {
            // SAFETY: the calls take numbers only; as bare system calls they change this thread alone (nptl(7)).
            let changed =
                unsafe { [libc::syscall(libc::SYS_setresgid, 1, 1, 1), libc::syscall(libc::SYS_setresuid, 1, 1, 1)] };
            assert_eq!(changed, [0, 0]);
            OpenOptions::new().write(true).open(target).unwrap().write_all(b"y").unwrap();
        });
        writes.join().unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o777, "writeback {writeback}");
    }
}

#[test]
fn a_session_that_is_never_mounted_ends_when_cancelled() {
    let Some(device) = mount::device() else { return };
    let memory = Arc::new(Memory::new());
    let cancel = Arc::new(AtomicBool::new(false));
    let options = Options { cancel: cancel.clone(), ..Options::default() };
    let fs = memory.clone();
    let thread = std::thread::spawn(move || kmsfs_session::serve(device.into(), fs, options));
    cancel.store(true, Ordering::SeqCst);
    assert_eq!(thread.join().unwrap().unwrap(), Ended::NeverMounted);
    assert_eq!(memory.destroyed.load(Ordering::SeqCst), 1);
}
