//! FUSE sessions: requests from /dev/fuse in, replies out.
