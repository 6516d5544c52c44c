//! The program itself, on the file system of /var/tmp. (That it is built before the test of test/bench runs it is due to
//! these.)
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/var/tmp/kmsfs-load-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(command: &str, path: PathBuf, args: &str) -> Output {
    let bench = env!("CARGO_BIN_EXE_kmsfs-bench");
    Command::new(bench).arg(command).arg(path).args(args.split_whitespace()).output().unwrap()
}

/// How many operations and bytes it says it did.
#[track_caller]
fn did(command: &str, path: PathBuf, args: &str) -> (u64, u64) {
    let ended = run(command, path, args);
    assert!(ended.status.success(), "{command} {args}: {}", String::from_utf8_lossy(&ended.stderr));
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert!(said["seconds"].as_f64().unwrap() > 0.0 && said["p99us"].as_f64() >= said["p50us"].as_f64(), "{said}");
    (said["ops"].as_u64().unwrap(), said["bytes"].as_u64().unwrap())
}

#[test]
fn files_are_written_and_read_from_end_to_end() {
    let scratch = Scratch::new("bulk");
    let size = 3 * (128 << 10) + 5;
    assert_eq!(did("write", scratch.at("f"), &format!("--size {size}")), (4, size));
    let written = std::fs::read(scratch.at("f")).unwrap();
    assert_eq!(written.len() as u64, size);
    assert_ne!(written[..4096], written[128 << 10..(128 << 10) + 4096], "blocks are alike");
    assert!(written.chunks(4096).all(|block| block.iter().any(|byte| *byte != 0)), "a block is zero");
    assert_eq!(did("read", scratch.at("f"), "").1, size);
    assert_eq!(did("write", scratch.at("f"), "--size 8K --in-place").1, 8192);
    assert_eq!(std::fs::metadata(scratch.at("f")).unwrap().len(), size);
}

#[test]
fn several_clients_have_files_of_their_own() {
    let scratch = Scratch::new("own");
    assert_eq!(did("randwrite", scratch.at("f"), "--size 64K --threads 2 --ops 5"), (10, 10 * 4096));
    assert_eq!(did("fdatasync", scratch.at("f"), "--size 64K --threads 2 --ops 3"), (6, 6 * 4096));
    for name in ["f.0", "f.1"] {
        assert_eq!(std::fs::metadata(scratch.at(name)).unwrap().len(), 32 << 10);
    }
    assert_eq!(did("append", scratch.at("log"), "--ops 7"), (7, 700));
    assert_eq!(std::fs::metadata(scratch.at("log")).unwrap().len(), 700);
}

#[test]
fn blocks_lie_at_the_stride() {
    let scratch = Scratch::new("stride");
    assert_eq!(did("scatter", scratch.at("f"), "--size 1M --stride 256K"), (4, 4 * 4096));
    let written = std::fs::read(scratch.at("f")).unwrap();
    assert_eq!(written.len(), 1 << 20);
    for (place, block) in written.chunks(4096).enumerate() {
        assert_eq!(block.iter().any(|byte| *byte != 0), place % 64 == 0, "block {place}");
    }
    assert_eq!(did("randread", scratch.at("f"), "--stride 256K --threads 3 --ops 2"), (6, 6 * 4096));
}

#[test]
fn trees_are_made_looked_at_and_removed() {
    let scratch = Scratch::new("trees");
    for threads in [1, 2, 8] {
        let tree = || scratch.at("tree");
        let args = format!("--files 25 --per-dir 10 --threads {threads} --size 300");
        assert_eq!(did("create", tree(), &args), (25, 25 * 300));
        assert_eq!(did("list", tree(), ""), (28, 0));
        assert_eq!(did("readfiles", tree(), &args), (25, 25 * 300));
        assert_eq!(did("stat", tree(), &args), (25, 0));
        assert_eq!(did("create", tree(), "--first 25 --files 3 --per-dir 10"), (3, 3 * 2048));
        assert_eq!(did("remove", tree(), "--files 28 --per-dir 10"), (28, 0));
        assert_eq!(did("list", tree(), ""), (0, 0));
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let scratch = Scratch::new("wrong");
    for (command, path, args) in
        [("dance", "f", ""), ("read", "absent", ""), ("read", "f", "--sideways"), ("write", "f", "--size much")]
    {
        let ended = run(command, scratch.at(path), args);
        assert_eq!(ended.status.code(), Some(1), "{command} {args}");
        assert!(ended.stderr.starts_with(b"kmsfs-bench: "), "{command} {args}");
    }
}
