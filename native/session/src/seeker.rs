//! SEEK_DATA and SEEK_HOLE of files that are open for writing.
//!
//! The kernel passes LSEEK on without writing its dirty pages first (those of the writeback cache, and with or without
//! it those of shared mappings), so that data not yet written back would be reported as a hole, and a copy by extents
//! would lose it. The invalidation notice makes the kernel write them; it returns only when the session's threads have
//! answered those writes, so it must not be sent from one of them: this thread sends it, and then answers the seek.

use crate::abi;
use crate::device::Device;
use crate::dispatch::{Answer, Context};
use crate::reply::Reply;
use crate::request::{Header, Operation};
use crate::worker::answer;
use kmsfs_namespace::ops::Handle;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// A seek that waits for its file's dirty pages.
pub struct Seek {
    pub received: Instant,
    pub header: Header,
    pub handle: Handle,
    pub offset: u64,
    pub whence: u32,
}

/// Answers seeks until every session thread has ended.
pub fn run(device: &Device, context: &Context<'_>, seeks: &Receiver<Seek>) {
    for Seek { received, header, handle, offset, whence } in seeks {
        device.write_back(header.node);
        let mut message = [0u8; abi::OUT_HEADER + 8];
        let mut reply = Reply::new(message.get_mut(abi::OUT_HEADER..).unwrap_or_default());
        let answered = answer(context, &header, Operation::Lseek { handle, offset, whence }, &mut reply);
        let payload = reply.len();
        match answered {
            Ok(Answer::Reply) => device.reply(&mut message, header.unique, payload),
            Ok(Answer::None) => {}
            Err(errno) => {
                context.counters.error(errno.0);
                device.reply_error(header.unique, errno.0);
            }
        }
        context.counters.answered(header.opcode, received);
    }
}
