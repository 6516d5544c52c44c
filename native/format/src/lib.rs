//! On-disk format 1 (docs/format.md): layout, keys, sealing and encoding. Pure functions, no I/O.

pub mod block;
pub mod commit;
pub mod header;
pub mod keys;
pub mod layout;
pub mod names;
pub mod random;
pub mod record;
pub mod segment;
