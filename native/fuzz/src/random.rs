use std::ops::{Deref, DerefMut};

/// Numbers for a seed, and among them those that code forgets.
pub struct Random(kmsfs_random::Random);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(kmsfs_random::Random::new(seed))
    }

    /// At the border of what anything can hold, or near one, or anywhere.
    pub fn number(&mut self) -> u64 {
        let border = self.pick(&crate::EXTREMES);
        match self.below(4) {
            0 => {
                let shift = self.below(64);
                self.next() >> shift
            }
            1 => border.wrapping_add(self.below(5)).wrapping_sub(2),
            _ => border,
        }
    }
}

impl Deref for Random {
    type Target = kmsfs_random::Random;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Random {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
