//! Folding the commits of one file into the state they leave (docs/format.md §9, "Folding").

use crate::log::scan::Logged;
use crate::ranges::RangeSet;
use kmsfs_format::commit::Straight;
use kmsfs_format::layout::Layout;
use std::collections::BTreeMap;
use std::io;

#[derive(Clone, Copy)]
enum Last {
    Straight(Straight, u64),
    Image { slot: usize, at: u64, len: u32 },
}

/// An image that is the last state of its page.
#[derive(Clone, Copy)]
pub struct FoldedImage {
    pub slot: usize,
    pub at: u64,
    pub len: u32,
}

pub struct Folded {
    pub physical: u64,
    pub mtime: Option<(i64, u32)>,
    pub images: BTreeMap<u64, FoldedImage>,
    /// Ranges at home that hold nothing.
    pub punched: RangeSet,
}

struct State {
    pages: BTreeMap<u64, Last>,
    punched: RangeSet,
}

fn apply(state: &mut State, logged: &Logged, layout: Layout) {
    let c = &logged.commit;
    state.pages.split_off(&c.physical);
    for (offset, len) in &c.punched {
        let end = offset.saturating_add(*len);
        let gone: Vec<u64> = state.pages.range(*offset..end).map(|(home, _)| *home).collect();
        for home in gone {
            state.pages.remove(&home);
        }
        state.punched.insert(*offset, end);
    }
    for s in &c.straight {
        let home = layout.home(s.index);
        state.punched.remove(home, home + layout.block());
        state.pages.insert(home, Last::Straight(*s, c.number));
    }
    for i in &c.images {
        state.punched.remove(i.home, i.home + layout.block());
        state.pages.insert(i.home, Last::Image { slot: logged.slot, at: logged.at + u64::from(i.at), len: i.len });
    }
}

fn after(commits: &[&Logged], layout: Layout) -> State {
    let mut state = State { pages: BTreeMap::new(), punched: RangeSet::default() };
    for c in commits {
        apply(&mut state, c, layout);
    }
    state
}

/// The state to take of a file's commits (in order). `arrived` opens a straight block at home. `None`: not one of them
/// arrived whole, and none was durable: the home stands as it is.
pub fn fold(
    commits: &[&Logged],
    durable: u64,
    layout: Layout,
    mut arrived: impl FnMut(&Straight) -> io::Result<bool>,
) -> io::Result<Option<Folded>> {
    let mut k = commits.len();
    loop {
        let Some(last) = commits[..k].last() else { return Ok(None) };
        let state = after(&commits[..k], layout);
        // A straight block that is the last state of its page now is so in every state from its commit on: the first
        // that did not arrive rules all of those out.
        let mut missing = None;
        for page in state.pages.values() {
            if let Last::Straight(s, number) = page {
                if *number > durable && missing.is_none_or(|m| *number < m) && !arrived(s)? {
                    missing = Some(*number);
                }
            }
        }
        if let Some(number) = missing {
            k = commits.iter().take_while(|c| c.commit.number < number).count();
            continue;
        }
        let mut images = BTreeMap::new();
        for (home, page) in state.pages {
            if let Last::Image { slot, at, len } = page {
                images.insert(home, FoldedImage { slot, at, len });
            }
        }
        let mtime = commits[..k].iter().rev().find_map(|c| c.commit.mtime);
        return Ok(Some(Folded { physical: last.commit.physical, mtime, images, punched: state.punched }));
    }
}
