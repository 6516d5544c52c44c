//! Sealed blocks and the entries that hold their keys' epoch, nonce and tag (docs/format.md §5).

use crate::keys::{DerivationFailed, DomainKeys, Secret};
use crate::random::{self, NoRandom, Nonces};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM};

pub const ENTRY_LEN: usize = 32;
pub const TAG_LEN: usize = 16;

/// The bytes do not authenticate under the key, nonce and position they should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

/// Sealing failed for want of random bytes or an absurd length.
#[derive(Debug, Clone, Copy)]
pub struct SealFailed;

impl From<SealFailed> for std::io::Error {
    fn from(_: SealFailed) -> Self {
        std::io::Error::other("sealing failed")
    }
}

impl From<NoRandom> for SealFailed {
    fn from(_: NoRandom) -> Self {
        SealFailed
    }
}

impl From<DerivationFailed> for SealFailed {
    fn from(_: DerivationFailed) -> Self {
        SealFailed
    }
}

/// How one block was sealed; all zero is a hole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry([u8; ENTRY_LEN]);

impl Entry {
    pub const HOLE: Entry = Entry([0; ENTRY_LEN]);

    pub fn new(epoch: u32, nonce: &[u8; 12], tag: &[u8; TAG_LEN]) -> Self {
        let mut e = [0; ENTRY_LEN];
        e[..4].copy_from_slice(&epoch.to_le_bytes());
        e[4..16].copy_from_slice(nonce);
        e[16..].copy_from_slice(tag);
        Entry(e)
    }
    pub fn from_bytes(bytes: [u8; ENTRY_LEN]) -> Self {
        Entry(bytes)
    }
    /// Entry number `slot` of a node's plaintext.
    pub fn at(node: &[u8], slot: usize) -> Self {
        let mut e = [0; ENTRY_LEN];
        e.copy_from_slice(&node[slot * ENTRY_LEN..(slot + 1) * ENTRY_LEN]);
        Entry(e)
    }
    pub fn put(&self, node: &mut [u8], slot: usize) {
        node[slot * ENTRY_LEN..(slot + 1) * ENTRY_LEN].copy_from_slice(&self.0);
    }
    pub fn bytes(&self) -> &[u8; ENTRY_LEN] {
        &self.0
    }
    pub fn is_hole(&self) -> bool {
        self.0 == [0; ENTRY_LEN]
    }
    pub fn epoch(&self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
    pub fn nonce(&self) -> [u8; 12] {
        let mut n = [0; 12];
        n.copy_from_slice(&self.0[4..16]);
        n
    }
    pub fn tag(&self) -> &[u8] {
        &self.0[16..]
    }
}

/// AAD of a block: its place in the tree. The file is bound through its key.
pub fn block_aad(level: u8, index: u64) -> [u8; 16] {
    let mut aad = [0; 16];
    aad[0] = level;
    aad[8..].copy_from_slice(&index.to_le_bytes());
    aad
}

/// An AES-256-GCM key ready for use. Its schedule is wiped when dropped (AWS-LC's EVP_AEAD_CTX_cleanup).
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    pub fn new(key: &Secret<32>) -> Result<Self, SealFailed> {
        let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| SealFailed)?;
        Ok(AeadKey(LessSafeKey::new(unbound)))
    }
    /// Encrypts in place under a nonce that the caller answers for.
    pub fn seal_with(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_LEN], SealFailed> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), data).map_err(|_| SealFailed)?;
        tag.as_ref().try_into().map_err(|_| SealFailed)
    }
    /// Decrypts `sealed` into `out`, of the same length. On failure `out` holds nothing of the plaintext.
    pub fn open(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), sealed, tag, out).map_err(|_| NotAuthentic)
    }
}

/// The key of one file under one epoch, and the commitment its header publishes.
pub struct FileKey {
    pub epoch: u32,
    pub commitment: [u8; 32],
    key: AeadKey,
}

impl FileKey {
    pub fn derive(keys: &DomainKeys, file_id: &[u8; 16], epoch: u32) -> Result<Self, SealFailed> {
        let material = keys.file(file_id, epoch)?;
        Ok(FileKey { epoch, commitment: material.commitment, key: AeadKey::new(&material.key)? })
    }
    /// Seals a block or node in place under a fresh random nonce.
    pub fn seal(&self, level: u8, index: u64, data: &mut [u8], nonces: &mut Nonces) -> Result<Entry, SealFailed> {
        let nonce = nonces.draw()?;
        let tag = self.key.seal_with(nonce, &block_aad(level, index), data)?;
        Ok(Entry::new(self.epoch, &nonce, &tag))
    }
    /// Opens a block or node. The caller picks the key of the entry's epoch.
    pub fn open(
        &self,
        level: u8,
        index: u64,
        entry: &Entry,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        self.key.open(entry.nonce(), &block_aad(level, index), sealed, entry.tag(), out)
    }
    pub(crate) fn aead(&self) -> &AeadKey {
        &self.key
    }
}

/// A new epoch of key generation `generation`: never again the same but with the chance of 24 random bits (§2).
pub fn new_epoch(generation: u8) -> Result<u32, NoRandom> {
    let [a, b, c] = random::bytes::<3>()?;
    Ok(u32::from_le_bytes([a, b, c, generation]))
}
