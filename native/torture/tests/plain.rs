//! The program itself, on the file system of /var/tmp: what it demands is what that does. (That it is built before the
//! tests of test/posix run it is due to these.)
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Output};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/var/tmp/kmsfs-torture-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("a")).unwrap();
        std::fs::create_dir_all(path.join("b")).unwrap();
        Scratch(path)
    }
    fn dir(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn torture(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_torture")).args(args).output().unwrap()
}

#[track_caller]
fn succeeds(args: &[&str]) {
    let ended = torture(args);
    assert!(ended.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn fsx_agrees_with_a_plain_file_system() {
    let scratch = Scratch::new("fsx");
    for seed in ["1", "2", "3"] {
        succeeds(&["fsx", &scratch.dir("a"), "--seed", seed, "--ops", "800"]);
    }
}

#[test]
fn stress_agrees_with_a_plain_file_system() {
    // SAFETY: takes nothing, changes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("needs root");
        return;
    }
    let scratch = Scratch::new("stress");
    succeeds(&["stress", &scratch.dir("a"), &scratch.dir("b"), "--ops", "400", "--threads", "2"]);
}

#[test]
fn a_change_behind_its_back_is_noticed() {
    let scratch = Scratch::new("changed");
    let path = scratch.0.join("a/fsx-5-0");
    std::fs::write(&path, b"in the way").unwrap();
    let ended = torture(&["fsx", &scratch.dir("a"), "--seed", "5"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("--seed 5"));
}
