use crate::Random;

/// Numbers at the borders of fields, lengths, offsets and sizes.
pub const EXTREMES: [u64; 27] = [
    0,
    1,
    2,
    15,
    16,
    100,
    112,
    128,
    240,
    255,
    256,
    511,
    512,
    4095,
    4096,
    65_535,
    65_536,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 46,
    (1 << 53) - 1,
    1 << 53,
    (1 << 63) - 1,
    u64::MAX,
];

/// One change to bytes. Places wrap around at the length that the bytes have when it is made.
#[derive(Clone, Debug)]
pub enum Damage {
    Flip {
        at: u64,
        bit: u8,
    },
    /// A little-endian number of `width` bytes.
    Set {
        at: u64,
        width: u8,
        value: u64,
    },
    Zero {
        at: u64,
        len: u64,
    },
    Cut {
        len: u64,
    },
    Grow {
        by: u16,
        with: u8,
    },
    Insert {
        at: u64,
        bytes: Vec<u8>,
    },
    Remove {
        at: u64,
        len: u64,
    },
    /// From one place to another.
    Copy {
        from: u64,
        to: u64,
        len: u64,
    },
    /// From `at` on, what the other valid input has there.
    Splice {
        at: u64,
    },
}

fn as_place((at, width): (usize, u8)) -> (u64, u8) {
    (at as u64, width)
}

impl Damage {
    /// `fields`: where numbers stand and their widths; most changes of numbers are made there.
    pub fn draw(random: &mut Random, fields: &[(usize, u8)]) -> Damage {
        let place = |random: &mut Random| {
            if !fields.is_empty() && random.one_in(2) {
                random.pick(fields).0 as u64
            } else {
                random.next() >> 20
            }
        };
        let short = |random: &mut Random| if random.one_in(3) { random.number() } else { random.below(64) };
        match random.below(12) {
            0..=1 => Damage::Flip { at: place(random), bit: random.below(8) as u8 },
            2..=6 => {
                let anywhere = fields.is_empty() || random.one_in(6);
                let (at, width) = if anywhere { (random.next() >> 20, 8) } else { as_place(random.pick(fields)) };
                Damage::Set { at, width, value: random.number() }
            }
            7 => Damage::Zero { at: place(random), len: short(random) },
            8 => Damage::Cut { len: if random.one_in(3) { place(random) } else { random.next() >> 20 } },
            9 => match random.below(3) {
                0 => Damage::Grow { by: random.below(600) as u16, with: random.next() as u8 },
                1 => {
                    let len = random.below(40) as usize;
                    Damage::Insert { at: place(random), bytes: random.bytes(len) }
                }
                _ => Damage::Remove { at: place(random), len: short(random) },
            },
            10 => Damage::Copy { from: place(random), to: place(random), len: short(random) },
            _ => Damage::Splice { at: place(random) },
        }
    }

    /// From one to four changes.
    pub fn some(random: &mut Random, fields: &[(usize, u8)]) -> Vec<Damage> {
        (0..=random.below(4)).map(|_| Damage::draw(random, fields)).collect()
    }

    pub fn apply(&self, bytes: &mut Vec<u8>, other: &[u8]) {
        let len = bytes.len();
        let place = |at: u64| if at <= len as u64 { at as usize } else { (at % (len as u64 + 1)) as usize };
        let range = |at: u64, n: u64| place(at)..len.min(place(at).saturating_add(n as usize));
        match self {
            Damage::Flip { at, bit } => {
                if let Some(byte) = bytes.get_mut(place(*at)) {
                    *byte ^= 1 << bit;
                }
            }
            Damage::Set { at, width, value } => {
                let range = range(*at, u64::from(*width));
                let number = &value.to_le_bytes()[..range.len()];
                bytes[range].copy_from_slice(number);
            }
            Damage::Zero { at, len } => bytes[range(*at, *len)].fill(0),
            Damage::Cut { len } => bytes.truncate(place(*len)),
            Damage::Grow { by, with } => bytes.resize(len + usize::from(*by), *with),
            Damage::Insert { at, bytes: more } => drop(bytes.splice(place(*at)..place(*at), more.iter().copied())),
            Damage::Remove { at, len } => drop(bytes.drain(range(*at, *len))),
            Damage::Copy { from, to, len } => {
                let piece = bytes[range(*from, *len)].to_vec();
                let to = range(*to, piece.len() as u64);
                let n = to.len();
                bytes[to].copy_from_slice(&piece[..n]);
            }
            Damage::Splice { at } => {
                let at = place(*at);
                bytes.truncate(at);
                bytes.extend_from_slice(other.get(at..).unwrap_or_default());
            }
        }
    }
}
