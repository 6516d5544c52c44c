//! Random bytes from the operating system: the one place that makes nonces, ids and epochs.

use rustix::io::Errno;
use rustix::rand::{getrandom, GetRandomFlags};

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy)]
pub struct NoRandom;

impl From<NoRandom> for std::io::Error {
    fn from(_: NoRandom) -> Self {
        std::io::Error::other("no random bytes from the operating system")
    }
}

/// `N` random bytes: a 96-bit nonce, a 128-bit id, a salt. Straight from getrandom(2), which never gives the same twice, also
/// not after the machine was resumed from a snapshot; a generator of our own could, and would have to be seeded at each mount.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut out = [0u8; N];
    let mut done = 0;
    while done < N {
        match getrandom(&mut out[done..], GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(_) => return Err(NoRandom),
        }
    }
    Ok(out)
}
