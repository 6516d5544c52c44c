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
    let key = hmac::Key::new(hmac::HMAC_SHA256, keys.records.expose());
    let mut context = hmac::Context::with_key(&key);
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

/// Hash of an inode's `system.posix_acl_access` and `system.posix_acl_default`; `None` when it has neither.
pub fn acl_hash(access: Option<&[u8]>, default: Option<&[u8]>) -> Option<AclHash> {
    if access.is_none() && default.is_none() {
        return None;
    }
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
    Some(out)
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
        let tag = mac(keys, b"record", &[&out]);
        out.extend_from_slice(&tag.as_ref()[..MAC_LEN]);
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

    /// Whether an inode whose ACLs hash to `has` is the one that the record describes.
    pub fn accepts_acl(&self, has: Option<&AclHash>) -> bool {
        has == self.acl.as_ref() || (self.old_acl.is_some() && has == self.old_acl.as_ref())
    }
}
