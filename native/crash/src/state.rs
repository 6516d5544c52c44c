//! The bytes of a disk after a power cut.

use crate::cuts::{self, Cut};
use crate::options::Options;
use crate::record::{self, Entry};
use crate::Result;
use kmsfs_random::Random;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: usize = 4096;

/// A disk in memory: pages that are not there are zeros.
#[derive(Clone)]
pub struct Image {
    size: u64,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
}

impl Image {
    pub fn new(size: u64) -> Self {
        Image { size, pages: HashMap::new() }
    }

    pub fn load(path: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        let file = File::open(path).map_err(failed)?;
        let mut image = Image::new(file.metadata().map_err(failed)?.len());
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        // Only where there is data: the images are sparse.
        while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
            at = data / PAGE as u64 * PAGE as u64;
            let len = piece.len().min((image.size - at) as usize);
            let piece = piece.get_mut(..len).unwrap_or_default();
            file.read_exact_at(piece, at).map_err(failed)?;
            image.write(at, piece);
            at += len as u64;
        }
        Ok(image)
    }

    pub fn write(&mut self, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let within = (offset % PAGE as u64) as usize;
            let (now, rest) = data.split_at(data.len().min(PAGE - within));
            let number = offset / PAGE as u64;
            if now.iter().any(|b| *b != 0) || self.pages.contains_key(&number) {
                let page = self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE]));
                if let Some(room) = page.get_mut(within..within + now.len()) {
                    room.copy_from_slice(now);
                }
            }
            offset += now.len() as u64;
            data = rest;
        }
    }

    /// Makes `file` this disk, whatever it held.
    pub fn store(&self, file: &File) -> Result<()> {
        file.set_len(0).and_then(|()| file.set_len(self.size)).map_err(|e| e.to_string())?;
        for (number, page) in &self.pages {
            file.write_all_at(&page[..], number * PAGE as u64).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    pub fn apply(&mut self, entry: &Entry) {
        if let Entry::Write { offset, data } = entry {
            self.write(*offset, data);
        }
    }
}

/// Goes through a record from its beginning, and knows what is on the disk for good.
pub struct Replay<'a> {
    entries: &'a [Entry],
    durable: Image,
    upto: usize,
}

impl<'a> Replay<'a> {
    pub fn new(base: Image, entries: &'a [Entry]) -> Self {
        Replay { entries, durable: base, upto: 0 }
    }

    /// The disk as `cut` leaves it. Cuts must come in the order of the record.
    pub fn state(&mut self, cut: &Cut) -> Image {
        for entry in self.entries.get(self.upto..cut.durable).unwrap_or_default() {
            self.durable.apply(entry);
        }
        self.upto = self.upto.max(cut.durable);
        let mut image = self.durable.clone();
        for kept in &cut.kept {
            let Some(Entry::Write { offset, data }) = self.entries.get(kept.entry) else { continue };
            for piece in &kept.pieces {
                if let Some(bytes) = data.get(piece.clone()) {
                    image.write(offset + piece.start as u64, bytes);
                }
            }
        }
        image
    }
}

/// `crash state`: one state, at random.
pub fn run(options: &Options) -> Result<()> {
    let entries = record::read(&options.path("record")?)?;
    let after = options.text("after").unwrap_or("");
    let from = entries.iter().position(|e| matches!(e, Entry::Mark(m) if m.starts_with(after))).unwrap_or(0);
    let all = cuts::all(&entries, from, options.number("seed")?, options.number_or("tear", 512)?);
    let mut random = Random::new(options.number("seed")?);
    let cut = all.get(random.below(all.len() as u64) as usize).ok_or("nothing was written after that mark")?;
    let mut replay = Replay::new(Image::load(&options.path("base")?)?, &entries);
    let path = options.path("image")?;
    let image = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(|e| e.to_string())?;
    replay.state(cut).store(&image)?;
    for entry in entries.get(..cut.end).unwrap_or_default() {
        if let Entry::Mark(mark) = entry {
            println!("{mark}");
        }
    }
    eprintln!("{}", cut.describe(&entries));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Recorder;

    /// A file of this test's own, gone at its end.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Scratch(format!("/var/tmp/kmsfs-crash-{}-{name}", std::process::id()).into())
        }
        fn open(&self) -> File {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.0).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn states_are_made_of_what_was_recorded() {
        let (record, image) = (Scratch::new("record"), Scratch::new("image"));
        let recorder = Recorder::create(&record.0).unwrap();
        recorder.write(4000, &[1; 200], || Ok(())).unwrap();
        recorder.flush().unwrap();
        recorder.mark(b"in between\n").unwrap();
        recorder.write(4096, &[2; 1024], || Ok(())).unwrap();
        assert!(recorder.write(0, &[3; 1024], || Err(std::io::Error::other("full"))).is_err());
        recorder.end().unwrap();

        let entries = record::read(&record.0).unwrap();
        assert_eq!(entries.len(), 4, "what was not written is not in the record");
        assert_eq!(entries[2], Entry::Mark("in between".into()));
        let kept = cuts::Kept { entry: 3, pieces: std::iter::once(512..1024).collect() };
        let cut = Cut { durable: 2, end: 4, kept: vec![kept], how: "by hand" };
        let state = Replay::new(Image::new(1 << 20), &entries).state(&cut);
        // Whatever an earlier state left in the file is gone.
        image.open().write_all_at(&[9; 9], 1 << 19).unwrap();
        state.store(&image.open()).unwrap();

        let bytes = std::fs::read(&image.0).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        for (at, byte) in bytes.iter().enumerate() {
            let expected = match at {
                4000..4200 => 1,
                4608..5120 => 2,
                _ => 0,
            };
            assert_eq!(*byte, expected, "at {at}");
        }
        let again = Image::load(&image.0).unwrap();
        assert_eq!(again.size, state.size);
        assert!(again.pages.iter().all(|(number, page)| state.pages.get(number) == Some(page)));
    }
}
