//! Reading the log (docs/format.md §9, "Reading the log"): what is there, and where it ends.

use crate::error::{Error, Result};
use crate::store::{Handle, RootIdentity, Segment};
use kmsfs_format::block::AeadKey;
use kmsfs_format::commit::{self, Commit, SECTOR};
use kmsfs_format::keys::DomainKeys;
use kmsfs_format::layout::Layout;
use kmsfs_format::segment::{SegmentHeader, RECORDS_AT, SEGMENT_HEADER_LEN};
use std::io;
use std::sync::Arc;

/// A commit and where its record lies.
pub struct Logged {
    pub commit: Commit,
    pub slot: usize,
    pub at: u64,
    mac: [u8; 16],
}

pub struct Scanned {
    /// In order of their numbers, those above `checkpointed` only.
    pub commits: Vec<Logged>,
    /// The number of the last commit; new ones go on from it.
    pub last: u64,
    /// U of §9: the highest `durable through` seen.
    pub durable: u64,
    pub sequence: u64,
    /// Slots that hold commits which may not be home.
    pub live: Vec<usize>,
    pub identity: RootIdentity,
    pub dropped_tail: bool,
}

struct Found {
    slot: usize,
    header: SegmentHeader,
}

/// Numbers in segment headers are below this: no volume lives so long, and one more is always a number too.
const NUMBER_LIMIT: u64 = 1 << 62;
/// What looks like records behind the end and is none may come to this many times the segment (§9): each claim costs
/// reading all that it claims, and somebody could write one into every sector.
const CLAIMS: u64 = 8;

/// Reads the whole log of a volume of files with this layout. `None`: it was never used (every header is zero).
pub fn scan(
    segments: &[Arc<dyn Segment>],
    size: u64,
    layout: Layout,
    keys: &DomainKeys,
    uuid: &[u8; 16],
) -> Result<Option<Scanned>> {
    let Some(chain) = chain(segments, keys, uuid)? else {
        return Ok(None);
    };
    let Some(newest) = chain.last() else {
        return Ok(None);
    };
    let checkpointed = newest.header.checkpointed;
    let mut reader = Reader {
        commits: Vec::new(),
        expected: chain[0].header.first_commit,
        mac: chain[0].header.previous_mac,
        durable: chain.iter().map(|f| f.header.checkpointed).max().unwrap_or(0),
        first: (chain[0].header.first_commit, chain[0].header.previous_mac),
        ended: false,
        beyond: 0,
        leftover: false,
    };
    for found in &chain {
        reader.segment(found, &segments[found.slot], size, layout, keys)?;
    }
    if reader.beyond >= reader.expected {
        return Err(Error::LogDamaged(format!(
            "commit {} is missing, though a later one says that {} was durable",
            reader.expected, reader.beyond
        )));
    }
    let last = (reader.expected - 1).max(checkpointed);
    reader.commits.retain(|c| c.commit.number > checkpointed);
    Ok(Some(Scanned {
        commits: reader.commits,
        last,
        durable: reader.durable,
        sequence: newest.header.sequence,
        live: chain.iter().map(|f| f.slot).collect(),
        identity: RootIdentity {
            handle: Handle { kind: newest.header.root_handle_kind, bytes: newest.header.root_handle.clone() },
            file_system: newest.header.file_system,
        },
        dropped_tail: reader.leftover,
    }))
}

fn can_be(header: &SegmentHeader) -> bool {
    header.first_commit > 0
        && header.sequence > 0
        && [header.first_commit, header.sequence, header.checkpointed].iter().all(|n| *n < NUMBER_LIMIT)
}

/// The segments that matter, oldest first (rule 1).
fn chain(segments: &[Arc<dyn Segment>], keys: &DomainKeys, uuid: &[u8; 16]) -> Result<Option<Vec<Found>>> {
    let mac_key = keys.log_mac().map_err(|_| io::Error::other("key derivation failed"))?;
    let mut found = Vec::new();
    let mut used = false;
    for (slot, segment) in segments.iter().enumerate() {
        let mut bytes = [0u8; SEGMENT_HEADER_LEN];
        segment.read_at(&mut bytes, 0)?;
        used |= bytes.iter().any(|b| *b != 0);
        if let Some(header) = SegmentHeader::decode(&bytes, &mac_key).filter(|h| &h.uuid == uuid && can_be(h)) {
            found.push(Found { slot, header });
        }
    }
    if found.is_empty() {
        return if used { Err(Error::LogDamaged("no segment authenticates".into())) } else { Ok(None) };
    }
    found.sort_by_key(|f| std::cmp::Reverse(f.header.sequence));
    let through = found[0].header.checkpointed;
    let mut chain: Vec<Found> = Vec::new();
    for f in found {
        let Some(newer) = chain.last() else {
            chain.push(f);
            continue;
        };
        if newer.header.first_commit <= through + 1 {
            break;
        }
        if newer.header.sequence != f.header.sequence + 1 {
            return Err(Error::LogDamaged(format!("segment {} is missing", newer.header.sequence - 1)));
        }
        chain.push(f);
    }
    if chain.last().is_some_and(|f| f.header.first_commit > through + 1) {
        return Err(Error::LogDamaged("its oldest segments are missing".into()));
    }
    chain.reverse();
    Ok(Some(chain))
}

/// What is read of a segment at a time. After a clean unmount it holds no record, and that has to be seen.
const WINDOW: usize = 256 << 10;

/// A segment of which the part is in memory that is looked at. Offsets count from its start.
struct Window<'a> {
    segment: &'a dyn Segment,
    size: u64,
    bytes: Vec<u8>,
    from: u64,
}

impl Window<'_> {
    /// `len` bytes at `at`, which the segment has.
    fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        if at < self.from || at + len as u64 > self.from + self.bytes.len() as u64 {
            self.bytes.resize((len.max(WINDOW) as u64).min(self.size - at) as usize, 0);
            self.segment.read_at(&mut self.bytes, at)?;
            self.from = at;
        }
        let start = (at - self.from) as usize;
        Ok(&self.bytes[start..start + len])
    }

    /// The length of the record that begins at `at`, as it says itself; 0 where none does.
    fn claimed(&mut self, at: u64) -> io::Result<usize> {
        let rest = (self.size - at) as usize;
        Ok(commit::claimed_len(self.get(at, SECTOR)?, rest).unwrap_or(0))
    }

    fn record(&mut self, at: u64, claimed: usize, key: &AeadKey) -> io::Result<Option<commit::Read>> {
        Ok(commit::read(self.get(at, claimed)?, key))
    }
}

struct Reader {
    commits: Vec<Logged>,
    /// The number that comes next.
    expected: u64,
    /// MAC of the record before.
    mac: [u8; 16],
    durable: u64,
    /// Where reading began: the number, and the MAC before it.
    first: (u64, [u8; 16]),
    ended: bool,
    /// The highest commit that something behind the end says was durable.
    beyond: u64,
    leftover: bool,
}

impl Reader {
    fn segment(
        &mut self,
        found: &Found,
        segment: &Arc<dyn Segment>,
        size: u64,
        layout: Layout,
        keys: &DomainKeys,
    ) -> Result<()> {
        let header = &found.header;
        if !self.ended && header.first_commit < self.expected {
            self.supersede(header);
        }
        if header.first_commit != self.expected || header.previous_mac != self.mac {
            self.ended = true;
        }
        let key = keys
            .segment(&header.salt)
            .map_err(|_| io::Error::other("key derivation failed"))
            .and_then(|k| AeadKey::new(&k).map_err(io::Error::from))?;
        let mut window = Window { segment: &**segment, size, bytes: Vec::new(), from: 0 };
        let mut at = RECORDS_AT;
        while !self.ended && at + SECTOR as u64 <= size {
            let claimed = window.claimed(at)?;
            let Some(read) = window.record(at, claimed, &key)? else { break };
            if read.commit.number != self.expected || read.previous_mac != self.mac {
                break;
            }
            if !read.commit.can_be(layout) {
                return Err(Error::LogDamaged(format!("commit {} is one that no file can have", self.expected)));
            }
            self.durable = self.durable.max(read.commit.durable_through);
            self.expected += 1;
            self.mac = read.mac;
            self.commits.push(Logged { commit: read.commit, slot: found.slot, at, mac: read.mac });
            at += read.len as u64;
        }
        if self.ended {
            self.beyond = self.beyond.max(header.checkpointed);
        }
        // What authenticates behind the end tells a crash's tail from damage.
        let mut claims = CLAIMS * (size - RECORDS_AT);
        while at + SECTOR as u64 <= size {
            let claimed = window.claimed(at)?;
            claims = claims.checked_sub(claimed as u64).ok_or_else(|| {
                Error::LogDamaged(format!(
                    "segment {} holds more claims of records than it has room for",
                    header.sequence
                ))
            })?;
            if let Some(read) = window.record(at, claimed, &key)? {
                self.leftover = true;
                self.beyond = self.beyond.max(read.commit.durable_through);
                at += read.len as u64;
            } else {
                at += SECTOR as u64;
            }
        }
        Ok(())
    }

    /// A record whose write failed may stand in its segment all the same; its number came again in the next one.
    fn supersede(&mut self, by: &SegmentHeader) {
        let keep = self.commits.iter().take_while(|c| c.commit.number < by.first_commit).count();
        self.commits.truncate(keep);
        match self.commits.last() {
            Some(last) => {
                self.expected = last.commit.number + 1;
                self.mac = last.mac;
            }
            None => {
                self.expected = self.first.0;
                self.mac = self.first.1;
            }
        }
    }
}
