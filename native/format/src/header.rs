//! The header page of a regular file (docs/format.md §5, "Header").

use crate::block::{Entry, FileKey, NotAuthentic, SealFailed, ENTRY_LEN};
use crate::layout::{Layout, DIRECT, HEADER_LEN, SUBTREES};
use crate::random;

pub const MAGIC: &[u8; 8] = b"kmsfs-f1";
pub const FORMAT: u16 = 1;
const AAD_LEN: usize = 92;
const SEALED_AT: usize = 120;
const PAGE: usize = HEADER_LEN as usize;
const DIRECT_AT: usize = 8;
const SUBTREES_AT: usize = DIRECT_AT + DIRECT as usize * ENTRY_LEN;

/// The root of a file's tree: what the sealed part of the header holds.
#[derive(Clone)]
pub struct Root {
    pub size: u64,
    pub direct: [Entry; DIRECT as usize],
    pub subtrees: [Entry; SUBTREES],
}

impl Root {
    pub fn empty() -> Self {
        Root { size: 0, direct: [Entry::HOLE; DIRECT as usize], subtrees: [Entry::HOLE; SUBTREES] }
    }
}

/// The clear part of a header page, not yet authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clear {
    pub block_shift: u8,
    pub file_id: [u8; 16],
    pub domain_id: [u8; 16],
    pub commit: u64,
    pub commitment: [u8; 32],
    pub epoch: u32,
}

/// Why a header page is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHeader {
    /// Not a header at all, or its fields contradict the format.
    Malformed,
    /// Made by a later format.
    Newer(u16),
    NotAuthentic,
}

impl From<NotAuthentic> for BadHeader {
    fn from(_: NotAuthentic) -> Self {
        BadHeader::NotAuthentic
    }
}

fn array<const N: usize>(page: &[u8; PAGE], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&page[at..at + N]);
    out
}

/// Seals the header page of `file_id` under `key`, as written by commit `commit`.
pub fn seal(
    layout: Layout,
    file_id: &[u8; 16],
    domain_id: &[u8; 16],
    commit: u64,
    root: &Root,
    key: &FileKey,
    page: &mut [u8; PAGE],
) -> Result<(), SealFailed> {
    page.fill(0);
    page[..8].copy_from_slice(MAGIC);
    page[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    page[10] = layout.shift();
    page[16..32].copy_from_slice(file_id);
    page[32..48].copy_from_slice(domain_id);
    page[48..56].copy_from_slice(&commit.to_le_bytes());
    page[56..88].copy_from_slice(&key.commitment);
    page[88..92].copy_from_slice(&key.epoch.to_le_bytes());
    let (clear, sealed) = page.split_at_mut(SEALED_AT);
    sealed[..8].copy_from_slice(&root.size.to_le_bytes());
    for (slot, e) in root.direct.iter().enumerate() {
        e.put(&mut sealed[DIRECT_AT..], slot);
    }
    for (slot, e) in root.subtrees.iter().enumerate() {
        e.put(&mut sealed[SUBTREES_AT..], slot);
    }
    let nonce: [u8; 12] = random::bytes()?;
    let tag = key.aead().seal_with(nonce, &clear[..AAD_LEN], sealed)?;
    page[92..104].copy_from_slice(&nonce);
    page[104..120].copy_from_slice(&tag);
    Ok(())
}

/// An absent header: what a file that was never committed has at home (docs/format.md §4, `growing`).
pub fn is_absent(page: &[u8]) -> bool {
    page.len() < PAGE || page.iter().all(|b| *b == 0)
}

/// Reads the clear part and checks everything that needs no key.
pub fn parse(page: &[u8; PAGE]) -> Result<Clear, BadHeader> {
    if &page[..8] != MAGIC {
        return Err(BadHeader::Malformed);
    }
    let format = u16::from_le_bytes(array(page, 8));
    if format > FORMAT {
        return Err(BadHeader::Newer(format));
    }
    if format != FORMAT || page[11] != 0 || page[12..16] != [0; 4] || Layout::new(page[10]).is_none() {
        return Err(BadHeader::Malformed);
    }
    Ok(Clear {
        block_shift: page[10],
        file_id: array(page, 16),
        domain_id: array(page, 32),
        commit: u64::from_le_bytes(array(page, 48)),
        commitment: array(page, 56),
        epoch: u32::from_le_bytes(array(page, 88)),
    })
}

/// Opens the sealed part. `key` is that of the header's own epoch; its commitment must be the header's.
pub fn open(page: &[u8; PAGE], key: &FileKey) -> Result<Root, BadHeader> {
    let clear = parse(page)?;
    if clear.commitment != key.commitment || clear.epoch != key.epoch {
        return Err(BadHeader::NotAuthentic);
    }
    let mut plain = [0u8; PAGE - SEALED_AT];
    key.aead().open(array(page, 92), &page[..AAD_LEN], &page[SEALED_AT..], &page[104..120], &mut plain)?;
    let mut root = Root::empty();
    root.size = u64::from_le_bytes(plain[..8].try_into().map_err(|_| BadHeader::Malformed)?);
    for (slot, e) in root.direct.iter_mut().enumerate() {
        *e = Entry::at(&plain[DIRECT_AT..], slot);
    }
    for (slot, e) in root.subtrees.iter_mut().enumerate() {
        *e = Entry::at(&plain[SUBTREES_AT..], slot);
    }
    // At B = 4096 the subtrees end long before 2^53: a size beyond them has blocks without a home (§5).
    let largest = Layout::new(clear.block_shift).map_or(0, |layout| layout.largest());
    (root.size <= largest).then_some(root).ok_or(BadHeader::Malformed)
}
