//! The command line.

use crate::Result;
use rustix::fs::OFlags;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    pub command: String,
    pub path: PathBuf,
    pub threads: usize,
    pub size: u64,
    pub block: usize,
    pub stride: u64,
    pub files: u64,
    pub per_dir: u64,
    pub first: u64,
    /// Of each client.
    pub ops: Option<u64>,
    pub seconds: Option<Duration>,
    pub direct: bool,
    pub in_place: bool,
    pub empty: bool,
    pub seed: u64,
}

/// Bytes: a number, with K, M or G for powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (text.get(..text.len() - 1)?, 10),
        b'M' => (text.get(..text.len() - 1)?, 20),
        b'G' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            command: args.next().ok_or("give a command")?,
            path: PathBuf::new(),
            threads: 1,
            size: 0,
            block: 0,
            stride: 0,
            files: 0,
            per_dir: 500,
            first: 0,
            ops: None,
            seconds: None,
            direct: false,
            in_place: false,
            empty: false,
            seed: 1,
        };
        while let Some(arg) = args.next() {
            let mut number = || -> Result<u64> {
                let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
                bytes(&value).ok_or_else(|| format!("{arg}: {value} is no number"))
            };
            match arg.as_str() {
                "--threads" => options.threads = number()?.clamp(1, 1024) as usize,
                "--size" => options.size = number()?,
                "--block" => options.block = number()?.clamp(1, 1 << 26) as usize,
                "--stride" => options.stride = number()?,
                "--files" => options.files = number()?,
                "--per-dir" => options.per_dir = number()?.max(1),
                "--first" => options.first = number()?,
                "--ops" => options.ops = Some(number()?),
                "--seconds" => options.seconds = Some(Duration::from_secs(number()?)),
                "--seed" => options.seed = number()?,
                "--direct" => options.direct = true,
                "--in-place" => options.in_place = true,
                "--empty" => options.empty = true,
                path if !path.starts_with('-') => options.path = PathBuf::from(path),
                other => return Err(format!("unknown option {other}")),
            }
        }
        if options.path.as_os_str().is_empty() {
            return Err("give a path".into());
        }
        Ok(options)
    }

    pub fn block_or(&self, usual: usize) -> usize {
        if self.block == 0 {
            usual
        } else {
            self.block
        }
    }

    /// The file of one client: its own where there are several.
    pub fn own_file(&self, client: usize) -> PathBuf {
        if self.threads == 1 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{client}"));
        PathBuf::from(name)
    }

    pub fn cache_flags(&self) -> OFlags {
        if self.direct {
            OFlags::DIRECT | OFlags::CLOEXEC
        } else {
            OFlags::CLOEXEC
        }
    }
}
