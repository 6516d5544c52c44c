//! Directories, names, links, attributes and records over a backing directory.

pub mod ops;
