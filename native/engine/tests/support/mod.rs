//! Starts the engine as the daemon does: two socket pairs and a descriptor of /dev/fuse.
// Each test binary uses its own part of this.
#![allow(dead_code)]

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use kmsfs_format::keys::{DomainKeys, Secret};
use serde_json::{json, Value};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A peer that says nothing for so long has failed its test.
const PATIENCE: Duration = Duration::from_secs(30);

const UUID: &str = "00010203-0405-0607-0809-0a0b0c0d0e0f";
pub const KEY: [u8; 32] = [9; 32];

/// A `start` that is right but for its backing directory.
pub fn start() -> Value {
    json!({"type": "start", "version": 1, "backing": "/nonexistent/kmsfs-engine-test", "readOnly": false,
        "cacheBytes": 16_777_216, "writeback": true, "mlock": "try", "debug": false})
}

/// The `unlock` that goes with `KEY`.
pub fn unlock() -> Value {
    let uuid = std::array::from_fn(|n| n as u8);
    let commitment = DomainKeys::derive(&uuid, &Secret::take(&mut KEY.clone())).unwrap().commitment;
    json!({"type": "unlock", "version": 1, "uuid": UUID, "blockSize": 4096, "generation": 1,
        "features": ["trusted-records"], "log": {"segmentSize": 1_048_576, "segments": 4},
        "commitment": STANDARD.encode(commitment)})
}

/// The message and the key, as the key channel carries them.
pub fn framed(message: &Value, key: &[u8]) -> Vec<u8> {
    let body = serde_json::to_vec(message).unwrap();
    [&(body.len() as u32).to_le_bytes()[..], &body, key].concat()
}

pub fn unlock_bytes(key: &[u8]) -> Vec<u8> {
    framed(&unlock(), key)
}

pub struct Engine {
    child: Child,
    pub control: UnixStream,
    pub key: UnixStream,
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs)
}

/// Starts the engine with these as its descriptors 3, 4 and 5.
pub fn spawn(descriptors: [OwnedFd; 3]) -> Child {
    // Out of the way of the numbers that they are to have.
    let high = descriptors.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs-engine"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: dup2 is async-signal-safe, and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for (fd, number) in high.iter().zip(3..) {
                if libc::dup2(fd.as_raw_fd(), number) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

impl Engine {
    pub fn start(fuse: OwnedFd) -> Engine {
        let (control, theirs) = pair();
        let (key, key_theirs) = pair();
        let child = spawn([theirs.into(), key_theirs.into(), fuse]);
        Engine { child, control, key }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill takes no pointers; the child has not been waited for, so the number is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// The exit status and what was said on stderr. Closes both channels.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }

    /// As `end`, for an engine that was told to fail: it says why on the control channel.
    pub fn failure(mut self) -> Value {
        let failed = loop {
            let message = receive(&mut self.control).expect("the engine ended without a reason");
            if message["type"] != "warning" {
                break message;
            }
        };
        assert_eq!(failed["type"], "failed", "{failed}");
        let (status, said) = self.end();
        assert_eq!(status.code(), Some(1), "{said}");
        failed
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn send(stream: &mut UnixStream, message: &Value) {
    let body = serde_json::to_vec(message).unwrap();
    send_bytes(stream, &body);
}

pub fn send_bytes(stream: &mut UnixStream, body: &[u8]) {
    stream.write_all(&(body.len() as u32).to_le_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

/// One frame; `None` at the end of the stream.
pub fn receive(stream: &mut UnixStream) -> Option<Value> {
    let mut length = [0u8; 4];
    if stream.read(&mut length[..1]).ok()? == 0 {
        return None;
    }
    stream.read_exact(&mut length[1..]).unwrap();
    let mut body = vec![0u8; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    Some(serde_json::from_slice(&body).unwrap())
}

/// `None`, with the reason printed, where /dev/fuse cannot be opened.
pub fn fuse() -> Option<OwnedFd> {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(file) => Some(file.into()),
        Err(e) => {
            eprintln!("skipped: /dev/fuse: {e}");
            None
        }
    }
}
