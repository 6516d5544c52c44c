//! What a crash left in the log, brought home at mount (docs/format.md §9).

use crate::error::Result;
use crate::file::{header_commit, File, Overlay};
use crate::log::fold::{fold, Folded};
use crate::log::image::{self, Images, Located};
use crate::log::scan::{Logged, Scanned};
use crate::shared::Shared;
use crate::store::{FileId, Handle, Home, Segment};
use crate::{Recovery, Tamper, Time};
use kmsfs_format::block::FileKey;
use kmsfs_format::commit::Straight;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

/// Folds every file of the log and writes it home, or keeps it as an overlay when the mount may not write. Idempotent:
/// nothing in the log changes.
pub fn recover(shared: &Arc<Shared>, scanned: &Scanned, segments: &[Arc<dyn Segment>]) -> Result<Recovery> {
    let mut by_file: BTreeMap<FileId, Vec<&Logged>> = BTreeMap::new();
    for logged in &scanned.commits {
        by_file.entry(logged.commit.file_id).or_default().push(logged);
    }
    let mut done =
        Recovery { commits: scanned.commits.len() as u64, files: 0, gone: 0, dropped_tail: scanned.dropped_tail };
    let walked: HashMap<FileId, Arc<dyn Home>> = if by_file.is_empty() || scanned.identity == shared.store.identity()? {
        HashMap::new()
    } else {
        // A copy or a restore: its inodes have other handles.
        shared.store.walk(&by_file.keys().copied().collect::<HashSet<_>>())?
    };
    let copied = scanned.identity != shared.store.identity()?;
    for (id, commits) in by_file {
        let Some(newest) = commits.last() else { continue };
        let handle = Handle { kind: newest.commit.handle_kind, bytes: newest.commit.handle.clone() };
        let home = if copied { walked.get(&id).cloned() } else { shared.store.find(&handle, &id)? };
        let Some(home) = home else {
            done.gone += 1;
            continue;
        };
        if header_commit(shared, &*home)?.is_some_and(|n| n > newest.commit.number) {
            let what = "has a header newer than the log: left alone".into();
            shared.tampered(Tamper { file: id, place: home.place(), block: None, what });
            continue;
        }
        let folded = fold(&commits, scanned.durable, shared.layout, |s| arrived(shared, &*home, s))?;
        let Some(folded) = folded else { continue };
        let images = located(&folded, segments);
        if shared.config.read_only {
            overlay(shared, home, images, &folded)?;
        } else {
            bring_home(&*home, &images, &folded)?;
        }
        done.files += 1;
    }
    if !shared.config.read_only && done.commits > 0 {
        shared.store.sync_all()?;
    }
    Ok(done)
}

fn arrived(shared: &Shared, home: &dyn Home, s: &Straight) -> io::Result<bool> {
    let mut sealed = vec![0u8; s.len as usize];
    let mut plain = crate::page::Page::zeroed(sealed.len());
    if home.read_at(&mut sealed, shared.layout.home(s.index))? < sealed.len() {
        return Ok(false);
    }
    let key = FileKey::derive(&shared.keys, &home.id(), s.entry.epoch())?;
    Ok(key.open(0, s.index, &s.entry, &sealed, &mut plain).is_ok())
}

fn located(folded: &Folded, segments: &[Arc<dyn Segment>]) -> Images {
    let at = |f: &crate::log::fold::FoldedImage| Located { segment: segments[f.slot].clone(), at: f.at, len: f.len };
    folded.images.iter().map(|(home, image)| (*home, at(image))).collect()
}

fn bring_home(home: &dyn Home, images: &Images, folded: &Folded) -> Result<()> {
    image::write_home(images, home)?;
    if home.len()? != folded.physical {
        home.set_len(folded.physical)?;
    }
    for (start, end) in folded.punched.iter().map(|(s, e)| (s, e.min(folded.physical))).filter(|(s, e)| s < e) {
        home.punch(start, end - start)?;
    }
    if let Some((secs, nanos)) = folded.mtime {
        home.set_mtime(secs, nanos)?;
    }
    if home.growing()? {
        home.set_growing(false)?;
    }
    Ok(())
}

fn overlay(shared: &Arc<Shared>, home: Arc<dyn Home>, images: Images, folded: &Folded) -> Result<()> {
    let id = home.id();
    let mtime = folded.mtime.map(|(secs, nanos)| Time { secs, nanos });
    let overlay = Overlay { images, physical: folded.physical, mtime };
    let file = Arc::new(File::load(shared.clone(), home, Some(overlay))?);
    shared.known.lock().insert(id, Arc::downgrade(&file));
    shared.pending.lock().insert(id, file);
    Ok(())
}
