//! Keys of one domain, derived from its domain key (docs/format.md §2), in locked memory, wiped when dropped.

use aws_lc_rs::hkdf::{KeyType, Prk, Salt, HKDF_SHA512};
use aws_lc_rs::hmac;
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroize;

/// Key derivation failed: HKDF refuses only absurd lengths, so this never happens with the constants here.
#[derive(Debug, Clone, Copy)]
pub struct DerivationFailed;

struct Length(usize);
impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Whether the process has all of its memory locked, as it is and as it comes.
static ALL_LOCKED: AtomicBool = AtomicBool::new(false);

/// To be called when mlockall(2) with MCL_CURRENT and MCL_FUTURE has succeeded: from then on no secret takes a system
/// call of its own to be locked.
pub fn all_memory_is_locked() {
    ALL_LOCKED.store(true, Ordering::Release);
}

/// Secret bytes on the heap: locked where the limit allows, kept out of core dumps, zeroized on drop.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes over; the caller's copy is wiped.
    pub fn take(from: &mut [u8; N]) -> Self {
        let mut boxed = Box::new([0u8; N]);
        if !ALL_LOCKED.load(Ordering::Acquire) {
            // SAFETY: the range is ours and mapped; mlock does not touch its content. Failure (RLIMIT_MEMLOCK) is
            // tolerated here: the engine locks all of its memory or says so once at start.
            unsafe { libc::mlock(boxed.as_ptr().cast(), N) };
        }
        boxed.copy_from_slice(from);
        from.zeroize();
        Secret(boxed)
    }
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Result<Secret<N>, DerivationFailed> {
    let mut out = [0u8; N];
    prk.expand(info, Length(N)).and_then(|okm| okm.fill(&mut out)).map_err(|_| DerivationFailed)?;
    Ok(Secret::take(&mut out))
}

/// A file's key under one epoch, and what its header publishes of it.
pub struct FileMaterial {
    pub key: Secret<32>,
    pub commitment: [u8; 32],
}

/// The subkeys of one domain. Holds no copy of the domain key itself.
pub struct DomainKeys {
    pub domain_id: [u8; 16],
    pub content: Secret<64>,
    pub names: Secret<64>,
    pub xattrs: Secret<64>,
    pub links: Secret<64>,
    pub records: Secret<32>,
    /// `records`, ready for use: two MACs for each lookup. Wiped when dropped (AWS-LC's HMAC_CTX_cleanup).
    pub(crate) record_mac: hmac::Key,
    pub log: Secret<64>,
    pub header: Secret<32>,
    pub commitment: [u8; 32],
}

impl DomainKeys {
    /// Derives the subkeys of the volume's own domain from its key.
    pub fn derive(uuid: &[u8; 16], domain_key: &Secret<32>) -> Result<Self, DerivationFailed> {
        let prk = Salt::new(HKDF_SHA512, uuid).extract(domain_key.expose());
        let label: &[u8] = b"kmsfs v1 ";
        let commitment: Secret<32> = expand(&prk, &[label, b"commitment"])?;
        let records: Secret<32> = expand(&prk, &[label, b"records"])?;
        Ok(DomainKeys {
            domain_id: *uuid,
            content: expand(&prk, &[label, b"content"])?,
            names: expand(&prk, &[label, b"names"])?,
            xattrs: expand(&prk, &[label, b"xattrs"])?,
            links: expand(&prk, &[label, b"links"])?,
            record_mac: hmac::Key::new(hmac::HMAC_SHA256, records.expose()),
            records,
            log: expand(&prk, &[label, b"log"])?,
            header: expand(&prk, &[label, b"header"])?,
            commitment: *commitment.expose(),
        })
    }

    /// The key of `file_id` under `epoch`.
    pub fn file(&self, file_id: &[u8; 16], epoch: u32) -> Result<FileMaterial, DerivationFailed> {
        let prk = Prk::new_less_safe(HKDF_SHA512, self.content.expose());
        let material: Secret<64> = expand(&prk, &[b"file", file_id, &epoch.to_le_bytes()])?;
        let (key, commitment) = material.expose().split_at(32);
        let mut key: [u8; 32] = key.try_into().map_err(|_| DerivationFailed)?;
        Ok(FileMaterial {
            key: Secret::take(&mut key),
            commitment: commitment.try_into().map_err(|_| DerivationFailed)?,
        })
    }

    /// HMAC-SHA-256 key of segment headers.
    pub fn log_mac(&self) -> Result<Secret<32>, DerivationFailed> {
        let prk = Prk::new_less_safe(HKDF_SHA512, self.log.expose());
        expand(&prk, &[b"segment headers"])
    }

    /// AES-256-GCM key of one segment's records.
    pub fn segment(&self, salt: &[u8; 32]) -> Result<Secret<32>, DerivationFailed> {
        let prk = Prk::new_less_safe(HKDF_SHA512, self.log.expose());
        expand(&prk, &[b"segment", salt])
    }
}
