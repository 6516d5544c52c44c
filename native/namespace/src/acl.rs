//! POSIX ACLs as values: the xattr form of acl(5) and what mode bits do to it. Follows Linux's fs/posix_acl.c, which ext4
//! uses; with FUSE_DONT_MASK and FUSE_POSIX_ACL the kernel leaves this arithmetic to us.

/// Names of the two xattrs.
pub const ACCESS: &str = "system.posix_acl_access";
pub const DEFAULT: &str = "system.posix_acl_default";

/// include/uapi/linux/posix_acl_xattr.h: a version, then 8 bytes an entry, little-endian.
const VERSION: u32 = 2;
const HEADER_LEN: usize = 4;
const ENTRY_LEN: usize = 8;

/// include/uapi/linux/posix_acl.h. In a valid ACL the tags stand in the order of their numbers.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

const RWX: u16 = 0o7;
const PERMISSIONS: u16 = 0o777;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

/// A valid ACL (posix_acl_valid): one entry each for owner, group and others, and a mask where users or groups are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

impl Acl {
    /// `None` for what is no valid ACL.
    pub fn decode(value: &[u8]) -> Option<Acl> {
        let (version, entries) = value.split_first_chunk::<HEADER_LEN>()?;
        if u32::from_le_bytes(*version) != VERSION || entries.len() % ENTRY_LEN != 0 {
            return None;
        }
        let entries = entries
            .chunks_exact(ENTRY_LEN)
            .map(|e| Entry {
                tag: u16::from_le_bytes([e[0], e[1]]),
                perm: u16::from_le_bytes([e[2], e[3]]),
                id: u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
            })
            .map(|e| if matches!(e.tag, USER | GROUP) { e } else { Entry { id: NO_ID, ..e } })
            .collect();
        Some(Acl(entries)).filter(Acl::is_valid)
    }

    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|e| e.tag == tag).count();
        let (named, masks) = (count(USER) + count(GROUP), count(MASK));
        let known =
            [USER_OBJ, GROUP_OBJ, OTHER].map(count) == [1, 1, 1] && masks <= 1 && named + masks + 3 == self.0.len();
        known
            && (named == 0 || masks == 1)
            && self.0.is_sorted_by_key(|e| e.tag)
            && self.0.iter().all(|e| e.perm & !RWX == 0 && (e.id != NO_ID || !matches!(e.tag, USER | GROUP)))
    }

    /// The value as the kernel writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + ENTRY_LEN * self.0.len());
        out.extend_from_slice(&VERSION.to_le_bytes());
        for e in &self.0 {
            out.extend_from_slice(&e.tag.to_le_bytes());
            out.extend_from_slice(&e.perm.to_le_bytes());
            out.extend_from_slice(&e.id.to_le_bytes());
        }
        out
    }

    /// Whether it says no more than permission bits do (posix_acl_equiv_mode).
    pub fn is_mode(&self) -> bool {
        self.0.len() == 3
    }

    /// The permission bits that an inode with this access ACL shows: the mask stands in the group's place.
    pub fn permissions(&self) -> u16 {
        self.0.iter().fold(0, |mode, e| match e.tag {
            USER_OBJ => mode | e.perm << 6,
            GROUP_OBJ => mode | e.perm << 3,
            // After GROUP_OBJ, in the order of tags.
            MASK => mode & !0o070 | e.perm << 3,
            OTHER => mode | e.perm,
            _ => mode,
        })
    }

    /// Calls `f` for the entries that permission bits stand for, with the shift of their bits.
    fn each_class(&mut self, mut f: impl FnMut(&mut u16, u16)) {
        let group = if self.0.iter().any(|e| e.tag == MASK) { MASK } else { GROUP_OBJ };
        for e in &mut self.0 {
            match e.tag {
                USER_OBJ => f(&mut e.perm, 6),
                OTHER => f(&mut e.perm, 0),
                tag if tag == group => f(&mut e.perm, 3),
                _ => {}
            }
        }
    }

    /// After chmod(2) to `mode` (__posix_acl_chmod_masq).
    pub fn with_mode(mut self, mode: u16) -> Acl {
        self.each_class(|perm, shift| *perm = mode >> shift & RWX);
        self
    }

    /// What an inode made with `mode` gets from this default ACL: access ACL and mode (posix_acl_create_masq). The umask
    /// has no part in it.
    pub fn for_new(mut self, mode: u16) -> (Acl, u16) {
        let mut left = mode & !PERMISSIONS;
        self.each_class(|perm, shift| {
            *perm &= mode >> shift & RWX;
            left |= *perm << shift;
        });
        (self, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        Acl(entries.iter().map(|&(tag, perm, id)| Entry { tag, perm, id }).collect()).encode()
    }

    const NAMED: &[(u16, u16, u32)] =
        &[(USER_OBJ, 7, NO_ID), (USER, 7, 1000), (GROUP_OBJ, 5, NO_ID), (MASK, 6, NO_ID), (OTHER, 1, NO_ID)];

    #[test]
    fn only_valid_values_are_taken_and_come_back_as_they_were() {
        let good = acl(NAMED);
        assert_eq!(Acl::decode(&good).unwrap().encode(), good);
        let many: Vec<_> = [(USER_OBJ, 7, NO_ID)]
            .into_iter()
            .chain((0..500).rev().map(|id| (USER, 1, id)))
            .chain([(GROUP_OBJ, 0, NO_ID), (GROUP, 2, 3), (MASK, 7, NO_ID), (OTHER, 0, NO_ID)])
            .collect();
        assert_eq!(Acl::decode(&acl(&many)).unwrap().encode(), acl(&many), "ids need no order");
        for len in 0..good.len() {
            assert_eq!(Acl::decode(&good[..len]), None, "cut at {len}");
        }
        let mut version = good.clone();
        version[0] = 1;
        assert_eq!(Acl::decode(&version), None);
        for (without, again) in NAMED.iter().enumerate() {
            let mut entries = NAMED.to_vec();
            entries.remove(without);
            // A mask may stand without names, not the other way round.
            assert_eq!(Acl::decode(&acl(&entries)).is_some(), without == 1, "without {without}");
            entries.insert(without, *again);
            entries.insert(without, *again);
            assert_eq!(Acl::decode(&acl(&entries)).is_some(), without == 1, "twice {without}");
        }
        let changed = |at: usize, entry| {
            let mut entries = NAMED.to_vec();
            entries[at] = entry;
            Acl::decode(&acl(&entries))
        };
        assert_eq!(changed(1, (USER, 8, 1000)), None);
        assert_eq!(changed(1, (USER, 7, NO_ID)), None);
        assert_eq!(changed(1, (0x40, 7, 1)), None);
        let mut order = NAMED.to_vec();
        order.swap(0, 1);
        assert_eq!(Acl::decode(&acl(&order)), None);
    }

    #[test]
    fn the_mask_stands_for_the_group_in_mode_chmod_and_inheritance() {
        let named = Acl::decode(&acl(NAMED)).unwrap();
        assert_eq!((named.permissions(), named.is_mode()), (0o761, false));
        let group = |a: &Acl| a.0.iter().find(|e| e.tag == GROUP_OBJ).unwrap().perm;
        let after = named.clone().with_mode(0o2640);
        assert_eq!((after.permissions(), group(&after)), (0o640, 5));
        let (made, mode) = named.clone().for_new(0o1674);
        assert_eq!((made.permissions(), mode, group(&made)), (0o660, 0o1660, 5));
        let bare = Acl::decode(&acl(&[(USER_OBJ, 6, 9), (GROUP_OBJ, 4, NO_ID), (OTHER, 0, NO_ID)])).unwrap();
        assert_eq!((bare.permissions(), bare.is_mode()), (0o640, true));
        let (made, mode) = bare.for_new(0o777);
        assert_eq!((made.permissions(), mode, made.is_mode()), (0o640, 0o640, true));
    }
}
