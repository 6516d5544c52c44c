//! What comes over the channels, damaged: a message or an error, never a panic, never more memory than a frame may take.

use crate::frame::{self, FrameError};
use crate::protocol::Control;
use crate::unlock;
use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_fuzz::{search, Counting, Damage, Random};
use serde_json::{json, Value};

#[global_allocator]
static HEAP: Counting = Counting;

const KEY: [u8; 32] = [7; 32];
/// A frame, what serde makes of it, and some room.
const MOST_MEMORY: i64 = 3 * frame::MAX_BYTES as i64;

fn framed(message: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, message).unwrap();
    bytes
}

fn controls() -> Vec<Vec<u8>> {
    let counts =
        json!({"directories": 1, "files": 2, "symlinks": 0, "special": 0, "blocks": 9, "nodes": 1, "bytes": 5});
    let cursor = json!({"path": ["abc", "def"], "block": 7});
    [
        json!({"type": "start", "version": 1, "backing": "/abs", "readOnly": false, "cacheBytes": 67_108_864u64,
            "writeback": true, "mlock": "try", "debug": false}),
        json!({"type": "status", "id": 3}),
        json!({"type": "remount", "id": 8, "readOnly": true}),
        json!({"type": "scrub", "rate": 0, "totalBytes": 0, "from": cursor, "counts": counts}),
        json!({"type": "stop"}),
    ]
    .iter()
    .map(framed)
    .collect()
}

/// Where digits of JSON may stand too.
fn draw(r: &mut Random) -> Vec<(u64, Damage)> {
    (0..=r.below(4)).map(|_| (r.below(5), Damage::draw(r, &[(0, 4), (0, 2), (4, 1), (12, 1)]))).collect()
}

#[test]
fn any_damage_to_the_control_channel_is_an_error_within_bounds() {
    let all = controls();
    search("control channel", 3000, draw, |steps| {
        let mut bytes = all.concat();
        steps.iter().for_each(|(other, damage)| damage.apply(&mut bytes, &all[*other as usize]));
        let (messages, most) = Counting::most(|| {
            let mut stream = bytes.as_slice();
            let mut messages = 0;
            loop {
                match frame::read::<Control>(&mut stream) {
                    Ok(_) | Err(FrameError::Unknown(_)) => messages += 1,
                    Err(_) => break messages,
                }
            }
        });
        assert!(most <= MOST_MEMORY, "{most} bytes");
        assert!(messages <= bytes.len() / 4, "each takes its length from the stream");
    });
}

#[test]
fn deep_and_long_json_is_refused() {
    for body in ["[".repeat(frame::MAX_BYTES), "{\"a\":".repeat(100_000), "9".repeat(frame::MAX_BYTES)] {
        let bytes = [&(body.len() as u32).to_le_bytes()[..], body.as_bytes()].concat();
        let (read, most) = Counting::most(|| frame::read::<Control>(&mut bytes.as_slice()).map(drop));
        assert!(matches!(read, Err(FrameError::Unknown(_))) && most <= MOST_MEMORY, "{most} bytes");
    }
}

#[test]
fn any_damage_to_the_key_channel_gives_the_right_keys_or_none() {
    let uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";
    let id = std::array::from_fn(|n| 15 - n as u8);
    let commitment = DomainKeys::derive(&id, &Secret::take(&mut KEY.clone())).unwrap().commitment;
    let good = framed(&json!({"type": "unlock", "version": 1, "uuid": uuid, "blockSize": 16384, "generation": 3,
        "features": ["trusted-records"], "log": {"segmentSize": 1_048_576, "segments": 4},
        "commitment": STANDARD.encode(commitment)}));
    let good = [good, KEY.to_vec()].concat();
    assert!(unlock::receive(&mut good.as_slice()).is_ok());
    search("key channel", 3000, draw, |steps| {
        let mut bytes = good.clone();
        steps.iter().for_each(|(_, damage)| damage.apply(&mut bytes, &[b'0'; 300]));
        let (unlocked, most) = Counting::most(|| unlock::receive(&mut bytes.as_slice()));
        assert!(most <= MOST_MEMORY, "{most} bytes");
        assert!(unlocked.is_ok_and(|u| u.keys.commitment == commitment && u.volume.uuid == id) || bytes != good);
    });
}
