//! One session thread: takes a request, has it answered, sends the answer; again and again.

use crate::abi::{self, opcode};
use crate::buffer::Buffer;
use crate::crew::Crew;
use crate::device::{Device, Received};
use crate::dispatch::{dispatch, Answer, Context};
use crate::reply::Reply;
use crate::request::{Header, Operation};
use crate::seeker::Seek;
use crate::session::{Ended, Error, Result};
use kmsfs_namespace::ops::Errno;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::Sender;
use std::time::Instant;

/// Buffers that held more than this give their memory back when their thread is not needed for a while.
const LITTLE: usize = 64 << 10;

pub struct Worker {
    request: Buffer,
    reply: Buffer,
}

impl Worker {
    /// Allocates the thread's buffers, the only memory that serving takes here. The data of a WRITE and of a READ lie on
    /// page borders.
    pub fn new() -> Self {
        let write = abi::IN_HEADER + abi::WRITE_IN;
        Worker {
            request: Buffer::new(write, write + abi::MAX_WRITE),
            reply: Buffer::new(abi::OUT_HEADER, abi::OUT_HEADER + abi::MAX_WRITE),
        }
    }

    pub fn buffers(&mut self) -> (&mut [u8], &mut [u8]) {
        (self.request.bytes(), self.reply.bytes())
    }

    /// Serves from `seat` of the crew until there is nothing more to serve. `seek` is where seeks go that wait for dirty
    /// pages.
    pub fn run(
        &mut self,
        device: &Device,
        context: &Context<'_>,
        (crew, seat): (&Crew, usize),
        seek: Option<Sender<Seek>>,
    ) -> Result<Ended> {
        // The longest message so far.
        let mut longest = 0;
        crew.join(seat);
        let ended = loop {
            crew.rest(seat, || {
                if longest > LITTLE {
                    self.request.give_back();
                    self.reply.give_back();
                    longest = 0;
                }
            });
            let (request, message) = self.buffers();
            match device.receive(request) {
                Ok(Received::Request(length)) => {
                    let received = Instant::now();
                    let request = Header::parse(request.get(..length).unwrap_or_default());
                    let write = request.as_ref().is_some_and(|(header, _)| header.opcode == opcode::WRITE);
                    crew.took(seat, received, write);
                    let payload = serve_one(device, context, seek.as_ref(), received, request, message);
                    longest = longest.max(length).max(payload);
                    crew.served(seat);
                }
                Ok(Received::Unmounted | Received::NotMounted) => break Ok(Ended::Unmounted),
                Ok(Received::Aborted) => break Ok(Ended::Aborted),
                Err(e) => break Err(Error::Device(e.into())),
            }
        };
        crew.end();
        if longest == 0 {
            self.request.untouched();
            self.reply.untouched();
        }
        ended
    }
}

/// Returns the length of the reply's payload.
fn serve_one(
    device: &Device,
    context: &Context<'_>,
    seek: Option<&Sender<Seek>>,
    received: Instant,
    request: Option<(Header, std::result::Result<&[u8], Errno>)>,
    message: &mut [u8],
) -> usize {
    let Some((header, body)) = request else {
        context.counters.malformed();
        return 0;
    };
    context.counters.request(header.opcode);
    let mut reply = Reply::new(message.get_mut(abi::OUT_HEADER..).unwrap_or_default());
    let answered = match body.and_then(|body| Operation::parse(&header, body, context.long_setxattr)) {
        Ok(operation) if defer(context, seek, received, &header, &operation) => return 0,
        Ok(operation) => answer(context, &header, operation, &mut reply),
        Err(errno) => {
            context.counters.malformed();
            Err(errno)
        }
    };
    let payload = reply.len();
    if context.debug {
        eprintln!("fuse {} op {} node {}: {answered:?}, {payload} bytes", header.unique, header.opcode, header.node.0);
    }
    match answered {
        Ok(Answer::Reply) => device.reply(message, header.unique, payload),
        Ok(Answer::None) => {}
        Err(errno) => {
            context.counters.error(errno.0);
            // FORGET and its like have no reply, not even an error.
            if !matches!(header.opcode, opcode::FORGET | opcode::BATCH_FORGET | opcode::NOTIFY_REPLY) {
                device.reply_error(header.unique, errno.0);
            }
        }
    }
    context.counters.answered(header.opcode, received);
    payload
}

/// Hands a seek in a file that is open for writing to the seeker. `false`: it is to be answered here.
fn defer(
    context: &Context<'_>,
    seek: Option<&Sender<Seek>>,
    received: Instant,
    header: &Header,
    operation: &Operation<'_>,
) -> bool {
    let (Operation::Lseek { handle, offset, whence }, Some(seek)) = (operation, seek) else { return false };
    let (header, handle, offset, whence) = (*header, *handle, *offset, *whence);
    context.writers.any(header.node) && seek.send(Seek { received, header, handle, offset, whence }).is_ok()
}

/// Whatever the request does, the thread goes on: a panic is that request's EIO.
pub fn answer(
    context: &Context<'_>,
    header: &Header,
    operation: Operation<'_>,
    reply: &mut Reply<'_>,
) -> std::result::Result<Answer, Errno> {
    // What a panic leaves half-done is behind the file system's own locks; the reply is given up with it.
    catch_unwind(AssertUnwindSafe(|| dispatch(context, header, operation, reply))).unwrap_or_else(|_| {
        context.counters.panic();
        Err(Errno(libc::EIO))
    })
}
