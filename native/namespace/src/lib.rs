//! Directories, names, links, attributes and records over a backing directory.

mod acl;
pub mod backing;
mod fault;
pub mod ops;
mod table;
mod volume;

pub use kmsfs_files::histogram;
pub use volume::{Cursor, Finding, ScrubCounts, ScrubEnd, Scrubbing};
pub use volume::{OpenError, Options, Stats, Volume, MOST_FDS};
