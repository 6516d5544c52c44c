//! The program itself, mounted: what goes through it is what is in the backing directory. (That it is built before the test
//! of test/bench runs it is due to these.)
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{symlink, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Mounted {
    root: PathBuf,
    served: Child,
}

impl Mounted {
    /// `None`, with the reason printed, where nothing can be mounted.
    fn new(name: &str, options: &[&str]) -> Option<Self> {
        Self::by(&mut Command::new(env!("CARGO_BIN_EXE_kmsfs-floor")), name, options)
    }
    fn by(program: &mut Command, name: &str, options: &[&str]) -> Option<Self> {
        // SAFETY: takes nothing, changes nothing.
        if unsafe { libc::geteuid() } != 0 || !Path::new("/dev/fuse").exists() {
            eprintln!("skipped: needs root and /dev/fuse");
            return None;
        }
        let root = PathBuf::from(format!("/var/tmp/kmsfs-floor-{name}-{}", std::process::id()));
        for name in ["backing", "mnt"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let places = [root.join("backing"), root.join("mnt")];
        let mut served = program.args(places).args(options).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(served.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mounted = Mounted { root, served };
        assert_eq!(line, "serving\n");
        Some(mounted)
    }
    fn backing(&self, name: &str) -> PathBuf {
        self.root.join("backing").join(name)
    }
    fn at(&self, name: &str) -> PathBuf {
        self.root.join("mnt").join(name)
    }
    fn unmount(&mut self) {
        // Somebody who looks at every mount, or a program just started by the test beside this one, makes it busy.
        let unmounted = || Command::new("umount").arg(self.root.join("mnt")).status().unwrap().success();
        assert!((0..100).any(|_| unmounted() || {
            std::thread::sleep(Duration::from_millis(50));
            false
        }));
        assert!(self.served.wait().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-q", "-l"]).arg(self.root.join("mnt")).status();
        let _ = self.served.kill();
        let _ = self.served.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn what_is_written_is_in_the_backing_directory() {
    // 2,048 are kept for open files: two inodes have descriptors.
    let few = &["prlimit", "--nofile=2050:2050"][..];
    for (name, prefix, options) in [
        ("writeback", &[][..], &[][..]),
        ("nowriteback", &[], &["--nowriteback", "--threads", "2"]),
        ("handles", few, &[]),
    ] {
        let mut argv = prefix.iter().chain(&[env!("CARGO_BIN_EXE_kmsfs-floor")]);
        let mut program = Command::new(argv.next().unwrap());
        let Some(mut mounted) = Mounted::by(program.args(argv), name, options) else { return };
        fs::create_dir(mounted.at("d")).unwrap();
        let content: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        fs::write(mounted.at("d/f"), &content).unwrap();
        assert_eq!(fs::read(mounted.at("d/f")).unwrap(), content);
        fs::File::options().append(true).open(mounted.at("d/f")).unwrap().write_all_at(b"more", 300_000).unwrap();
        fs::set_permissions(mounted.at("d/f"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(mounted.at("d/f"), mounted.at("g")).unwrap();
        fs::rename(mounted.at("d/f"), mounted.at("d/h")).unwrap();
        symlink("d/h", mounted.at("link")).unwrap();
        assert_eq!(fs::read_link(mounted.at("link")).unwrap(), Path::new("d/h"));
        assert_eq!(fs::metadata(mounted.at("link")).unwrap().nlink(), 2);
        let mut names: Vec<_> = fs::read_dir(mounted.at("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["d", "g", "link"]);
        fs::File::options().write(true).open(mounted.at("g")).unwrap().set_len(100_000).unwrap();
        mounted.unmount();
        assert_eq!(fs::read(mounted.backing("d/h")).unwrap(), content[..100_000]);
        assert_eq!(fs::metadata(mounted.backing("g")).unwrap().mode() & 0o7777, 0o640);
    }
}

#[test]
fn requests_wait_as_long_as_they_are_told_to() {
    let Some(mounted) = Mounted::new("delay", &["--nowriteback", "--delay-us", "50000"]) else { return };
    let file = fs::File::create(mounted.at("f")).unwrap();
    let began = Instant::now();
    for n in 0..4 {
        file.write_all_at(b"x", n).unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(200));
}
