//! Headers of log segments (docs/format.md §9, "Segment").

use crate::keys::Secret;
use aws_lc_rs::hmac;

pub const SEGMENT_HEADER_LEN: usize = 512;
/// Records begin here.
pub const RECORDS_AT: u64 = 4096;
pub const MAX_HANDLE: usize = 128;
const MAGIC: &[u8; 8] = b"kmsfs-l1";
const MAC_AT: usize = 496;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub uuid: [u8; 16],
    pub sequence: u64,
    pub first_commit: u64,
    pub checkpointed: u64,
    pub volume_generation: u64,
    pub salt: [u8; 32],
    pub previous_mac: [u8; 16],
    pub root_handle_kind: i32,
    /// At most 128 bytes.
    pub root_handle: Vec<u8>,
    pub file_system: [u8; 16],
}

fn mac(key: &Secret<32>, header: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), header)
}

fn array<const N: usize>(bytes: &[u8; SEGMENT_HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl SegmentHeader {
    /// `key` is `DomainKeys::log_mac`. A handle of more than 128 bytes is cut off (the kernel's limit is 128).
    pub fn encode(&self, key: &Secret<32>) -> [u8; SEGMENT_HEADER_LEN] {
        let mut h = [0u8; SEGMENT_HEADER_LEN];
        h[..8].copy_from_slice(MAGIC);
        h[8..24].copy_from_slice(&self.uuid);
        h[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        h[32..40].copy_from_slice(&self.first_commit.to_le_bytes());
        h[40..48].copy_from_slice(&self.checkpointed.to_le_bytes());
        h[48..56].copy_from_slice(&self.volume_generation.to_le_bytes());
        h[56..88].copy_from_slice(&self.salt);
        h[88..104].copy_from_slice(&self.previous_mac);
        let len = self.root_handle.len().min(MAX_HANDLE);
        h[104..106].copy_from_slice(&(len as u16).to_le_bytes());
        h[108..112].copy_from_slice(&self.root_handle_kind.to_le_bytes());
        h[112..112 + len].copy_from_slice(&self.root_handle[..len]);
        h[240..256].copy_from_slice(&self.file_system);
        let tag = mac(key, &h[..MAC_AT]);
        h[MAC_AT..].copy_from_slice(&tag.as_ref()[..16]);
        h
    }

    /// `None`: not a segment header of this volume's key (never used, torn, or foreign).
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_LEN], key: &Secret<32>) -> Option<Self> {
        let tag = mac(key, &bytes[..MAC_AT]);
        let authentic =
            aws_lc_rs::constant_time::verify_slices_are_equal(&tag.as_ref()[..16], &bytes[MAC_AT..]).is_ok();
        let len = u16::from_le_bytes(array(bytes, 104)) as usize;
        if !authentic || &bytes[..8] != MAGIC || len > MAX_HANDLE {
            return None;
        }
        Some(SegmentHeader {
            uuid: array(bytes, 8),
            sequence: u64::from_le_bytes(array(bytes, 24)),
            first_commit: u64::from_le_bytes(array(bytes, 32)),
            checkpointed: u64::from_le_bytes(array(bytes, 40)),
            volume_generation: u64::from_le_bytes(array(bytes, 48)),
            salt: array(bytes, 56),
            previous_mac: array(bytes, 88),
            root_handle_kind: i32::from_le_bytes(array(bytes, 108)),
            root_handle: bytes[112..112 + len].to_vec(),
            file_system: array(bytes, 240),
        })
    }
}
