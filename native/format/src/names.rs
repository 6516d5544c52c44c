//! Sealed names, symlink targets and extended attributes (docs/format.md §6, §7, §8): AES-256-SIV, RFC 5297.

use crate::keys::DomainKeys;
use crate::random::{self, NoRandom};
use aes_siv::siv::Aes256Siv;
use aes_siv::KeyInit;
use aws_lc_rs::digest::{digest, SHA256};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use zeroize::Zeroizing;

/// Longest name, plain or stored, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest full xattr name (with its namespace) whose sealed form fits behind the longest prefix.
pub const XATTR_NAME_MAX: usize = 160;
/// Longest stored symlink target; a longer one goes to a sidecar.
pub const LINK_STORED_MAX: usize = 1023;
/// Bytes that sealing adds to a symlink target or an xattr value: V and the random prefix.
pub const SALTED_OVERHEAD: usize = 32;
/// What the name of a sidecar ends in.
pub const SIDECAR_SUFFIX: &str = ".name";
/// What a temporary name begins with.
pub const TEMPORARY_PREFIX: &str = ".t-";

const PAD: usize = 16;
const SIV_LEN: usize = 16;

/// What is stored does not authenticate, or is no name at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

/// Sealing failed: no random bytes, or a name outside of the format's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSealed;

impl From<NoRandom> for NotSealed {
    fn from(_: NoRandom) -> Self {
        NotSealed
    }
}

/// A sealed name: what stands in the backing directory, and what goes into its sidecar when it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredName {
    pub stored: String,
    pub sidecar: Option<Vec<u8>>,
}

impl StoredName {
    /// The sidecar's own name, where there is one.
    pub fn sidecar_name(&self) -> Option<String> {
        self.sidecar.as_ref().map(|_| sidecar_name(&self.stored))
    }
}

/// The sidecar's name of a stored name that begins with `~`.
pub fn sidecar_name(stored: &str) -> String {
    format!("{stored}{SIDECAR_SUFFIX}")
}

fn seal(key: &[u8; 64], ad: &[u8], plain: &[u8]) -> Result<Vec<u8>, NotSealed> {
    Aes256Siv::new(key.into()).encrypt([ad], plain).map_err(|_| NotSealed)
}

fn open(key: &[u8; 64], ad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
    if sealed.len() < SIV_LEN {
        return Err(NotAuthentic);
    }
    Aes256Siv::new(key.into()).decrypt([ad], sealed).map_err(|_| NotAuthentic)
}

fn pad(name: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut padded = Zeroizing::new(name.to_vec());
    padded.resize(name.len().next_multiple_of(PAD), 0);
    padded
}

/// Takes the padding off; `None` unless it is exactly what [`pad`] adds to a string without NUL.
fn unpad(mut padded: Vec<u8>) -> Option<Vec<u8>> {
    let len = padded.iter().rposition(|b| *b != 0)? + 1;
    if padded.len() != len.next_multiple_of(PAD) || padded[..len].contains(&0) {
        return None;
    }
    padded.truncate(len);
    Some(padded)
}

/// Whether `name` may be a directory entry: 1 to 255 bytes, no `/` or NUL, not `.` or `..`.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && !name.contains(&b'/')
        && !name.contains(&0)
        && name != b"."
        && name != b".."
}

/// Seals the name of an entry of directory `dir` (§6). Deterministic.
pub fn seal_name(keys: &DomainKeys, dir: &[u8; 16], name: &[u8]) -> Result<StoredName, NotSealed> {
    if !is_name(name) {
        return Err(NotSealed);
    }
    let sealed = seal(keys.names.expose(), dir, &pad(name))?;
    let direct = URL_SAFE_NO_PAD.encode(&sealed);
    if direct.len() <= NAME_MAX {
        return Ok(StoredName { stored: direct, sidecar: None });
    }
    Ok(StoredName { stored: hashed(&sealed), sidecar: Some(sealed) })
}

fn hashed(sealed: &[u8]) -> String {
    format!("~{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, sealed)))
}

/// What a name in a backing directory is, by its look alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A sealed name that stands for itself.
    Direct,
    /// `~...`: the sealed name is in the sidecar.
    Hashed,
    /// `~....name`: a sidecar, no entry.
    Sidecar,
    /// `.t-...`: left by a crash, no entry.
    Temporary,
    /// None of these: not ours.
    Foreign,
}

/// Classifies a name found in a backing directory.
pub fn look(stored: &[u8]) -> Look {
    if stored.starts_with(TEMPORARY_PREFIX.as_bytes()) {
        Look::Temporary
    } else if stored.starts_with(b"~") {
        if stored.ends_with(SIDECAR_SUFFIX.as_bytes()) {
            Look::Sidecar
        } else {
            Look::Hashed
        }
    } else if stored.starts_with(b".") {
        Look::Foreign
    } else {
        Look::Direct
    }
}

/// Opens a stored name of directory `dir`. `sidecar` holds the sidecar's bytes for one that begins with `~`.
pub fn open_name(
    keys: &DomainKeys,
    dir: &[u8; 16],
    stored: &[u8],
    sidecar: Option<&[u8]>,
) -> Result<Vec<u8>, NotAuthentic> {
    let name = match (look(stored), sidecar) {
        (Look::Direct, _) => {
            let sealed = URL_SAFE_NO_PAD.decode(stored).map_err(|_| NotAuthentic)?;
            open(keys.names.expose(), dir, &sealed)?
        }
        (Look::Hashed, Some(sealed)) if hashed(sealed).as_bytes() == stored => open(keys.names.expose(), dir, sealed)?,
        _ => return Err(NotAuthentic),
    };
    let name = unpad(name).ok_or(NotAuthentic)?;
    is_name(&name).then_some(name).ok_or(NotAuthentic)
}

/// A sealed symlink target: what the backing symlink says, and what goes into `.kmsfs/links/<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTarget {
    pub stored: String,
    pub sidecar: Option<Vec<u8>>,
}

fn salted(plain: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
    let mut out = Zeroizing::new(Vec::with_capacity(16 + plain.len()));
    out.extend_from_slice(&random::bytes::<16>()?);
    out.extend_from_slice(plain);
    Ok(out)
}

fn unsalted(mut plain: Vec<u8>) -> Result<Vec<u8>, NotAuthentic> {
    if plain.len() < 16 {
        return Err(NotAuthentic);
    }
    plain.drain(..16);
    Ok(plain)
}

/// Seals the target of symlink `id` (§7).
pub fn seal_target(keys: &DomainKeys, id: &[u8; 16], target: &[u8]) -> Result<StoredTarget, NotSealed> {
    let sealed = seal(keys.links.expose(), id, &salted(target)?)?;
    let stored = URL_SAFE_NO_PAD.encode(&sealed);
    if stored.len() <= LINK_STORED_MAX {
        return Ok(StoredTarget { stored, sidecar: None });
    }
    Ok(StoredTarget { stored: "~".into(), sidecar: Some(sealed) })
}

/// Whether a stored target is in the sidecar.
pub fn target_is_aside(stored: &[u8]) -> bool {
    stored == b"~"
}

/// Opens the target of symlink `id`; `sidecar` holds the sidecar's bytes where `stored` is `~`.
pub fn open_target(
    keys: &DomainKeys,
    id: &[u8; 16],
    stored: &[u8],
    sidecar: Option<&[u8]>,
) -> Result<Vec<u8>, NotAuthentic> {
    let plain = match sidecar {
        Some(sealed) if target_is_aside(stored) => open(keys.links.expose(), id, sealed)?,
        _ => {
            let sealed = URL_SAFE_NO_PAD.decode(stored).map_err(|_| NotAuthentic)?;
            open(keys.links.expose(), id, &sealed)?
        }
    };
    unsalted(plain)
}

/// Length in bytes of the target behind a stored one of `stored` bytes that is not aside.
pub fn target_len(stored: usize) -> Option<usize> {
    (stored / 4 * 3 + (stored % 4).saturating_sub(1)).checked_sub(SALTED_OVERHEAD)
}

/// Seals a full xattr name of inode `id`, without the backing prefix (§8). Deterministic.
pub fn seal_xattr_name(keys: &DomainKeys, id: &[u8; 16], name: &[u8]) -> Result<String, NotSealed> {
    if name.is_empty() || name.len() > XATTR_NAME_MAX || name.contains(&0) {
        return Err(NotSealed);
    }
    Ok(URL_SAFE_NO_PAD.encode(seal(keys.xattrs.expose(), id, &pad(name))?))
}

/// Opens a stored xattr name, its backing prefix already taken off.
pub fn open_xattr_name(keys: &DomainKeys, id: &[u8; 16], stored: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
    let sealed = URL_SAFE_NO_PAD.decode(stored).map_err(|_| NotAuthentic)?;
    unpad(open(keys.xattrs.expose(), id, &sealed)?).ok_or(NotAuthentic)
}

fn value_ad(id: &[u8; 16], name: &[u8]) -> Vec<u8> {
    [id.as_slice(), name].concat()
}

/// Seals the value of xattr `name` (in full) of inode `id`; [`SALTED_OVERHEAD`] bytes longer than `value`.
pub fn seal_xattr_value(keys: &DomainKeys, id: &[u8; 16], name: &[u8], value: &[u8]) -> Result<Vec<u8>, NotSealed> {
    seal(keys.xattrs.expose(), &value_ad(id, name), &salted(value)?)
}

/// Opens the value of xattr `name` (in full) of inode `id`.
pub fn open_xattr_value(keys: &DomainKeys, id: &[u8; 16], name: &[u8], stored: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
    unsalted(open(keys.xattrs.expose(), &value_ad(id, name), stored)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;

    fn keys() -> DomainKeys {
        DomainKeys::derive(&[1; 16], &Secret::take(&mut [2; 32])).unwrap()
    }

    fn name(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * 31 + seed * 17) % 255 + 1) as u8).map(|c| if c == b'/' { b'x' } else { c }).collect()
    }

    #[test]
    fn names_of_all_lengths_and_bytes_come_back_within_255_bytes() {
        let keys = keys();
        for len in 1..=NAME_MAX {
            let plain = name(len, len);
            if !is_name(&plain) {
                continue;
            }
            let sealed = seal_name(&keys, &[3; 16], &plain).unwrap();
            assert!(sealed.stored.len() + sealed.sidecar.as_ref().map_or(0, |_| SIDECAR_SUFFIX.len()) <= NAME_MAX);
            assert_eq!(sealed.sidecar.is_some(), len > 160, "length {len}");
            let look = if len > 160 { Look::Hashed } else { Look::Direct };
            assert_eq!(super::look(sealed.stored.as_bytes()), look);
            let back = open_name(&keys, &[3; 16], sealed.stored.as_bytes(), sealed.sidecar.as_deref());
            assert_eq!(back.unwrap(), plain);
        }
    }

    #[test]
    fn a_name_of_another_directory_or_with_a_changed_byte_does_not_open() {
        let keys = keys();
        for len in [5, 200] {
            let s = seal_name(&keys, &[3; 16], &name(len, 1)).unwrap();
            assert!(open_name(&keys, &[4; 16], s.stored.as_bytes(), s.sidecar.as_deref()).is_err());
            for i in 0..s.stored.len() {
                let mut bad = s.stored.clone().into_bytes();
                bad[i] = if bad[i] == b'A' { b'B' } else { b'A' };
                assert!(open_name(&keys, &[3; 16], &bad, s.sidecar.as_deref()).is_err(), "byte {i}");
            }
            assert!(open_name(&keys, &[3; 16], s.stored.as_bytes(), Some(b"other")).is_err() || s.sidecar.is_none());
        }
    }

    #[test]
    fn what_is_no_name_is_neither_sealed_nor_opened() {
        let keys = keys();
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
            assert!(seal_name(&keys, &[3; 16], bad).is_err());
            let sealed = seal(keys.names.expose(), &[3; 16], &pad(bad)).unwrap();
            let stored = URL_SAFE_NO_PAD.encode(sealed);
            assert!(open_name(&keys, &[3; 16], stored.as_bytes(), None).is_err());
        }
        // Padded by a block too much.
        let sealed = seal(keys.names.expose(), &[3; 16], &[b"name".as_slice(), &[0; 28]].concat()).unwrap();
        assert!(open_name(&keys, &[3; 16], URL_SAFE_NO_PAD.encode(sealed).as_bytes(), None).is_err());
        for garbage in [&b"garbage"[..], b"~", b"~x", b".hidden", b"\xff", b".t-x"] {
            assert!(open_name(&keys, &[3; 16], garbage, None).is_err());
        }
    }

    #[test]
    fn targets_of_all_sizes_come_back_and_their_stored_length_tells_theirs() {
        let keys = keys();
        for len in (1..=4095).step_by(13).chain([735, 736, 4095]) {
            let target = name(len, 9);
            let s = seal_target(&keys, &[5; 16], &target).unwrap();
            assert_eq!(s.sidecar.is_some(), len > 735, "length {len}");
            if s.sidecar.is_none() {
                assert_eq!(target_len(s.stored.len()), Some(len));
            }
            assert_eq!(open_target(&keys, &[5; 16], s.stored.as_bytes(), s.sidecar.as_deref()).unwrap(), target);
            assert!(open_target(&keys, &[6; 16], s.stored.as_bytes(), s.sidecar.as_deref()).is_err());
        }
    }

    #[test]
    fn xattrs_come_back_and_are_bound_to_inode_and_name() {
        let keys = keys();
        let stored = seal_xattr_name(&keys, &[7; 16], b"user.a").unwrap();
        assert_eq!(open_xattr_name(&keys, &[7; 16], stored.as_bytes()).unwrap(), b"user.a");
        assert!(open_xattr_name(&keys, &[8; 16], stored.as_bytes()).is_err());
        let longest = seal_xattr_name(&keys, &[7; 16], &[b'x'; XATTR_NAME_MAX]).unwrap();
        assert!("trusted.kmsfs.".len() + longest.len() <= 255);
        assert!(seal_xattr_name(&keys, &[7; 16], &[b'x'; XATTR_NAME_MAX + 1]).is_err());
        let value = seal_xattr_value(&keys, &[7; 16], b"user.a", b"").unwrap();
        assert_eq!(value.len(), SALTED_OVERHEAD);
        assert_eq!(open_xattr_value(&keys, &[7; 16], b"user.a", &value).unwrap(), b"");
        assert!(open_xattr_value(&keys, &[7; 16], b"user.b", &value).is_err());
        assert!(open_xattr_value(&keys, &[8; 16], b"user.a", &value).is_err());
    }
}
