//! Bringing a file's state into memory: from its home, or from what the log says of it.

use super::keyring::Keyring;
use super::{File, State};
use crate::error::{Error, Result};
use crate::log::image::Images;
use crate::page::Page;
use crate::ranges::RangeSet;
use crate::shared::Shared;
use crate::store::Home;
use crate::sync::{AtomicBool, AtomicU64, Mutex, RwLock};
use crate::Time;
use kmsfs_format::header::{self, Root};
use kmsfs_format::layout::HEADER_LEN;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a pending log says of a file, for a mount that may not write it home.
pub struct Overlay {
    pub images: Images,
    pub physical: u64,
    pub mtime: Option<Time>,
}

/// What the home says of its file.
struct AtHome {
    root: Root,
    /// Length that goes with the root's size.
    physical: u64,
    growing: bool,
    absent: bool,
}

impl File {
    /// Reads and authenticates the header of `home`, or of the overlay.
    pub(crate) fn load(shared: Arc<Shared>, home: Arc<dyn Home>, overlay: Option<Overlay>) -> Result<File> {
        let id = home.id();
        let keyring = Keyring::new(shared.keys.clone(), id);
        let len = home.len()?;
        let growing = home.growing()?;
        let mut page = [0u8; HEADER_LEN as usize];
        let logged = overlay.as_ref().and_then(|o| o.images.get(&0));
        let got = match logged {
            Some(image) if u64::from(image.len) == HEADER_LEN => {
                image.read(&mut page)?;
                HEADER_LEN as usize
            }
            _ => home.read_at(&mut page, 0)?,
        };
        let absent = header::is_absent(&page[..got]);
        let root = if absent {
            if !growing {
                return Err(shared.tampered_home(&*home, "has lost its header".into()));
            }
            Root::empty()
        } else {
            open_header(&shared, &keyring, &*home, &page)?
        };
        let physical = if absent { 0 } else { shared.layout.physical(root.size) };
        let bound = overlay.as_ref().map_or(len, |o| o.physical);
        if (!growing || overlay.is_some()) && bound != physical {
            return Err(
                shared.tampered_home(&*home, format!("has the length {bound}, not that of its size, {physical}"))
            );
        }
        let mut growing = growing;
        if growing && overlay.is_none() && !absent && !shared.read_only() {
            // What a crash left behind the end; the header's tree refers to none of it.
            if len != physical {
                home.set_len(physical)?;
            }
            home.set_growing(false)?;
            growing = false;
        }
        Ok(File::with(shared, home, keyring, AtHome { root, physical, growing, absent }, overlay))
    }

    /// The state of a file that was just made under a new id: its home has a record, is empty, and was modified at
    /// `mtime`. Nothing is read.
    pub(crate) fn made(shared: Arc<Shared>, home: Arc<dyn Home>, mtime: Time) -> File {
        let keyring = Keyring::new(shared.keys.clone(), home.id());
        let at_home = AtHome { root: Root::empty(), physical: 0, growing: true, absent: true };
        let mut file = File::with(shared, home, keyring, at_home, None);
        file.state.get_mut().mtime = Some(mtime);
        file
    }

    fn with(
        shared: Arc<Shared>,
        home: Arc<dyn Home>,
        keyring: Keyring,
        AtHome { root, physical, growing, absent }: AtHome,
        overlay: Option<Overlay>,
    ) -> File {
        let size = root.size;
        let (images, mtime, stale) = match overlay {
            Some(o) => (o.images, o.mtime, true),
            None => (Images::new(), None, false),
        };
        File {
            id: home.id(),
            home,
            keyring,
            readers: Mutex::default(),
            commit: Mutex::new(()),
            state: RwLock::new(State {
                root,
                nodes: HashMap::new(),
                dirty: BTreeMap::<u64, Page>::new(),
                straight: BTreeMap::new(),
                punched: RangeSet::default(),
                changed: false,
                freed: RangeSet::default(),
                freed_by: (0, RangeSet::default()),
                sealing: None,
                seals: 0,
                images,
                last_commit: 0,
                committed_physical: physical,
                committed_mtime: mtime,
                committed_punches: RangeSet::default(),
                home_stale: stale,
                home_len: physical,
                growing,
                absent,
                mtime,
                cached_above: false,
            }),
            size: AtomicU64::new(size),
            inode_changes: AtomicU64::new(1),
            inode_flushed: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            shared,
        }
    }
}

fn open_header(shared: &Shared, keyring: &Keyring, home: &dyn Home, page: &[u8; HEADER_LEN as usize]) -> Result<Root> {
    open_page(shared, keyring, &home.id(), page).map_err(|e| match e {
        Error::Tampered(what) => shared.tampered_home(home, what),
        e => e,
    })
}

/// The tree in a header page. `Tampered`, which nobody is told of here, when it is not this file's or does not open.
pub(super) fn open_page(
    shared: &Shared,
    keyring: &Keyring,
    id: &[u8; 16],
    page: &[u8; HEADER_LEN as usize],
) -> Result<Root> {
    let bad = |what: &str| Error::Tampered(what.into());
    let clear = header::parse(page).map_err(|e| bad(&format!("has a header that is none: {e:?}")))?;
    if clear.file_id != *id || clear.domain_id != shared.keys.domain_id || clear.block_shift != shared.layout.shift() {
        return Err(bad("has the header of another file"));
    }
    let key = keyring.get(clear.epoch)?;
    header::open(page, &key).map_err(|_| bad("has a header that does not authenticate"))
}

/// The commit number of a header at home, if it authenticates: recovery leaves a newer one alone.
pub(crate) fn header_commit(shared: &Shared, home: &dyn Home) -> Result<Option<u64>> {
    let mut page = [0u8; HEADER_LEN as usize];
    if home.read_at(&mut page, 0)? < page.len() {
        return Ok(None);
    }
    let Ok(clear) = header::parse(&page) else { return Ok(None) };
    if clear.file_id != home.id() {
        return Ok(None);
    }
    let keyring = Keyring::new(shared.keys.clone(), home.id());
    let key = keyring.get(clear.epoch).map_err(|_| Error::Errno(libc::EIO))?;
    Ok(header::open(&page, &key).is_ok().then_some(clear.commit))
}
