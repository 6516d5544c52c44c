//! The program as test/crash calls it: that there is this test has `cargo test` build it.

use std::process::{Command, Output};

fn crash(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crash")).args(args).output().expect("the program starts")
}

#[test]
fn workloads_are_counted() {
    let counted = crash(&["count"]);
    let count: usize = String::from_utf8(counted.stdout).unwrap().trim().parse().unwrap();
    assert!((4000..6000).contains(&count), "{count}");
}

#[test]
fn what_is_missing_is_named() {
    for (args, said) in [
        (&["dig"][..], "there is no command dig"),
        (&["record"], "--base is missing"),
        (&["work", "--marks", "/nonexistent"], "/nonexistent"),
        (&["check", "--record"], "--record needs a value"),
    ] {
        let ended = crash(args);
        assert_eq!(ended.status.code(), Some(1));
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
