//! /dev/fuse: one request per read(2), one reply per write(2).

use crate::abi;
use kmsfs_namespace::ops::NodeId;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno as Os;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often an unmounted descriptor is asked whether it has been mounted by now.
const MOUNT_POLL: Duration = Duration::from_millis(2);
/// How long a connection that said it was aborted gets to be over, before it is read again.
const ABORT_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// A pause before asking again when the kernel is out of memory.
const MEMORY_PAUSE: Duration = Duration::from_millis(10);

pub struct Device(OwnedFd);

pub enum Received {
    /// So many bytes of one request.
    Request(usize),
    /// The file system is unmounted: there will be no more requests.
    Unmounted,
    /// The connection was aborted (/sys/fs/fuse/connections): there will be no more requests.
    Aborted,
    /// No mount has been made of the descriptor.
    NotMounted,
}

impl Device {
    pub fn new(fd: OwnedFd) -> Self {
        Device(fd)
    }

    /// Whether a request, or the end, waits to be read.
    pub fn pending(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Waits for one request.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, Os> {
        let mut over = false;
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                // The end of what is no /dev/fuse: a socket, as in tests.
                Ok(0) => return Ok(Received::Unmounted),
                Ok(length) => return Ok(Received::Request(length)),
                // ENOENT: the request was taken back while it was being read.
                Err(Os::INTR | Os::NOENT) => {}
                Err(Os::AGAIN) => wait_readable(self.0.as_fd())?,
                Err(Os::NOMEM) => thread::sleep(MEMORY_PAUSE),
                Err(Os::NODEV | Os::NOTCONN) => return Ok(Received::Unmounted),
                // A read that took a request while the file system was being unmounted says so too. Only of a connection
                // that is over before it is asked does the kernel tell which it was: ENODEV or this.
                Err(Os::CONNABORTED) if over => return Ok(Received::Aborted),
                Err(Os::CONNABORTED) => over = self.is_over()?,
                Err(Os::PERM) => return Ok(Received::NotMounted),
                Err(other) => return Err(other),
            }
        }
    }

    /// As `receive`, but waits also for the mount to be made, until `cancel` says that there will be none.
    pub fn receive_first(&self, buffer: &mut [u8], cancel: &AtomicBool) -> Result<Received, Os> {
        loop {
            // Read before the try: a mount made just before the cancellation is still served.
            let cancelled = cancel.load(Ordering::Acquire);
            match self.receive(buffer)? {
                Received::NotMounted if !cancelled => thread::sleep(MOUNT_POLL),
                received => return Ok(received),
            }
        }
    }

    /// Sends the reply whose payload of `payload` bytes stands in `message` behind room for the header.
    pub fn reply(&self, message: &mut [u8], unique: u64, payload: usize) {
        let length = abi::OUT_HEADER + payload;
        let sent = match message.get_mut(..length) {
            Some(message) => {
                put_header(message, unique, 0);
                self.send(message)
            }
            None => Err(Os::INVAL),
        };
        match sent {
            // ENOENT: nobody waits for it any more. ENODEV: unmounted, which the next read says too.
            Ok(()) | Err(Os::NOENT | Os::NODEV | Os::PERM) => {}
            // The caller must not wait for ever.
            Err(_) => self.reply_error(unique, libc::EIO),
        }
    }

    /// `errno` is positive.
    pub fn reply_error(&self, unique: u64, errno: i32) {
        let mut message = [0u8; abi::OUT_HEADER];
        put_header(&mut message, unique, errno);
        // An error here is of a connection that is gone, as the next read tells.
        let _ = self.send(&message);
    }

    /// Has the kernel write back the file's dirty pages, and forget its clean ones (FUSE_NOTIFY_INVAL_INODE). Returns
    /// when the writes were answered: never call it from a thread that is needed to answer them.
    pub fn write_back(&self, node: NodeId) {
        let mut message = [0u8; abi::OUT_HEADER + 24];
        let (header, notice) = message.split_at_mut(abi::OUT_HEADER);
        let length = (abi::OUT_HEADER + notice.len()) as u32;
        header[0..4].copy_from_slice(&length.to_ne_bytes());
        header[4..8].copy_from_slice(&abi::NOTIFY_INVAL_INODE.to_ne_bytes());
        // From offset 0, and a length of 0: to the end.
        notice[0..8].copy_from_slice(&node.0.to_ne_bytes());
        // ENOENT: the kernel does not hold the file. Others are of a connection that is gone.
        let _ = self.send(&message);
    }

    /// Whether the kernel will give no more requests: /dev/fuse polls as an error then, and only then.
    fn is_over(&self) -> Result<bool, Os> {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        match poll(&mut fds, Some(&ABORT_WAIT)) {
            Ok(_) => Ok(fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))),
            Err(Os::INTR) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), Os> {
        loop {
            match rustix::io::write(&self.0, message) {
                Err(Os::INTR | Os::AGAIN) => {}
                Err(Os::NOMEM) => thread::sleep(MEMORY_PAUSE),
                other => return other.map(|_| ()),
            }
        }
    }
}

fn wait_readable(fd: BorrowedFd<'_>) -> Result<(), Os> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match poll(&mut fds, None) {
        Ok(_) | Err(Os::INTR) => Ok(()),
        Err(other) => Err(other),
    }
}

/// `fuse_out_header` at the start of `message`, whose length is the reply's.
fn put_header(message: &mut [u8], unique: u64, errno: i32) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    // The kernel takes errors of 1 to 511, negated.
    let errno = if errno == 0 || (1..512).contains(&errno) { errno } else { libc::EIO };
    let mut header = [0u8; abi::OUT_HEADER];
    header[0..4].copy_from_slice(&length.to_ne_bytes());
    header[4..8].copy_from_slice(&(-errno).to_ne_bytes());
    header[8..16].copy_from_slice(&unique.to_ne_bytes());
    if let Some(room) = message.get_mut(..abi::OUT_HEADER) {
        room.copy_from_slice(&header);
    }
}
