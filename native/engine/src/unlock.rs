//! The key channel: the description of the volume, then exactly 32 key bytes into locked memory.

use crate::failure::Failure;
use crate::frame::{self, FrameError};
use crate::protocol::{FailureCode, LogShape, Unlock, VERSION};
use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use kmsfs_format::keys::{DomainKeys, Secret};
use std::io::Read;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Features that this engine knows (docs/format.md §3).
const FEATURES: [&str; 1] = ["trusted-records"];

/// What the CLI says of the volume; it has verified volume.json with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    pub uuid: [u8; 16],
    /// log2 of the block size.
    pub block_shift: u8,
    pub generation: u64,
    pub log: LogShape,
}

pub struct Unlocked {
    pub volume: Description,
    pub keys: DomainKeys,
}

/// Reads the message and the key. The domain key itself is wiped before this returns.
pub fn receive(channel: &mut impl Read) -> Result<Unlocked, Failure> {
    let Unlock::Unlock { version, uuid, block_size, generation, features, log, commitment } = frame::read(channel)
        .map_err(|e| match e {
            FrameError::End => Failure::usage("the key channel was closed before a key came"),
            other => Failure::usage(format!("key channel: {other}")),
        })?;
    if version != VERSION {
        return Err(wrong_version(version));
    }
    if let Some(unknown) = features.iter().find(|feature| !FEATURES.contains(&feature.as_str())) {
        let message = format!("the volume has a feature that this version does not know: {unknown}");
        return Err(Failure::new(FailureCode::Unsupported, message));
    }
    let volume = Description {
        uuid: parse_uuid(&uuid).ok_or_else(|| Failure::usage("unlock: uuid is not one"))?,
        block_shift: match block_size {
            4096 => 12,
            16_384 => 14,
            65_536 => 16,
            _ => return Err(Failure::usage("unlock: blockSize is none of 4096, 16384, 65536")),
        },
        generation,
        log,
    };
    let commitment: [u8; 32] = STANDARD
        .decode(commitment)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Failure::usage("unlock: commitment is not 32 bytes of base64"))?;
    let key = receive_key(channel)?;
    let keys = DomainKeys::derive(&volume.uuid, &key)
        .map_err(|_| Failure::new(FailureCode::Internal, "key derivation failed"))?;
    if !bool::from(keys.commitment.ct_eq(&commitment)) {
        return Err(Failure::new(FailureCode::WrongKey, "the key is not the one of this volume"));
    }
    Ok(Unlocked { volume, keys })
}

pub fn wrong_version(version: u32) -> Failure {
    Failure::usage(format!("protocol version {version}, and this engine speaks {VERSION}: is it of the same kmsfs?"))
}

fn receive_key(channel: &mut impl Read) -> Result<Secret<32>, Failure> {
    let mut key = Box::new(Zeroizing::new([0u8; 32]));
    // SAFETY: the range is ours and mapped, and its content stays. Where it fails, lock_memory has said so.
    unsafe { libc::mlock(key.as_ptr().cast(), key.len()) };
    channel
        .read_exact(&mut key[..])
        .map_err(|e| Failure::usage(format!("key channel: less than 32 key bytes: {e}")))?;
    Ok(Secret::take(&mut key))
}

/// RFC 9562 §4, lower-case with hyphens.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let shape = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    let number = shape.then(|| u128::from_str_radix(&digits, 16).ok()).flatten()?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    const UUID: &str = "0f0e0d0c-0b0a-0908-0706-050403020100";
    const KEY: [u8; 32] = [7; 32];

    fn message() -> Value {
        let uuid = parse_uuid(UUID).unwrap();
        let commitment = DomainKeys::derive(&uuid, &Secret::take(&mut KEY.clone())).unwrap().commitment;
        json!({"type": "unlock", "version": 1, "uuid": UUID, "blockSize": 16384, "generation": 3,
            "features": ["trusted-records"], "log": {"segmentSize": 1_048_576, "segments": 4},
            "commitment": STANDARD.encode(commitment)})
    }

    fn bytes(message: &Value, key: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, message).unwrap();
        [&bytes, key].concat()
    }

    fn refused(bytes: &[u8]) -> Failure {
        receive(&mut &bytes[..]).map(|_| ()).unwrap_err()
    }

    #[test]
    fn the_right_key_unlocks() {
        let bytes = bytes(&message(), &KEY);
        let unlocked = receive(&mut bytes.as_slice()).unwrap();
        let Description { uuid, block_shift, generation, log } = unlocked.volume;
        assert_eq!((uuid[0], uuid[15], block_shift, generation), (0x0f, 0, 14, 3));
        assert_eq!(log, LogShape { segment_size: 1_048_576, segments: 4 });
    }

    #[test]
    fn another_key_is_refused_as_such() {
        let mut key = KEY;
        key[31] ^= 1;
        assert_eq!(refused(&bytes(&message(), &key)).code, FailureCode::WrongKey);
    }

    #[test]
    fn every_shortened_stream_is_refused() {
        let whole = bytes(&message(), &KEY);
        for length in 0..whole.len() {
            assert_eq!(refused(&whole[..length]).code, FailureCode::Usage, "{length} bytes");
        }
    }

    #[test]
    fn a_description_that_cannot_be_is_refused() {
        let cases = [
            ("version", json!(2), FailureCode::Usage),
            ("uuid", json!(UUID.to_uppercase()), FailureCode::Usage),
            ("uuid", json!("0f0e0d0c0b0a09080706050403020100"), FailureCode::Usage),
            ("uuid", json!("+f0e0d0c-0b0a-0908-0706-050403020100"), FailureCode::Usage),
            ("blockSize", json!(8192), FailureCode::Usage),
            ("features", json!(["trusted-records", "new"]), FailureCode::Unsupported),
            ("commitment", json!("AAAA"), FailureCode::Usage),
            ("commitment", json!("not base64"), FailureCode::Usage),
            ("extra", json!(true), FailureCode::Usage),
        ];
        for (field, value, code) in cases {
            let mut changed = message();
            changed[field] = value;
            assert_eq!(refused(&bytes(&changed, &KEY)).code, code, "{changed}");
        }
    }
}
