//! A running engine whose control channel brings damaged messages: it answers the sound ones among them to the end.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kmsfs_fuzz::{search, Damage, Random};
use serde_json::json;
use support::{fuse, receive, send, send_bytes, start, Engine};

#[test]
fn damaged_control_messages_are_told_and_survived_while_the_key_is_awaited() {
    if fuse().is_none() {
        return;
    }
    let remount = json!({"type": "remount", "id": 1, "readOnly": true}).to_string().into_bytes();
    let scrub =
        json!({"type": "scrub", "rate": 0, "totalBytes": 0, "from": null, "counts": {}}).to_string().into_bytes();
    let draw = |r: &mut Random| (0..=r.below(15)).map(|_| Damage::some(r, &[])).collect();
    search("live control channel", 12, draw, |steps: &[Vec<Damage>]| {
        let mut engine = Engine::start(fuse().unwrap());
        send(&mut engine.control, &start());
        for (id, damage) in steps.iter().enumerate() {
            let (mut bytes, other) = if id % 2 == 0 { (remount.clone(), &scrub) } else { (scrub.clone(), &remount) };
            damage.iter().for_each(|d| d.apply(&mut bytes, other));
            send_bytes(&mut engine.control, &bytes);
            send(&mut engine.control, &json!({"type": "status", "id": 1000 + id}));
            loop {
                let message = receive(&mut engine.control).expect("the engine ended");
                if message["type"] == "status" && message["id"] == 1000 + id {
                    break;
                }
                let kind = message["type"].as_str().unwrap();
                assert!(["warning", "remounted", "scrub"].contains(&kind), "{message}");
            }
        }
    });
}
