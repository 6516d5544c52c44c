//! Frames of docs/engine-protocol.md: a u32 LE length, at most 1 MiB, and that many bytes of JSON, one object.

use serde::de::DeserializeOwned;
use serde::Serialize;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

pub const MAX_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub enum FrameError {
    /// The stream ended between two frames.
    End,
    /// The stream ended within a frame, or failed.
    Io(io::Error),
    /// A length that no peer of ours sends; what follows cannot be read.
    TooLong(u32),
    /// Not a message of this channel; the next frame can be read.
    Unknown(serde_json::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::End => f.write_str("the channel was closed"),
            FrameError::Io(e) if e.kind() == ErrorKind::UnexpectedEof => {
                f.write_str("the channel was closed within a message")
            }
            FrameError::Io(e) => write!(f, "{e}"),
            FrameError::TooLong(length) => write!(f, "a message of {length} bytes, and {MAX_BYTES} are the most"),
            FrameError::Unknown(e) => write!(f, "an unknown message: {e}"),
        }
    }
}

/// Reads one frame, and not a byte beyond it.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0u8; 4];
    let (first, rest) = length.split_at_mut(1);
    if read_one(from, first)? == 0 {
        return Err(FrameError::End);
    }
    from.read_exact(rest).map_err(FrameError::Io)?;
    let length = u32::from_le_bytes(length);
    let size = usize::try_from(length).ok().filter(|&n| n <= MAX_BYTES).ok_or(FrameError::TooLong(length))?;
    let mut body = vec![0u8; size];
    from.read_exact(&mut body).map_err(FrameError::Io)?;
    serde_json::from_slice(&body).map_err(FrameError::Unknown)
}

fn read_one(from: &mut impl Read, byte: &mut [u8]) -> Result<usize, FrameError> {
    loop {
        match from.read(byte) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            other => return other.map_err(FrameError::Io),
        }
    }
}

/// Writes one frame. Errors: those of the stream; InvalidData for a message that is too long.
pub fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0u8; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let size = bytes.len() - 4;
    let length = u32::try_from(size).ok().filter(|_| size <= MAX_BYTES).ok_or(ErrorKind::InvalidData)?;
    if let Some(head) = bytes.get_mut(..4) {
        head.copy_from_slice(&length.to_le_bytes());
    }
    to.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Control;

    fn framed(length: u32, body: &[u8]) -> Vec<u8> {
        [&length.to_le_bytes(), body].concat()
    }

    #[test]
    fn frames_are_read_one_by_one_and_not_beyond() {
        let body = br#"{"type":"status","id":3}"#;
        let bytes = [framed(body.len() as u32, body), framed(body.len() as u32, body), b"rest".to_vec()].concat();
        let mut stream = bytes.as_slice();
        for _ in 0..2 {
            assert_eq!(read::<Control>(&mut stream).unwrap(), Control::Status { id: 3 });
        }
        assert_eq!(stream, b"rest");
    }

    #[test]
    fn what_is_written_is_a_frame() {
        let mut bytes = Vec::new();
        write(&mut bytes, &serde_json::json!({"type": "stop"})).unwrap();
        assert_eq!(bytes, framed(15, br#"{"type":"stop"}"#));
        let long = "x".repeat(MAX_BYTES);
        assert_eq!(write(&mut bytes, &long).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_broken_stream_is_told_from_an_ended_one() {
        let read = |bytes: &[u8]| super::read::<Control>(&mut &bytes[..]).unwrap_err();
        assert!(matches!(read(b""), FrameError::End));
        assert!(matches!(read(&[1, 0]), FrameError::Io(_)));
        assert!(matches!(read(&framed(9, b"{}")), FrameError::Io(_)));
        assert!(matches!(read(&framed(u32::MAX, b"{}")), FrameError::TooLong(u32::MAX)));
        assert!(matches!(read(&framed(MAX_BYTES as u32 + 1, b"{}")), FrameError::TooLong(_)));
        for garbage in [&b""[..], b"{", b"\xff\xfe", b"null", b"[]", b"{}", b"{\"type\":\"stop\"} x"] {
            assert!(matches!(read(&framed(garbage.len() as u32, garbage)), FrameError::Unknown(_)), "{garbage:?}");
        }
    }
}
