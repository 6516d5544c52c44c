//! A session that takes its requests from a socket in the place of /dev/fuse, over a real volume on a small file
//! system of its own, and checks every reply for its form.

use kmsfs_files::Config;
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_namespace::backing::root::Root;
use kmsfs_namespace::{OpenError, Options as VolumeOptions, Volume};
use kmsfs_session::{serve, Counters, Ended, Options};
use rustix::net::{self, sockopt, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const UUID: [u8; 16] = *b"kmsfs-odd-rq-rig";
/// As long as a request may take on a busy machine before it counts as never answered.
const PATIENCE: Duration = Duration::from_secs(120);
/// More than any message either way.
const ROOM: usize = 4 << 20;
pub const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

/// An ext4 in a file: whatever is asked for, it holds no more than `size` bytes. Gone when dropped.
pub struct SmallDisk {
    image: PathBuf,
    pub path: PathBuf,
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl SmallDisk {
    pub fn make(size: u64) -> Self {
        let base = format!("/var/tmp/kmsfs-odd-{}", std::process::id());
        let disk = SmallDisk { image: format!("{base}.img").into(), path: base.into() };
        fs::File::create(&disk.image).unwrap().set_len(size).unwrap();
        fs::create_dir_all(&disk.path).unwrap();
        let (image, path) = (disk.image.to_str().unwrap(), disk.path.to_str().unwrap());
        run("mkfs.ext4", &["-q", "-F", image]);
        run("mount", &["-o", "loop", image, path]);
        disk
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A failed test may still have it open.
        let _ = Command::new("umount").args(["-l", "-d"]).arg(&self.path).status();
        let _ = fs::remove_dir(&self.path);
        let _ = fs::remove_file(&self.image);
    }
}

/// Opens the volume in `path`; tampering that it reports goes to `events`.
pub fn open(path: &Path, writeback: bool, events: &Arc<Mutex<Vec<String>>>) -> Result<Arc<Volume>, OpenError> {
    let keys = Arc::new(DomainKeys::derive(&UUID, &Secret::take(&mut [9; 32])).unwrap());
    let config = Config {
        uuid: UUID,
        block_shift: 12,
        segment_size: 1 << 20,
        segment_count: 4,
        cache_bytes: 4 << 20,
        read_only: false,
        new_volume: false,
        volume_generation: 1,
        commit_interval_ms: 0,
        kernel_keeps_times: writeback,
    };
    let events = events.clone();
    let on_tamper =
        Arc::new(move |t: kmsfs_files::Tamper| events.lock().unwrap().push(format!("{} {:?}", t.what, t.file)));
    Volume::open_with(
        Root::open(path)?,
        keys,
        config,
        on_tamper,
        VolumeOptions { writeback, ..VolumeOptions::default() },
    )
    .map(|(volume, _)| volume)
}

pub struct Rig {
    socket: OwnedFd,
    session: Option<JoinHandle<kmsfs_session::Result<Ended>>>,
    pub counters: Arc<Counters>,
    received: Vec<u8>,
}

/// What came back for a request: an errno, or the payload.
pub type Answer = Result<Vec<u8>, i32>;

impl Rig {
    /// A session that serves `volume`, before INIT.
    pub fn start(volume: Arc<Volume>, threads: usize, writeback: bool) -> Self {
        let pair = net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (socket, device) = pair.unwrap();
        for end in [&socket, &device] {
            sockopt::set_socket_send_buffer_size_force(end, ROOM).unwrap();
        }
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
        let counters = Arc::<Counters>::default();
        let options = Options { threads, writeback, counters: counters.clone(), ..Options::default() };
        let session = Some(std::thread::spawn(move || serve(device, volume, options)));
        Rig { socket, session, counters, received: vec![0; ROOM] }
    }

    pub fn send(&self, message: &[u8]) {
        assert_eq!(net::send(&self.socket, message, SendFlags::empty()).unwrap(), message.len());
    }

    /// The next reply, which must be to `unique`. Notices to the kernel are passed over.
    pub fn reply(&mut self, unique: u64) -> Answer {
        loop {
            let flags = RecvFlags::TRUNC;
            let (_, length) = net::recv(&self.socket, &mut self.received[..], flags).expect("no reply came");
            let message = self.received.get(..length).expect("a reply of more than 4 MiB");
            let word = |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap());
            assert!(length >= OUT_HEADER && word(0) as usize == length, "a reply of {length} bytes says {}", word(0));
            let (error, of) = (word(4) as i32, u64::from_ne_bytes(message[8..16].try_into().unwrap()));
            if of == 0 && error > 0 {
                assert_eq!((error, length), (2, OUT_HEADER + 24), "FUSE_NOTIFY_INVAL_INODE alone is sent");
                continue;
            }
            assert_eq!(of, unique, "a reply to another request, or a second one");
            assert!((-511..=0).contains(&error), "errno {error}");
            assert!(error == 0 || length == OUT_HEADER, "an error with {length} bytes");
            return if error == 0 { Ok(message[OUT_HEADER..].to_vec()) } else { Err(-error) };
        }
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.counters.snapshot().into_iter().find(|(is, _)| is == name).map_or(0, |(_, count)| count)
    }

    /// Ends the session as an unmount does. All that it had to say has been read: nothing more may come.
    pub fn end(mut self) {
        net::shutdown(&self.socket, net::Shutdown::Write).unwrap();
        let ended = self.session.take().unwrap().join().unwrap();
        assert_eq!(ended.unwrap(), Ended::Unmounted);
        let left = net::recv(&self.socket, &mut self.received[..], RecvFlags::DONTWAIT);
        assert!(matches!(left, Ok((0, 0))), "a reply to nothing: {left:?}");
    }
}
