//! On-disk format 1 (docs/format.md): layout, keys, sealing and encoding. Pure functions, no I/O.

pub mod keys;
pub mod random;
