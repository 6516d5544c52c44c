//! Random bytes from the operating system: the one place that makes nonces, ids and epochs.

use aws_lc_rs::rand;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy)]
pub struct NoRandom;

impl From<NoRandom> for std::io::Error {
    fn from(_: NoRandom) -> Self {
        std::io::Error::other("no random bytes from the operating system")
    }
}

/// `N` random bytes: a 96-bit nonce, a 128-bit id, a salt.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut out = [0u8; N];
    rand::fill(&mut out).map_err(|_| NoRandom)?;
    Ok(out)
}
