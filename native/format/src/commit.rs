//! Records of the commit log: each one commit of one file (docs/format.md §9, "Record").

use crate::block::{AeadKey, Entry, SealFailed, ENTRY_LEN};
use crate::layout::{Layout, HEADER_LEN};
use crate::segment::MAX_HANDLE;
use zeroize::Zeroize;

/// Records begin at multiples of this.
pub const SECTOR: usize = 512;
const MAGIC: &[u8; 4] = b"kCR1";
const FIXED: usize = 112;
const HAS_MTIME: u16 = 1;

/// A data block that was written to its home directly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Straight {
    pub index: u64,
    pub len: u32,
    pub entry: Entry,
}

/// Sealed bytes bound for `home`, as they stand in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    pub home: u64,
    pub len: u32,
    /// Where in the record the bytes begin.
    pub at: u32,
}

/// What a commit says, without its images' bytes.
#[derive(Clone)]
pub struct Commit {
    pub number: u64,
    pub durable_through: u64,
    pub file_id: [u8; 16],
    pub handle_kind: i32,
    pub handle: Vec<u8>,
    pub physical: u64,
    pub mtime: Option<(i64, u32)>,
    /// Offset and length at home.
    pub punched: Vec<(u64, u64)>,
    pub straight: Vec<Straight>,
    pub images: Vec<Image>,
}

impl Commit {
    /// Whether a file of this layout can have such a commit: nothing in it lies beyond the largest one, and no block is
    /// larger than a block.
    pub fn can_be(&self, layout: Layout) -> bool {
        let (block, end) = (layout.block(), layout.physical(layout.largest()));
        let blocks = layout.blocks(layout.largest());
        (HEADER_LEN..=end).contains(&self.physical)
            && self.straight.iter().all(|s| s.index < blocks && (1..=block).contains(&u64::from(s.len)))
            && self.images.iter().all(|i| u64::from(i.len) <= block && i.home <= end)
            && self.images.iter().any(|i| i.home == 0 && u64::from(i.len) == HEADER_LEN)
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Builds one record in the memory that is then written: images are put in first, and sealed there; the head, whose
/// length shows last, is laid before them.
pub struct Builder {
    bytes: Vec<u8>,
    /// Room for the head; where the images begin.
    room: usize,
    /// `at` counts from the start of `bytes`.
    images: Vec<Image>,
}

fn head_len(handle: usize, punched: usize, straight: usize, images: usize) -> usize {
    FIXED + handle.min(MAX_HANDLE).next_multiple_of(8) + punched * 16 + straight * (16 + ENTRY_LEN) + images * 16
}

impl Builder {
    /// In the memory of `bytes`, whose content is lost. The counts are at least what the commit will have: with more, all
    /// is moved once more. `data`: about how many bytes the images have.
    pub fn begin(mut bytes: Vec<u8>, punched: usize, straight: usize, images: usize, data: usize) -> Builder {
        let room = head_len(MAX_HANDLE, punched, straight, images);
        bytes.clear();
        bytes.reserve(room + data + images * 8 + SECTOR);
        bytes.resize(room, 0);
        Builder { bytes, room, images: Vec::with_capacity(images) }
    }

    /// All of a record at once. Images are given as (home, sealed bytes); `commit.images` is ignored.
    pub fn new(commit: &Commit, images: &[(u64, &[u8])]) -> Builder {
        let data = images.iter().map(|(_, b)| b.len()).sum();
        let mut builder = Builder::begin(Vec::new(), commit.punched.len(), commit.straight.len(), images.len(), data);
        for (home, bytes) in images {
            // Sealed already: cannot fail.
            let _ = builder.image(*home, bytes, |_| Ok(()));
        }
        builder.lay_out(commit);
        builder
    }

    /// Puts in what goes to `home` and seals it in place. When that fails nothing of `plain` is left here.
    pub fn image<T>(
        &mut self,
        home: u64,
        plain: &[u8],
        seal: impl FnOnce(&mut [u8]) -> Result<T, SealFailed>,
    ) -> Result<T, SealFailed> {
        let at = self.bytes.len();
        self.images.push(Image { home, len: plain.len() as u32, at: at as u32 });
        self.bytes.extend_from_slice(plain);
        let sealed = seal(&mut self.bytes[at..]);
        if sealed.is_err() {
            self.bytes[at..].zeroize();
        }
        self.bytes.resize((at + plain.len()).next_multiple_of(8), 0);
        sealed
    }

    /// The bytes of the first image: a header, which is sealed last, since it refers to all the others.
    pub fn first_image(&mut self) -> &mut [u8] {
        let (at, len) = self.images.first().map_or((0, 0), |image| (image.at as usize, image.len as usize));
        &mut self.bytes[at..at + len]
    }

    /// Lays the head before the images; `commit.images` is ignored. The number, `durable through` and the chain are set by
    /// `finish`, so that a record can be built before its place in the log is known.
    pub fn lay_out(&mut self, commit: &Commit) {
        let handle = &commit.handle[..commit.handle.len().min(MAX_HANDLE)];
        let punched_at = FIXED + handle.len().next_multiple_of(8);
        let straight_at = punched_at + commit.punched.len() * 16;
        let images_at = straight_at + commit.straight.len() * (16 + ENTRY_LEN);
        let head = head_len(handle.len(), commit.punched.len(), commit.straight.len(), self.images.len());
        let more = head.saturating_sub(self.room);
        if more > 0 {
            self.bytes.splice(0..0, std::iter::repeat_n(0, more));
            self.images.iter_mut().for_each(|image| image.at += more as u32);
            self.room += more;
        }
        let start = self.room - head;
        let len = (self.bytes.len() - start).next_multiple_of(SECTOR);
        self.bytes.resize(start + len, 0);
        // From here on the record begins at `room`.
        let images = &mut self.images;
        images.iter_mut().for_each(|image| image.at -= start as u32);
        self.room = start;
        let b = &mut self.bytes[start..];
        put(b, 16, MAGIC);
        put(b, 20, &(len as u32).to_le_bytes());
        put(b, 56, &commit.file_id);
        if let Some((secs, nanos)) = commit.mtime {
            put(b, 72, &HAS_MTIME.to_le_bytes());
            put(b, 88, &secs.to_le_bytes());
            put(b, 96, &nanos.to_le_bytes());
        }
        put(b, 74, &(handle.len() as u16).to_le_bytes());
        put(b, 76, &commit.handle_kind.to_le_bytes());
        put(b, 80, &commit.physical.to_le_bytes());
        put(b, 100, &(commit.punched.len() as u32).to_le_bytes());
        put(b, 104, &(commit.straight.len() as u32).to_le_bytes());
        put(b, 108, &(images.len() as u32).to_le_bytes());
        put(b, FIXED, handle);
        for (i, (offset, len)) in commit.punched.iter().enumerate() {
            put(b, punched_at + i * 16, &offset.to_le_bytes());
            put(b, punched_at + i * 16 + 8, &len.to_le_bytes());
        }
        for (i, s) in commit.straight.iter().enumerate() {
            let at = straight_at + i * (16 + ENTRY_LEN);
            put(b, at, &s.index.to_le_bytes());
            put(b, at + 8, &s.len.to_le_bytes());
            put(b, at + 16, s.entry.bytes());
        }
        for (i, image) in images.iter().enumerate() {
            put(b, images_at + i * 16, &image.home.to_le_bytes());
            put(b, images_at + i * 16 + 8, &image.len.to_le_bytes());
        }
    }

    /// Bytes of the record that was laid out, a multiple of 512.
    pub fn record_len(&self) -> usize {
        self.bytes.len() - self.room
    }
    /// Where the images stand in the record that was laid out.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Sets the place in the chain, and the MAC, of the record that was laid out. `key` is the segment's; a number is used
    /// once per segment.
    pub fn finish(
        &mut self,
        number: u64,
        durable_through: u64,
        previous_mac: &[u8; 16],
        key: &AeadKey,
    ) -> Result<(&[u8], [u8; 16]), SealFailed> {
        let record = &mut self.bytes[self.room..];
        put(record, 24, &number.to_le_bytes());
        put(record, 32, &durable_through.to_le_bytes());
        put(record, 40, previous_mac);
        let mac = key.seal_with(nonce(number), &record[16..], &mut [])?;
        put(record, 0, &mac);
        Ok((record, mac))
    }

    /// The memory, for the next record.
    pub fn into_memory(self) -> Vec<u8> {
        self.bytes
    }
}

/// Unique under a segment's key, since a number stands once in a segment.
fn nonce(number: u64) -> [u8; 12] {
    let mut n = [0; 12];
    n[..8].copy_from_slice(&number.to_le_bytes());
    n
}

/// A record as read: authenticated, with its chain.
pub struct Read {
    pub commit: Commit,
    pub mac: [u8; 16],
    pub previous_mac: [u8; 16],
    pub len: usize,
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?))
}
fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?))
}

/// The length a record claims to have, from its first 24 bytes; `None` if no record begins here.
pub fn claimed_len(bytes: &[u8], at_most: usize) -> Option<usize> {
    if bytes.get(16..20)? != MAGIC {
        return None;
    }
    let len = u32_at(bytes, 20)? as usize;
    (len >= SECTOR && len.is_multiple_of(SECTOR) && len <= at_most).then_some(len)
}

/// Authenticates and parses the record at the start of `bytes`. `None`: not a record of this segment.
pub fn read(bytes: &[u8], key: &AeadKey) -> Option<Read> {
    let len = claimed_len(bytes, bytes.len())?;
    let b = &bytes[..len];
    let number = u64_at(b, 24)?;
    key.open(nonce(number), &b[16..], &[], &b[..16], &mut []).ok()?;
    let handle_len = u16::from_le_bytes(b[74..76].try_into().ok()?) as usize;
    if handle_len > MAX_HANDLE {
        return None;
    }
    let (punches, straights, images) = (u32_at(b, 100)? as usize, u32_at(b, 104)? as usize, u32_at(b, 108)? as usize);
    let mut at = FIXED + handle_len.next_multiple_of(8);
    let handle = b.get(FIXED..FIXED + handle_len)?.to_vec();
    // The MAC vouches for the counts, but a parser that trusts lengths is a habit not worth having.
    if at + punches.checked_mul(16)? + straights.checked_mul(48)? + images.checked_mul(16)? > len {
        return None;
    }
    let mut commit = Commit {
        number,
        durable_through: u64_at(b, 32)?,
        file_id: b[56..72].try_into().ok()?,
        handle_kind: u32_at(b, 76)? as i32,
        handle,
        physical: u64_at(b, 80)?,
        mtime: None,
        punched: Vec::with_capacity(punches),
        straight: Vec::with_capacity(straights),
        images: Vec::with_capacity(images),
    };
    if u16::from_le_bytes(b[72..74].try_into().ok()?) & HAS_MTIME != 0 {
        commit.mtime = Some((u64_at(b, 88)? as i64, u32_at(b, 96)?));
    }
    for _ in 0..punches {
        commit.punched.push((u64_at(b, at)?, u64_at(b, at + 8)?));
        at += 16;
    }
    for _ in 0..straights {
        let entry: [u8; ENTRY_LEN] = b.get(at + 16..at + 48)?.try_into().ok()?;
        commit.straight.push(Straight {
            index: u64_at(b, at)?,
            len: u32_at(b, at + 8)?,
            entry: Entry::from_bytes(entry),
        });
        at += 48;
    }
    let mut data = at + images * 16;
    for _ in 0..images {
        let image = Image { home: u64_at(b, at)?, len: u32_at(b, at + 8)?, at: data as u32 };
        data = data.checked_add((image.len as usize).next_multiple_of(8))?;
        if data > len {
            return None;
        }
        commit.images.push(image);
        at += 16;
    }
    Some(Read { commit, mac: b[..16].try_into().ok()?, previous_mac: b[40..56].try_into().ok()?, len })
}
