//! Inode records (docs/format.md §4): what binds an inode to its id, type, mode, owner and names.

use crate::keys::DomainKeys;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{digest, SHA256};
use aws_lc_rs::hmac;

pub const VERSION: u8 = 1;
/// Most names an inode may have.
pub const MAX_BINDINGS: usize = 100;
/// Longest encoded record.
pub const MAX_LEN: usize = 28 + 8 + 10 + 32 + 8 * MAX_BINDINGS + MAC_LEN;
/// A record longer than this is replaced in two steps.
pub const TWO_STEP_LEN: usize = 200;
/// Mode bits that an inode may have lost: the kernel clears setuid and setgid by itself.
pub const LOSABLE: u16 = 0o6000;

const MAC_LEN: usize = 16;
const FIXED_LEN: usize = 28;
const GROWING: u8 = 0x01;
const OLD: u8 = 0x02;
const ACL: u8 = 0x04;
const OLD_ACL: u8 = 0x08;

/// HMAC over parent id and stored name, cut to 8 bytes.
pub type Binding = [u8; 8];
/// SHA-256 over an inode's ACLs, cut to 16 bytes.
pub type AclHash = [u8; 16];

/// An inode's type, numbered as in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    File = 1,
    Directory = 2,
    Symlink = 3,
    Fifo = 4,
    Socket = 5,
    CharDevice = 6,
    BlockDevice = 7,
}

impl Kind {
    fn from_number(n: u8) -> Option<Self> {
        Some(match n {
            1 => Kind::File,
            2 => Kind::Directory,
            3 => Kind::Symlink,
            4 => Kind::Fifo,
            5 => Kind::Socket,
            6 => Kind::CharDevice,
            7 => Kind::BlockDevice,
            _ => return None,
        })
    }
    /// From the type bits of st_mode (inode(7)).
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            libc::S_IFCHR => Kind::CharDevice,
            libc::S_IFBLK => Kind::BlockDevice,
            _ => return None,
        })
    }
    pub fn is_device(self) -> bool {
        matches!(self, Kind::CharDevice | Kind::BlockDevice)
    }
    /// Whether the backing inode can carry `user.` xattrs (xattr(7)).
    pub fn has_user_xattrs(self) -> bool {
        matches!(self, Kind::File | Kind::Directory)
    }
    /// Name of the xattr that holds the record.
    pub fn record_xattr(self) -> &'static str {
        if self.has_user_xattrs() {
            "user.kmsfs"
        } else {
            "trusted.kmsfs"
        }
    }
    /// Prefix of the names of sealed xattrs (§8).
    pub fn xattr_prefix(self) -> &'static str {
        if self.has_user_xattrs() {
            "user.kmsfs."
        } else {
            "trusted.kmsfs."
        }
    }
}

/// Mode without type bits, and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
}

/// Device number of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    pub growing: bool,
    pub id: [u8; 16],
    pub owner: Owner,
    /// Zero unless `kind` is a device.
    pub device: Device,
    /// What the inode may still have while it is being changed.
    pub old: Option<Owner>,
    pub acl: Option<AclHash>,
    pub old_acl: Option<AclHash>,
    pub bindings: Vec<Binding>,
}

/// Why a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRecord {
    NotAuthentic,
    /// Authentic, but of a later format or contradicting this one.
    Malformed,
}

fn mac(keys: &DomainKeys, domain: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&keys.record_mac);
    context.update(domain);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// The binding of an entry `stored` in the directory whose id is `parent`.
pub fn binding(keys: &DomainKeys, parent: &[u8; 16], stored: &[u8]) -> Binding {
    let mut out = [0; 8];
    out.copy_from_slice(&mac(keys, b"binding", &[parent, stored]).as_ref()[..8]);
    out
}

/// Hash of an inode's `system.posix_acl_access` and `system.posix_acl_default`. A record has none where the inode has
/// neither.
pub fn acl_hash(access: Option<&[u8]>, default: Option<&[u8]>) -> AclHash {
    let mut input = b"kmsfs acl".to_vec();
    for acl in [access, default] {
        match acl {
            None => input.extend_from_slice(&u32::MAX.to_le_bytes()),
            Some(value) => {
                input.extend_from_slice(&(value.len() as u32).to_le_bytes());
                input.extend_from_slice(value);
            }
        }
    }
    let mut out = [0; 16];
    out.copy_from_slice(&digest(&SHA256, &input).as_ref()[..16]);
    out
}

/// Cuts fields off the front of a record.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(BadRecord::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }
    fn u16(&mut self) -> Result<u16, BadRecord> {
        Ok(u16::from_le_bytes(self.take()?))
    }
    fn u32(&mut self) -> Result<u32, BadRecord> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    fn owner(&mut self) -> Result<Owner, BadRecord> {
        let owner = Owner { mode: self.u16()?, uid: self.u32()?, gid: self.u32()? };
        (owner.mode <= 0o7777).then_some(owner).ok_or(BadRecord::Malformed)
    }
}

fn put_owner(out: &mut Vec<u8>, owner: &Owner) {
    out.extend_from_slice(&owner.mode.to_le_bytes());
    out.extend_from_slice(&owner.uid.to_le_bytes());
    out.extend_from_slice(&owner.gid.to_le_bytes());
}

impl Record {
    /// A record without bindings, flags or ACL.
    pub fn new(kind: Kind, id: [u8; 16], owner: Owner, device: Device) -> Self {
        Record {
            kind,
            growing: kind == Kind::File,
            id,
            owner,
            device,
            old: None,
            acl: None,
            old_acl: None,
            bindings: Vec::new(),
        }
    }

    /// The bytes of the xattr, MAC included.
    pub fn encode(&self, keys: &DomainKeys) -> Vec<u8> {
        let mut out = self.body();
        let tag = mac(keys, b"record", &[&out]);
        out.extend_from_slice(&tag.as_ref()[..MAC_LEN]);
        out
    }

    /// Bytes of [`Record::encode`].
    pub fn encoded_len(&self) -> usize {
        self.body().len() + MAC_LEN
    }

    fn body(&self) -> Vec<u8> {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let mut out = Vec::with_capacity(FIXED_LEN + 10 + 8 * self.bindings.len() + MAC_LEN);
        out.push(VERSION << 4 | self.kind as u8);
        out.push(
            flag(self.growing, GROWING)
                | flag(self.old.is_some(), OLD)
                | flag(self.acl.is_some(), ACL)
                | flag(self.old_acl.is_some(), OLD_ACL),
        );
        out.extend_from_slice(&self.id);
        put_owner(&mut out, &self.owner);
        if self.kind.is_device() {
            out.extend_from_slice(&self.device.major.to_le_bytes());
            out.extend_from_slice(&self.device.minor.to_le_bytes());
        }
        if let Some(old) = &self.old {
            put_owner(&mut out, old);
        }
        for hash in [&self.acl, &self.old_acl].into_iter().flatten() {
            out.extend_from_slice(hash);
        }
        for b in &self.bindings {
            out.extend_from_slice(b);
        }
        out
    }

    /// Verifies and decodes the bytes of the xattr.
    pub fn decode(keys: &DomainKeys, bytes: &[u8]) -> Result<Self, BadRecord> {
        let at = bytes.len().checked_sub(MAC_LEN).ok_or(BadRecord::NotAuthentic)?;
        let (body, tag) = bytes.split_at(at);
        let expected = mac(keys, b"record", &[body]);
        verify_slices_are_equal(&expected.as_ref()[..MAC_LEN], tag).map_err(|_| BadRecord::NotAuthentic)?;

        let mut c = Cursor(body);
        let [first, flags] = c.take::<2>()?;
        if first >> 4 != VERSION || flags & !(GROWING | OLD | ACL | OLD_ACL) != 0 {
            return Err(BadRecord::Malformed);
        }
        let kind = Kind::from_number(first & 0x0f).ok_or(BadRecord::Malformed)?;
        let mut record = Record::new(kind, c.take()?, c.owner()?, Device::default());
        record.growing = flags & GROWING != 0;
        if kind.is_device() {
            record.device = Device { major: c.u32()?, minor: c.u32()? };
        }
        if flags & OLD != 0 {
            record.old = Some(c.owner()?);
        }
        if flags & ACL != 0 {
            record.acl = Some(c.take()?);
        }
        if flags & OLD_ACL != 0 {
            record.old_acl = Some(c.take()?);
        }
        if c.0.len() % 8 != 0 || c.0.len() / 8 > MAX_BINDINGS {
            return Err(BadRecord::Malformed);
        }
        while !c.0.is_empty() {
            record.bindings.push(c.take()?);
        }
        Ok(record)
    }

    pub fn is_bound(&self, binding: &Binding) -> bool {
        self.bindings.contains(binding)
    }

    /// Whether an inode with this type, mode, owner and device is the one that the record describes.
    pub fn accepts(&self, kind: Kind, has: &Owner, device: Device) -> bool {
        let any = |ok: &dyn Fn(&Owner) -> bool| ok(&self.owner) || self.old.as_ref().is_some_and(ok);
        kind == self.kind
            && (!kind.is_device() || device == self.device)
            && any(&|o| has.mode & !o.mode == 0 && o.mode & !has.mode & !LOSABLE == 0)
            && any(&|o| o.uid == has.uid)
            && any(&|o| o.gid == has.gid)
    }

    /// Whether an inode whose ACLs hash to `has` is the one that the record describes. As the old hash, that of two
    /// absent ACLs says that there was none.
    pub fn accepts_acl(&self, has: Option<&AclHash>) -> bool {
        has == self.acl.as_ref()
            || self.old_acl.as_ref().is_some_and(|old| *old == has.copied().unwrap_or_else(|| acl_hash(None, None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;

    fn keys() -> DomainKeys {
        DomainKeys::derive(&[1; 16], &Secret::take(&mut [2; 32])).unwrap()
    }

    const OWNER: Owner = Owner { mode: 0o4755, uid: 1000, gid: 100 };

    fn samples() -> Vec<Record> {
        let mut all = vec![Record::new(Kind::File, [9; 16], OWNER, Device::default())];
        all.push(Record::new(Kind::BlockDevice, [8; 16], OWNER, Device { major: 259, minor: 70_000 }));
        let mut full = Record::new(Kind::Directory, [7; 16], OWNER, Device::default());
        full.old = Some(Owner { mode: 0o700, uid: 0, gid: u32::MAX });
        full.acl = Some([1; 16]);
        full.old_acl = Some([2; 16]);
        full.bindings = (0..MAX_BINDINGS as u8).map(|i| [i; 8]).collect();
        all.push(full);
        all
    }

    #[test]
    fn records_have_the_sizes_of_the_format_and_come_back() {
        let keys = keys();
        let mut r = samples().remove(0);
        r.bindings.push([1; 8]);
        assert_eq!(r.encode(&keys).len(), 52);
        r.bindings.push([2; 8]);
        assert_eq!(r.encode(&keys).len(), 60);
        r.bindings.pop();
        r.old = Some(OWNER);
        assert_eq!(r.encode(&keys).len(), 62);
        for record in samples() {
            let bytes = record.encode(&keys);
            assert!(bytes.len() <= MAX_LEN);
            assert_eq!(Record::decode(&keys, &bytes), Ok(record));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let keys = keys();
        for record in samples() {
            let good = record.encode(&keys);
            for i in 0..good.len() {
                let mut bad = good.clone();
                bad[i] ^= 0x10;
                assert_eq!(Record::decode(&keys, &bad), Err(BadRecord::NotAuthentic), "byte {i}");
                assert!(Record::decode(&keys, &good[..i]).is_err(), "cut at {i}");
            }
        }
    }

    #[test]
    fn an_authentic_record_that_contradicts_the_format_is_refused() {
        let keys = keys();
        let sign = |mut body: Vec<u8>| {
            let tag = mac(&keys, b"record", &[&body]);
            body.extend_from_slice(&tag.as_ref()[..MAC_LEN]);
            body
        };
        let body = |record: &Record| record.encode(&keys)[..record.encode(&keys).len() - MAC_LEN].to_vec();
        let good = body(&samples()[0]);
        assert!(Record::decode(&keys, &sign(good.clone())).is_ok());
        for (at, value) in [(0, 0x21), (0, 0x10), (0, 0x18), (1, 0x10), (1, OLD), (1, ACL), (19, 0x10)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Record::decode(&keys, &sign(bad)), Err(BadRecord::Malformed), "byte {at} = {value:#x}");
        }
        for extra in [1, 7, 8 * (MAX_BINDINGS + 1)] {
            let bad = [good.as_slice(), &vec![0; extra]].concat();
            assert_eq!(Record::decode(&keys, &sign(bad)), Err(BadRecord::Malformed));
        }
        assert_eq!(Record::decode(&keys, &sign(vec![])), Err(BadRecord::Malformed));
    }

    #[test]
    fn attributes_are_accepted_as_new_or_old_each_and_setuid_may_be_missing() {
        let mut r = samples().remove(0);
        let none = Device::default();
        let ok = |r: &Record, mode, uid, gid| r.accepts(Kind::File, &Owner { mode, uid, gid }, none);
        assert!(ok(&r, 0o4755, 1000, 100) && ok(&r, 0o755, 1000, 100));
        assert!(!ok(&r, 0o6755, 1000, 100) && !ok(&r, 0o4754, 1000, 100) && !ok(&r, 0o4755, 0, 100));
        assert!(!r.accepts(Kind::Directory, &OWNER, none));
        r.old = Some(Owner { mode: 0o600, uid: 0, gid: 0 });
        assert!(ok(&r, 0o600, 1000, 0) && ok(&r, 0o755, 0, 100) && ok(&r, 0o600, 0, 0));
        assert!(!ok(&r, 0o644, 0, 0));
        let device = &samples()[1];
        assert!(device.accepts(Kind::BlockDevice, &OWNER, Device { major: 259, minor: 70_000 }));
        assert!(!device.accepts(Kind::BlockDevice, &OWNER, Device { major: 259, minor: 1 }));
    }

    #[test]
    fn acls_are_accepted_as_new_or_old_and_none_before_has_a_hash() {
        let mut r = samples().remove(0);
        let (none, one, two) = (acl_hash(None, None), [1; 16], [2; 16]);
        assert!(r.accepts_acl(None) && !r.accepts_acl(Some(&one)));
        r.acl = Some(one);
        assert!(r.accepts_acl(Some(&one)) && !r.accepts_acl(Some(&two)) && !r.accepts_acl(None));
        r.old_acl = Some(none);
        assert!(r.accepts_acl(Some(&one)) && r.accepts_acl(None) && !r.accepts_acl(Some(&two)));
        r.old_acl = Some(two);
        assert!(r.accepts_acl(Some(&one)) && r.accepts_acl(Some(&two)) && !r.accepts_acl(None));
        r.acl = None;
        assert!(!r.accepts_acl(Some(&one)) && r.accepts_acl(Some(&two)) && r.accepts_acl(None));
    }

    #[test]
    fn bindings_tell_parent_and_name_apart() {
        let keys = keys();
        let b = binding(&keys, &[1; 16], b"name");
        assert_ne!(b, binding(&keys, &[2; 16], b"name"));
        assert_ne!(b, binding(&keys, &[1; 16], b"names"));
        assert_ne!(acl_hash(Some(b"x"), None), acl_hash(None, Some(b"x")));
    }
}
