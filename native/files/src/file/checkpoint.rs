//! Writing home what the log holds of a file.

use super::File;
use crate::error::Result;
use crate::log::image;
use std::sync::atomic::Ordering;

impl File {
    /// Brings the last commit home: images, length, punches, times, the `growing` flag. Not flushed; its images stay in the
    /// log until the caller has made all homes durable.
    pub(crate) fn write_home(&self) -> Result<()> {
        // No commit of this file meanwhile: what is written is durable and stays the last. Held across the flush and the
        // writes for that reason; readers and writers go on, since images are read from the log until they are home.
        let _order = self.commit.lock();
        let (last, images) = {
            let st = self.state.read();
            if !st.home_stale || self.gone.load(Ordering::Acquire) {
                return Ok(());
            }
            (st.last_commit, st.images.clone())
        };
        self.shared.log.make_durable(last)?;
        image::write_home(&images, &*self.home)?;

        let layout = self.shared.layout;
        let mut st = self.state.write();
        let straight_end = st.straight.values().map(|s| layout.home(s.index) + u64::from(s.len)).max().unwrap_or(0);
        let len = st.committed_physical.max(straight_end);
        if straight_end > st.committed_physical && !st.growing {
            // The home was longer than this when they were written; the length now stands for no committed size.
            self.home.set_growing(true)?;
            st.growing = true;
        }
        if self.home.len()? != len {
            self.home.set_len(len)?;
        }
        let mut punches = st.committed_punches.clone();
        for index in st.straight.keys().chain(st.dirty.keys()) {
            let home = layout.home(*index);
            punches.remove(home, home + layout.block());
        }
        for (level, index) in st.nodes.keys() {
            // Their room was reserved; a punch would give it back.
            if let Some(step) = layout.path(*index).steps().iter().find(|s| s.level == *level) {
                punches.remove(step.home, step.home + layout.block());
            }
        }
        for (start, end) in punches.iter().map(|(s, e)| (s, e.min(len))).filter(|(s, e)| s < e) {
            self.home.punch(start, end - start)?;
        }
        if let Some(t) = st.committed_mtime {
            self.home.set_mtime(t.secs, t.nanos)?;
        }
        if st.growing && straight_end <= st.committed_physical {
            self.home.set_growing(false)?;
            st.growing = false;
        }
        st.home_len = st.committed_physical;
        st.images.clear();
        st.committed_punches.clear();
        st.home_stale = false;
        if !st.changed {
            st.mtime = None;
        }
        Ok(())
    }

    /// Nothing waits to be written: the state may leave the memory when nobody holds it.
    pub(crate) fn let_go(&self) {
        let st = self.state.read();
        if st.clean() {
            self.shared.pending.lock().remove(&self.id);
        }
    }
}
