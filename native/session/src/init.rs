//! FUSE_INIT: which of the kernel's offers are taken.

use crate::abi::{self, init_flag as flag};
use crate::fields::{Fields, MALFORMED};
use crate::reply::Reply;
use kmsfs_namespace::ops::Errno;

/// Requests that the kernel may have in flight of its own accord (read-ahead, write-back), and where it holds back.
const MAX_BACKGROUND: u16 = 64;
const CONGESTION: u16 = 48;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    pub major: u32,
    pub minor: u32,
    max_readahead: u32,
    flags: u64,
}

/// What of a session is not the same for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub writeback: bool,
    pub acls: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A newer major version: the kernel asks again in ours.
    AskAgain,
    TooOld,
    Accept,
}

impl Offer {
    /// `fuse_init_in`; only the first eight bytes mean anything when the major version is not ours.
    pub fn parse(body: &[u8]) -> Result<Offer, Errno> {
        let mut f = Fields(body);
        let (major, minor) = (f.u32()?, f.u32()?);
        if major != abi::MAJOR {
            return Ok(Offer { major, minor, max_readahead: 0, flags: 0 });
        }
        let (max_readahead, low) = (f.u32()?, f.u32()?);
        let low = u64::from(low);
        let high = if low & flag::INIT_EXT != 0 { u64::from(f.u32().map_err(|_| MALFORMED)?) } else { 0 };
        Ok(Offer { major, minor, max_readahead, flags: low | high << 32 })
    }

    pub fn verdict(&self) -> Verdict {
        match self.major {
            major if major > abi::MAJOR => Verdict::AskAgain,
            abi::MAJOR if self.minor >= abi::OLDEST_MINOR => Verdict::Accept,
            _ => Verdict::TooOld,
        }
    }

    /// What is wanted and offered. Not wanted, on purpose: ATOMIC_O_TRUNC (a truncation comes as SETATTR and is one
    /// code path), POSIX_LOCKS and FLOCK_LOCKS (local to the kernel: the volume has one mount), AUTO_INVAL_DATA and
    /// EXPLICIT_INVAL_DATA (nobody else changes the volume), SPLICE_*.
    ///
    /// DONT_MASK always: the umask then comes with the request (fuse_create_open, create_new_entry in fs/fuse/dir.c), and the
    /// file system knows whether a default ACL stands in its place. POSIX_ACL where there can be ACLs: the kernel asks
    /// for them and caches them, checks by them (fuse_get_inode_acl in fs/fuse/acl.c), and turns default_permissions on.
    /// Without it nothing is asked, and what a program sets or gets itself is EOPNOTSUPP.
    fn taken(&self, wanted: Wanted) -> u64 {
        let mut want = flag::ASYNC_READ
            | flag::EXPORT_SUPPORT
            | flag::BIG_WRITES
            | flag::DONT_MASK
            | flag::DO_READDIRPLUS
            | flag::READDIRPLUS_AUTO
            | flag::ASYNC_DIO
            | flag::PARALLEL_DIROPS
            | flag::ABORT_ERROR
            | flag::MAX_PAGES
            | flag::CACHE_SYMLINKS
            | flag::HANDLE_KILLPRIV_V2
            | flag::SETXATTR_EXT
            | flag::INIT_EXT
            | flag::DIRECT_IO_ALLOW_MMAP;
        if wanted.writeback {
            want |= flag::WRITEBACK_CACHE;
        }
        if wanted.acls {
            want |= flag::POSIX_ACL;
        }
        want & self.flags
    }

    /// Whether SETXATTR comes in its long form (Linux 5.13).
    pub fn long_setxattr(&self, wanted: Wanted) -> bool {
        self.taken(wanted) & flag::SETXATTR_EXT != 0
    }

    /// `fuse_init_out`, 64 bytes.
    pub fn answer(&self, wanted: Wanted, reply: &mut Reply<'_>) -> Result<(), Errno> {
        let taken = self.taken(wanted);
        let page = rustix::param::page_size();
        let max_pages = u16::try_from(abi::MAX_WRITE / page).unwrap_or(u16::MAX).max(1);
        let [low, high] = [taken, taken >> 32].map(|half| (half & u64::from(u32::MAX)) as u32);
        for value in [abi::MAJOR, abi::MINOR, self.max_readahead, low] {
            reply.u32(value)?;
        }
        reply.bytes(&MAX_BACKGROUND.to_ne_bytes())?;
        reply.bytes(&CONGESTION.to_ne_bytes())?;
        reply.u32(abi::MAX_WRITE as u32)?;
        reply.u32(1)?;
        reply.bytes(&max_pages.to_ne_bytes())?;
        reply.bytes(&[0; 2])?;
        reply.u32(high)?;
        reply.bytes(&[0; 28])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(words: &[u32]) -> Result<Offer, Errno> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Offer::parse(&bytes)
    }

    #[test]
    fn versions_are_judged_by_major_then_minor() {
        assert_eq!(offer(&[7, 45, 0, 0]).unwrap().verdict(), Verdict::Accept);
        assert_eq!(offer(&[7, 31, 0, 0]).unwrap().verdict(), Verdict::Accept);
        assert_eq!(offer(&[7, 30, 0, 0]).unwrap().verdict(), Verdict::TooOld);
        assert_eq!(offer(&[6, 99]).unwrap().verdict(), Verdict::TooOld);
        assert_eq!(offer(&[8, 0]).unwrap().verdict(), Verdict::AskAgain);
    }

    #[test]
    fn a_cut_short_offer_is_refused() {
        for words in [&[][..], &[7], &[7, 45], &[7, 45, 0], &[7, 45, 0, 1 << 30]] {
            assert_eq!(offer(words).unwrap_err(), Errno(libc::EINVAL), "{words:?}");
        }
    }

    #[test]
    fn only_offered_flags_are_taken_and_writeback_and_acls_only_on_demand() {
        let all = offer(&[7, 45, 131_072, u32::MAX, u32::MAX]).unwrap();
        let (none, both) = (Wanted { writeback: false, acls: false }, Wanted { writeback: true, acls: true });
        for on_demand in [flag::WRITEBACK_CACHE, flag::POSIX_ACL] {
            assert_ne!(all.taken(both) & on_demand, 0);
            assert_eq!(all.taken(none) & on_demand, 0);
        }
        assert_ne!(all.taken(none) & flag::DIRECT_IO_ALLOW_MMAP, 0);
        assert!(all.long_setxattr(none));
        let old = offer(&[7, 31, 0, 0]).unwrap();
        assert_eq!((old.taken(both), old.long_setxattr(both)), (0, false));
        let mut bytes = [0u8; 128];
        let mut reply = Reply::new(&mut bytes);
        all.answer(both, &mut reply).unwrap();
        assert_eq!(reply.len(), 64);
    }
}
