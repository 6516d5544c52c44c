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
    fill(&mut out)?;
    Ok(out)
}

fn fill(out: &mut [u8]) -> Result<(), NoRandom> {
    let mut done = 0;
    while done < out.len() {
        match getrandom(&mut out[done..], GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(_) => return Err(NoRandom),
        }
    }
    Ok(())
}

const NONCE: usize = 12;
/// The most that getrandom(2) gives in one piece comes to 21 nonces.
const AT_ONCE: usize = 256 / NONCE;

/// Nonces for a run of seals, drawn some at a time. Only for what is in memory already and sealed at once: a machine resumed
/// twice from a snapshot in between then seals the same under the same nonce, and nothing else.
pub struct Nonces {
    /// Still wanted, with those that are drawn.
    wanted: usize,
    drawn: [[u8; NONCE]; AT_ONCE],
    left: usize,
}

impl Nonces {
    /// For `seals` of them; any beyond cost a call each.
    pub fn of(seals: usize) -> Self {
        Nonces { wanted: seals, drawn: [[0; NONCE]; AT_ONCE], left: 0 }
    }

    pub fn draw(&mut self) -> Result<[u8; NONCE], NoRandom> {
        if self.left == 0 {
            let some = self.wanted.clamp(1, AT_ONCE);
            fill(self.drawn[..some].as_flattened_mut())?;
            self.left = some;
        }
        self.left -= 1;
        self.wanted = self.wanted.saturating_sub(1);
        Ok(self.drawn[self.left])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nonce_is_given_twice_however_many_were_asked_for() {
        let mut seen = std::collections::HashSet::new();
        for seals in [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 100] {
            let mut nonces = Nonces::of(seals);
            for _ in 0..seals + 30 {
                let nonce = nonces.draw().unwrap();
                assert!(seen.insert(nonce), "{nonce:?}, of {seals}");
            }
        }
    }
}
