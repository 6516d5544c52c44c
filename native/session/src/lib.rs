//! FUSE sessions: requests from /dev/fuse in, replies out, by several threads. Speaks the kernel's FUSE ABI
//! (linux/fuse.h) from 7.31 on, and knows the file system only as [`kmsfs_namespace::ops::FileSystem`].

mod abi;
mod buffer;
mod counters;
mod cpu_clock;
mod crew;
mod demand;
mod descriptors;
mod device;
mod dispatch;
mod fields;
mod init;
mod keeper;
mod reply;
mod request;
mod seeker;
mod session;
mod trial;
#[cfg(test)]
mod wire_tests;
mod worker;
mod writers;

pub use counters::{Counters, OPCODES};
pub use descriptors::widen_descriptor_table;
pub use session::{serve, Ended, Error, Options, Result};
