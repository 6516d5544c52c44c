//! What the engine does with channels that are not what they should be: one line, status 1, and nothing touched.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use support::{framed, fuse, receive, send, send_bytes, spawn, start, unlock, Engine, KEY};

fn engine() -> Option<Engine> {
    fuse().map(Engine::start)
}

/// The code on the control channel, when `start` is this.
fn code_after_start(start: &Value) -> Option<Value> {
    let mut engine = engine()?;
    send(&mut engine.control, start);
    Some(engine.failure()["code"].clone())
}

/// The code, when the key channel brings these bytes and then its end; the same on both channels.
fn code_after_key(bytes: &[u8]) -> Option<Value> {
    let mut engine = engine()?;
    send(&mut engine.control, &start());
    engine.key.write_all(bytes).unwrap();
    engine.key.shutdown(Shutdown::Write).unwrap();
    let reply = receive(&mut engine.key).unwrap();
    assert_eq!(reply["type"], "failed");
    assert!(receive(&mut engine.key).is_none(), "the end of the stream follows");
    let failed = engine.failure();
    assert_eq!(reply["code"], failed["code"]);
    assert_eq!(reply["message"], failed["message"]);
    Some(failed["code"].clone())
}

#[test]
fn it_does_not_start_by_hand_or_with_other_descriptors() {
    let socket = || -> OwnedFd { UnixStream::pair().unwrap().0.into() };
    let null = || -> OwnedFd { std::fs::File::open("/dev/null").unwrap().into() };
    for descriptors in [[null(), socket(), null()], [socket(), null(), null()], [socket(), socket(), null()]] {
        let mut child = spawn(descriptors);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(said.contains("kmsfs mount") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn another_protocol_version_is_refused() {
    let mut message = start();
    message["version"] = json!(2);
    let Some(code) = code_after_start(&message) else { return };
    assert_eq!(code, "usage");
    let mut message = unlock();
    message["version"] = json!(2);
    assert_eq!(code_after_key(&framed(&message, &KEY)).unwrap(), "usage");
}

#[test]
fn a_start_that_makes_no_sense_is_refused() {
    for (field, value) in [
        ("type", json!("stop")),
        ("type", json!("begin")),
        ("extra", json!(1)),
        ("backing", json!("relative")),
        ("backing", json!("/a\0b")),
        ("mlock", json!("no")),
        ("cacheBytes", json!(1.5)),
    ] {
        let mut message = start();
        message[field] = value;
        let Some(code) = code_after_start(&message) else { return };
        assert_eq!(code, "usage", "{message}");
    }
}

#[test]
fn garbage_on_the_control_channel_is_refused() {
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\x01\x00\x10\x00",
        b"\x05\x00\x00\x00\xff\xfe\x00{}",
        b"\x00\x00\x00\x00",
        b"\x09\x00\x00\x00{}",
    ] {
        let Some(mut engine) = engine() else { return };
        engine.control.write_all(bytes).unwrap();
        engine.control.shutdown(Shutdown::Write).unwrap();
        assert_eq!(engine.failure()["code"], "usage", "{bytes:?}");
    }
}

#[test]
fn a_control_channel_that_closes_at_once_ends_the_engine() {
    let Some(engine) = engine() else { return };
    engine.control.shutdown(Shutdown::Write).unwrap();
    assert_eq!(engine.failure()["code"], "usage");
}

#[test]
fn a_daemon_that_dies_before_the_key_came_takes_the_engine_along() {
    let Some(mut engine) = engine() else { return };
    send(&mut engine.control, &start());
    engine.control.shutdown(Shutdown::Both).unwrap();
    // The key channel stays open: nothing else ends the engine.
    let (status, _) = engine.end();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn garbage_and_short_keys_on_the_key_channel_are_refused() {
    let whole = framed(&unlock(), &KEY);
    let Some(code) = code_after_key(b"") else { return };
    assert_eq!(code, "usage");
    let more: [&[u8]; 5] = [
        b"\x02",
        b"\xff\xff\xff\x7fgarbage",
        b"\x04\x00\x00\x00null",
        &whole[..whole.len() - 32],
        &whole[..whole.len() - 1],
    ];
    for bytes in more {
        assert_eq!(code_after_key(bytes).unwrap(), "usage", "{bytes:?}");
    }
}

#[test]
fn a_wrong_key_is_told_apart_and_never_repeated() {
    let key = [b'K'; 32];
    let Some(mut engine) = engine() else { return };
    send(&mut engine.control, &start());
    engine.key.write_all(&framed(&unlock(), &key)).unwrap();
    let reply = receive(&mut engine.key).unwrap();
    assert_eq!(reply["code"], "wrong-key");
    assert!(!reply.to_string().contains("KKKK"));
    assert_eq!(engine.failure()["code"], "wrong-key");
}

#[test]
fn a_backing_directory_that_is_not_there_is_told() {
    let Some(code) = code_after_key(&framed(&unlock(), &KEY)) else { return };
    assert_eq!(code, "io");
}

#[test]
fn status_is_answered_and_garbage_survived_while_the_key_is_awaited() {
    let Some(mut engine) = engine() else { return };
    send(&mut engine.control, &start());
    send(&mut engine.control, &json!({"type": "status", "id": 41}));
    send_bytes(&mut engine.control, b"not json");
    send(&mut engine.control, &json!({"type": "status", "id": 42}));
    let mut ids = Vec::new();
    while ids.len() < 2 {
        let message = receive(&mut engine.control).unwrap();
        match message["type"].as_str() {
            Some("status") => ids.push(message["id"].as_u64().unwrap()),
            other => assert_eq!(other, Some("warning"), "{message}"),
        }
    }
    assert_eq!(ids, [41, 42]);
}
