//! Operations on the same names and inodes from several threads: none takes another's half-done work for tampering.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use kmsfs_namespace::ops::{FileSystem, SetAttr, Writing};
use kmsfs_namespace::{Options, Volume};
use std::sync::Arc;

/// A small deterministic generator (Numerical Recipes' LCG): which operation and which name.
struct Dice(u64);
impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

fn allowed<T>(result: Result<T, kmsfs_namespace::ops::Errno>, what: &str) {
    let n = errno(result);
    let expected =
        [0, libc::ENOENT, libc::EEXIST, libc::ESTALE, libc::ENOTEMPTY, libc::EISDIR, libc::ENOTDIR, libc::EPERM];
    assert!(expected.contains(&n), "{what}: errno {n}");
}

fn churn(v: &Arc<Volume>, seed: u64, rounds: usize) {
    let mut dice = Dice(seed);
    let dirs = [R, v.lookup(R, b"d1").unwrap().node, v.lookup(R, b"d2").unwrap().node];
    let long = [b'L'; 220];
    let names: [&[u8]; 4] = [b"a", b"b", &long, b"c"];
    for _ in 0..rounds {
        let (d, n) = (dirs[dice.roll(3)], names[dice.roll(4)]);
        let (e, m) = (dirs[dice.roll(3)], names[dice.roll(4)]);
        match dice.roll(12) {
            0 | 1 => allowed(v.lookup(d, n), "lookup"),
            2 => allowed(v.rename(d, n, e, m, 0), "rename"),
            3 => allowed(v.rename(d, n, e, m, libc::RENAME_EXCHANGE), "exchange"),
            4 => {
                if let Ok(node) = v.lookup(d, n) {
                    allowed(v.link(node.node, e, m), "link");
                }
            }
            5 => allowed(v.unlink(d, n), "unlink"),
            6 => {
                if let Ok((entry, h)) = v.create(ME, d, n, 0o644, libc::O_RDWR as u32) {
                    allowed(v.write(entry.node, h, 0, b"content", Writing::default()), "write");
                    v.release(entry.node, h).unwrap();
                }
            }
            7 | 8 => {
                if let Ok(entry) = v.lookup(d, n) {
                    let mode = [0o600, 0o644, 0o4755][dice.roll(3)];
                    let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
                    allowed(v.setattr(ME, entry.node, &set), "chmod");
                }
            }
            9 => {
                if let Ok(entry) = v.lookup(d, n) {
                    let set = SetAttr { uid: Some(dice.roll(3) as u32), ..SetAttr::default() };
                    allowed(v.setattr(ME, entry.node, &set), "chown");
                }
            }
            10 => allowed(v.mkdir(ME, d, n, 0o755).and_then(|_| v.rmdir(d, n)), "mkdir and rmdir"),
            _ => {
                let h = v.opendir(d).unwrap();
                let mut listed = Listed { plus: true, room: 100, ..Listed::default() };
                allowed(v.readdir(d, h, 0, &mut listed), "readdir");
                v.releasedir(d, h).unwrap();
            }
        }
    }
}

#[test]
fn churn_on_the_same_names_is_never_taken_for_tampering() {
    let b = Backing::new();
    let v = b.open_with(config(), Options { max_nodes: 16, max_fds: 8, ..Options::default() }).unwrap();
    mkdir(&v, R, b"d1");
    mkdir(&v, R, b"d2");
    std::thread::scope(|scope| {
        for seed in 1..=4u64 {
            let v = &v;
            scope.spawn(move || churn(v, seed, 1500));
        }
    });
    assert_eq!(b.events(), Vec::<String>::new());
    v.close().unwrap();
    drop(v);
    let v = b.open();
    for dir in [R, v.lookup(R, b"d1").unwrap().node, v.lookup(R, b"d2").unwrap().node] {
        for name in list(&v, dir, 10) {
            v.lookup(dir, &name).unwrap();
        }
    }
    assert_eq!(b.events(), Vec::<String>::new());
}
