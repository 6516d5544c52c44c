//! What a workload may have left after a power cut, as docs/semantics.md promises it.
//!
//! - Names: those after some number of operations, none missing in the middle; no fewer than were made durable.
//! - Content: of each file a version that it had, none older than what was made durable, or than what replaced another file.

use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File(usize),
    Dir,
    Symlink(Vec<u8>),
}

/// What is seen where the model has a [`Node`].
#[derive(Clone, PartialEq, Eq)]
pub enum Seen {
    /// Which inode, and what it holds.
    File(u64, Vec<u8>),
    Dir,
    Symlink(Vec<u8>),
}

pub type Tree = BTreeMap<String, Seen>;

struct Version {
    step: usize,
    content: Vec<u8>,
}

#[derive(Default)]
struct FileModel {
    versions: Vec<Version>,
    /// The last step that changed its names.
    names: usize,
    /// Step by step: from then on, whatever names are seen, its content is at least that of this step.
    synced: Vec<usize>,
    /// The step at which the engine was last given everything.
    given: usize,
    /// It replaced another at the first: where that is seen, content at least as of the second.
    replaced: Vec<(usize, usize)>,
}

pub struct Model {
    /// After no step, one, two...
    names: Vec<BTreeMap<String, Node>>,
    files: Vec<FileModel>,
    /// The last step that changed a directory.
    dirs: HashMap<String, usize>,
    /// After a step: names are at least those after another.
    names_synced: Vec<(usize, usize)>,
    /// Directories and files that a step made.
    page: usize,
}

/// How far a workload had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub started: usize,
    pub done: usize,
}

impl Model {
    pub fn new(names: &BTreeMap<String, Node>, contents: &[Vec<u8>]) -> Self {
        let begun = |content: &Vec<u8>| FileModel {
            versions: vec![Version { step: 0, content: content.clone() }],
            synced: vec![0],
            ..FileModel::default()
        };
        Model {
            names: vec![names.clone()],
            files: contents.iter().map(begun).collect(),
            dirs: HashMap::new(),
            names_synced: Vec::new(),
            page: 4096,
        }
    }

    fn file(&mut self, file: usize) -> &mut FileModel {
        if self.files.len() <= file {
            self.files.resize_with(file + 1, FileModel::default);
        }
        &mut self.files[file]
    }

    pub fn made(&mut self, step: usize) {
        let versions = vec![Version { step, content: Vec::new() }];
        self.files.push(FileModel { versions, given: step, ..FileModel::default() });
    }
    pub fn content(&mut self, file: usize, step: usize, content: Vec<u8>) {
        self.file(file).versions.push(Version { step, content });
    }
    pub fn touched(&mut self, file: usize, dir: &str, step: usize) {
        self.file(file).names = step;
        self.dir_touched(dir, step);
    }
    pub fn dir_touched(&mut self, dir: &str, step: usize) {
        self.dirs.insert(dir.to_owned(), step);
    }
    pub fn given(&mut self, file: usize, step: usize) {
        self.file(file).given = step;
    }
    pub fn replaces(&mut self, file: usize, step: usize) {
        let file = self.file(file);
        file.replaced.push((step, file.given));
    }
    pub fn synced(&mut self, file: usize, step: usize) {
        let file = self.file(file);
        file.given = step;
        file.synced.push(step);
        let names = file.names;
        self.names_synced.push((step, names));
    }
    pub fn dir_synced(&mut self, dir: &str, step: usize) {
        self.names_synced.push((step, self.dirs.get(dir).copied().unwrap_or(0)));
    }
    pub fn all_synced(&mut self, step: usize) {
        self.names_synced.push((step, step));
        for file in &mut self.files {
            file.given = step;
            file.synced.push(step);
        }
    }
    pub fn stepped(&mut self, names: &BTreeMap<String, Node>) {
        self.names.push(names.clone());
    }

    /// Whether `tree` is what may be there. `mixed`: the kernel caches writes, so that each page may be of another version.
    pub fn allows(&self, tree: &Tree, progress: Progress, mixed: bool) -> Result<(), String> {
        let synced = self.names_synced.iter().filter(|(step, _)| *step <= progress.done);
        let fewest = synced.map(|(_, names)| *names).max().unwrap_or(0);
        let mut problems = Vec::new();
        for names in fewest..=progress.started {
            match self.matches(tree, names, progress, mixed) {
                Ok(()) => return Ok(()),
                Err(problem) => problems.push(format!("  as after step {names}: {problem}")),
            }
        }
        let Progress { started, done } = progress;
        let tree: Vec<String> = tree.iter().map(|(name, seen)| format!("{name}: {}", seen.describe())).collect();
        Err(format!("{started} steps begun, {done} done; found {}\n{}", tree.join(", "), problems.join("\n")))
    }

    fn matches(&self, tree: &Tree, after: usize, progress: Progress, mixed: bool) -> Result<(), String> {
        let names = self.names.get(after).ok_or("there is no such step")?;
        if let Some(name) = tree.keys().find(|name| !names.contains_key(*name)) {
            return Err(format!("{name} is there"));
        }
        let mut inodes: HashMap<usize, u64> = HashMap::new();
        for (name, node) in names {
            match (node, tree.get(name)) {
                (_, None) => return Err(format!("{name} is not there")),
                (Node::File(file), Some(Seen::File(inode, content))) => {
                    if *inodes.entry(*file).or_insert(*inode) != *inode {
                        return Err(format!("{name} is another file"));
                    }
                    self.content_allowed(*file, content, after, progress, mixed).map_err(|e| format!("{name} {e}"))?;
                }
                (Node::Dir, Some(Seen::Dir)) => {}
                (Node::Symlink(target), Some(Seen::Symlink(seen))) if target == seen => {}
                (_, Some(_)) => return Err(format!("{name} is something else")),
            }
        }
        Ok(())
    }

    fn content_allowed(
        &self,
        file: usize,
        content: &[u8],
        after: usize,
        progress: Progress,
        mixed: bool,
    ) -> Result<(), String> {
        let model = self.files.get(file).ok_or("is unknown")?;
        let synced = model.synced.iter().filter(|step| **step <= progress.done).max();
        // Without the kernel's cache, everything that replaces was given.
        let replaced = model.replaced.iter().filter(|(step, _)| *step <= after);
        let replaced = replaced.map(|(step, given)| if mixed { *given } else { *step }).max();
        let oldest = synced.copied().max(replaced).unwrap_or(0);
        let first = model.versions.iter().rposition(|v| v.step <= oldest).unwrap_or(0);
        let allowed: Vec<&[u8]> = model
            .versions
            .iter()
            .skip(first)
            .filter(|v| v.step <= progress.started)
            .map(|v| v.content.as_slice())
            .collect();
        if allowed.contains(&content) || mixed && self.is_mixture(content, &allowed) {
            return Ok(());
        }
        let older = model.versions.iter().take(first).any(|v| v.content == content);
        let what = if older { "is too old" } else { "was never so" };
        let sizes: Vec<usize> = allowed.iter().map(|c| c.len()).collect();
        Err(format!("({} bytes) {what}; may be of {sizes:?} bytes", content.len()))
    }

    fn is_mixture(&self, content: &[u8], versions: &[&[u8]]) -> bool {
        let size = content.len();
        let sizes = || versions.iter().map(|v| v.len());
        let between = size % self.page == 0 && sizes().min() <= Some(size) && Some(size) <= sizes().max();
        if !between && sizes().all(|s| s != size) {
            return false;
        }
        content.chunks(self.page).enumerate().all(|(n, page)| {
            versions.iter().any(|version| {
                let known = version.get(n * self.page..).unwrap_or_default();
                let (known, beyond) = (known.get(..page.len()).unwrap_or(known), page.get(known.len()..));
                page.starts_with(known) && beyond.unwrap_or_default().iter().all(|b| *b == 0)
            })
        })
    }
}

impl Seen {
    fn describe(&self) -> String {
        match self {
            Seen::File(inode, content) => format!("{} bytes (inode {inode})", content.len()),
            Seen::Dir => "directory".into(),
            Seen::Symlink(target) => format!("symlink of {} bytes", target.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    const SEED: u64 = 5;

    /// The tree after all steps of a workload.
    fn after(spec: &str) -> Tree {
        let model = plan(spec, SEED).unwrap().model;
        let names = model.names.last().unwrap();
        let seen = |node: &Node| match node {
            Node::File(n) => Seen::File(*n as u64, model.files[*n].versions.last().unwrap().content.clone()),
            Node::Dir => Seen::Dir,
            Node::Symlink(target) => Seen::Symlink(target.clone()),
        };
        names.iter().map(|(name, node)| (name.clone(), seen(node))).collect()
    }

    fn allows(spec: &str, tree: &Tree, started: usize, done: usize) -> bool {
        plan(spec, SEED).unwrap().model.allows(tree, Progress { started, done }, false).is_ok()
    }

    #[test]
    fn what_was_synced_must_be_there() {
        assert!(allows("wf", &after(""), 2, 1));
        assert!(!allows("wf", &after(""), 2, 2));
        assert!(allows("wf", &after("w"), 2, 2));
        assert!(!allows("mc", &after("c"), 2, 2), "the name must be in the directory");
        assert!(!allows("cf", &after(""), 2, 2), "fsync makes the name durable");
        assert!(!allows("rk", &after(""), 2, 2));
    }

    #[test]
    fn nothing_is_lost_from_the_middle() {
        assert!(allows("ms", &after("m"), 2, 2));
        let mut tree = after("lls");
        assert!(allows("lls", &tree, 3, 3));
        tree.remove("l1");
        assert!(!allows("lls", &tree, 3, 3));
    }

    #[test]
    fn what_was_not_begun_is_not_there() {
        assert!(!allows("wa", &after("wa"), 1, 1));
        assert!(allows("wa", &after("wa"), 2, 1));
    }

    #[test]
    fn a_file_that_replaced_another_is_whole() {
        let empty: Tree = after("cRs").into_iter().collect();
        assert!(!allows("cwxR", &empty, 4, 4));
        assert!(allows("cwxR", &after("cwxR"), 4, 4));
        assert!(allows("cwxR", &after(""), 4, 4));
    }

    #[test]
    fn pages_may_mix_where_the_kernel_caches_writes() {
        let model = plan("ow", SEED).unwrap().model;
        let mut tree = after("ow");
        let old = after("");
        if let (Some(Seen::File(_, new)), Some(Seen::File(_, old))) = (tree.get_mut("a"), old.get("a")) {
            new[..4096].copy_from_slice(&old[..4096]);
        }
        let progress = Progress { started: 2, done: 2 };
        assert!(model.allows(&tree, progress, true).is_ok());
        assert!(model.allows(&tree, progress, false).is_err());
        if let Some(Seen::File(_, new)) = tree.get_mut("a") {
            new[10] ^= 1;
        }
        assert!(model.allows(&tree, progress, true).is_err());
    }
}
