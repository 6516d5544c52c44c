//! A recorder in a process of its own: what works on its disk must not wait for itself.

use crate::record::{self, Entry};
use crate::state::Image;
use crate::Result;
use rustix::mount::{unmount, UnmountFlags};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Recorded {
    dir: PathBuf,
    recorder: Child,
}

fn at<T>(what: &str, done: std::io::Result<T>) -> Result<T> {
    done.map_err(|e| format!("{what}: {e}"))
}

impl Recorded {
    /// A recorded disk that begins as `image`, in the directory `dir`.
    pub fn start(dir: &Path, image: &Image) -> Result<Self> {
        let [base, disk, record, mounted] = ["base", "disk", "record", "at"].map(|name| dir.join(name));
        at("mkdir", fs::create_dir_all(&mounted))?;
        image.store(&at("base", File::create(&base))?)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("record").arg("--base").arg(base).arg("--disk").arg(disk).arg("--record").arg(record);
        command.arg("--at").arg(mounted).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut recorder = at("the recorder", command.spawn())?;
        let mut line = String::new();
        if let Some(out) = recorder.stdout.take() {
            at("the recorder", BufReader::new(out).read_line(&mut line))?;
        }
        let started = Recorded { dir: dir.to_owned(), recorder };
        match line.trim_end() {
            "ready" => Ok(started),
            _ => Err("the recorder does not start".into()),
        }
    }

    pub fn disk(&self) -> PathBuf {
        self.dir.join("at/disk")
    }

    pub fn mark(&self, text: &str) -> Result<()> {
        at("mark", fs::write(self.dir.join("at/marks"), text))
    }

    /// What was recorded.
    pub fn end(mut self) -> Result<Vec<Entry>> {
        let begun = Instant::now();
        // The loop device is freed by the last who looks at it.
        while let Err(e) = unmount(self.dir.join("at"), UnmountFlags::empty()) {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(format!("umount of the recorder: {e}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = at("the recorder", self.recorder.wait())?;
        if !status.success() {
            return Err(format!("the recorder ended with {status}"));
        }
        record::read(&self.dir.join("record"))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // Ended already, unless something went wrong.
        let _ = unmount(self.dir.join("at"), UnmountFlags::DETACH);
        let _ = self.recorder.kill();
        let _ = self.recorder.wait();
    }
}
