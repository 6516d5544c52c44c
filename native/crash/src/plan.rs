//! Workloads, as words of one letter an operation, and what each comes to: the calls to be made and the model of them.

use crate::model::{Model, Node};
use kmsfs_random::Random;
use std::collections::BTreeMap;

/// Letter and meaning.
pub const OPS: [(char, &str); 17] = [
    ('w', "write beyond the end of the first block"),
    ('a', "append"),
    ('o', "overwrite the first block"),
    ('t', "truncate, up or down"),
    ('p', "punch"),
    ('r', "rename to a new name"),
    ('R', "rename over another file"),
    ('l', "link"),
    ('u', "unlink"),
    ('c', "create, and work on that from now on"),
    ('m', "mkdir, and make new names in there"),
    ('s', "symlink"),
    ('f', "fsync"),
    ('d', "fdatasync"),
    ('D', "fsync of the directory"),
    ('x', "close"),
    ('k', "checkpoint: everything home, the log empty"),
];
/// Unmount and mount: as `k` in what it promises.
pub const REMOUNT: char = 'M';
/// The kernel writes out what the backing file system holds, as it may at any time.
pub const PUSH: char = '.';

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Open { file: usize, path: String },
    Create { file: usize, path: String },
    Write { file: usize, at: u64, data: Vec<u8> },
    SetLen { file: usize, len: u64 },
    Punch { file: usize, at: u64, len: u64 },
    Rename { from: String, to: String },
    Link { from: String, to: String },
    Unlink { path: String },
    Mkdir { path: String },
    Symlink { path: String, target: String },
    Fsync { file: usize, data_only: bool },
    SyncDir { path: String },
    Close { file: usize },
    Checkpoint,
    Remount,
    Push,
}

pub struct Plan {
    /// For each letter.
    pub steps: Vec<Vec<Act>>,
    pub model: Model,
}

/// What is there before: `a` of some blocks and `b`, both durable.
pub fn beginnings(seed: u64) -> [(&'static str, Vec<u8>); 2] {
    let mut random = Random::new(seed);
    [("a", random.bytes(3 * 4096 + 100)), ("b", random.bytes(1000))]
}

struct Planner {
    model: Model,
    names: BTreeMap<String, Node>,
    contents: Vec<Vec<u8>>,
    open: Vec<bool>,
    /// The file that is worked on, and one of its names.
    file: usize,
    name: Option<String>,
    /// Where new names are made: "" or ends with a slash.
    dir: String,
    acts: Vec<Act>,
    step: usize,
    random: Random,
}

impl Planner {
    fn new(seed: u64) -> Self {
        let begun = beginnings(seed);
        let names = begun.iter().enumerate().map(|(n, (name, _))| ((*name).to_owned(), Node::File(n))).collect();
        let contents: Vec<Vec<u8>> = begun.into_iter().map(|(_, content)| content).collect();
        Planner {
            model: Model::new(&names, &contents),
            names,
            open: vec![false; contents.len()],
            contents,
            file: 0,
            name: Some("a".into()),
            dir: String::new(),
            acts: Vec::new(),
            step: 0,
            random: Random::new(seed ^ 0x706c_616e),
        }
    }

    /// `None`: the file has no name and is not open, so there is nothing to work on.
    fn opened(&mut self) -> Option<usize> {
        if self.open.get(self.file) != Some(&true) {
            let path = self.name.clone()?;
            self.acts.push(Act::Open { file: self.file, path });
            *self.open.get_mut(self.file)? = true;
        }
        Some(self.file)
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let content = self.contents.get_mut(self.file)?;
        change(content);
        self.model.content(self.file, self.step, content.clone());
        Some(())
    }

    fn write(&mut self, at: usize, len: usize) -> Option<()> {
        let (file, data) = (self.opened()?, self.random.bytes(len));
        self.acts.push(Act::Write { file, at: at as u64, data: data.clone() });
        self.change(|content| {
            content.resize(content.len().max(at + len), 0);
            content.splice(at..at + len, data);
        })
    }

    fn set_name(&mut self, to: Option<String>) {
        self.name = to;
        self.model.touched(self.file, &self.dir, self.step);
    }

    fn new_name(&self, letter: char) -> String {
        format!("{}{letter}{}", self.dir, self.step)
    }

    fn parent(name: &str) -> String {
        name.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"))
    }

    /// `None`: the operation makes no sense here.
    fn take(&mut self, letter: char) -> Option<()> {
        let size = self.contents.get(self.file)?.len();
        match letter {
            'w' => self.write(4096 + 500, 6000)?,
            'a' => self.write(size, 700)?,
            'o' => self.write(0, 4096)?,
            't' => {
                let (file, len) = (self.opened()?, if size > 5000 { 5000 } else { size + 9000 });
                self.acts.push(Act::SetLen { file, len: len as u64 });
                self.change(|content| content.resize(len, 0))?;
            }
            'p' => {
                let file = self.opened()?;
                self.acts.push(Act::Punch { file, at: 4096, len: 8192 });
                self.change(|content| content.iter_mut().skip(4096).take(8192).for_each(|b| *b = 0))?;
            }
            'r' => {
                let (from, to) = (self.name.clone()?, self.new_name('r'));
                let node = self.names.remove(&from)?;
                self.names.insert(to.clone(), node);
                self.model.dir_touched(&Self::parent(&from), self.step);
                self.acts.push(Act::Rename { from, to: to.clone() });
                self.set_name(Some(to));
            }
            'R' => {
                let from = self.name.clone()?;
                let other = |(_, node): &(&String, &Node)| matches!(node, Node::File(n) if *n != self.file);
                let to = self.names.iter().find(other).map(|(name, _)| name.clone())?;
                if let Some(Node::File(lost)) = self.names.get(&to) {
                    self.model.touched(*lost, &Self::parent(&to), self.step);
                }
                let node = self.names.remove(&from)?;
                self.names.insert(to.clone(), node);
                for dir in [Self::parent(&from), Self::parent(&to)] {
                    self.model.dir_touched(&dir, self.step);
                }
                self.model.replaces(self.file, self.step);
                self.acts.push(Act::Rename { from, to: to.clone() });
                self.set_name(Some(to));
            }
            'l' => {
                let (from, to) = (self.name.clone()?, self.new_name('l'));
                self.names.insert(to.clone(), Node::File(self.file));
                self.acts.push(Act::Link { from, to: to.clone() });
                self.set_name(Some(to));
            }
            'u' => {
                let path = self.name.clone()?;
                self.names.remove(&path);
                self.model.dir_touched(&Self::parent(&path), self.step);
                self.acts.push(Act::Unlink { path });
                let left = self.names.iter().find(|(_, node)| **node == Node::File(self.file));
                let left = left.map(|(name, _)| name.clone());
                self.set_name(left);
            }
            'c' => {
                let path = self.new_name('c');
                self.file = self.contents.len();
                self.contents.push(Vec::new());
                self.open.push(true);
                self.model.made(self.step);
                self.names.insert(path.clone(), Node::File(self.file));
                self.acts.push(Act::Create { file: self.file, path: path.clone() });
                self.set_name(Some(path));
            }
            'm' => {
                let path = self.new_name('m');
                self.names.insert(path.clone(), Node::Dir);
                self.model.dir_touched(&self.dir, self.step);
                self.acts.push(Act::Mkdir { path: path.clone() });
                self.dir = format!("{path}/");
            }
            's' => {
                // A long one is stored aside (docs/format.md §7).
                let target = "t".repeat(if self.step % 2 == 1 { 2000 } else { 20 });
                let path = self.new_name('s');
                self.names.insert(path.clone(), Node::Symlink(target.clone().into_bytes()));
                self.model.dir_touched(&self.dir, self.step);
                self.acts.push(Act::Symlink { path, target });
            }
            'f' | 'd' => {
                let file = self.opened()?;
                self.acts.push(Act::Fsync { file, data_only: letter == 'd' });
                self.model.synced(file, self.step);
            }
            'D' => {
                self.acts.push(Act::SyncDir { path: self.dir.clone() });
                self.model.dir_synced(&self.dir, self.step);
            }
            'x' => {
                let open = self.open.get_mut(self.file)?;
                if !std::mem::take(open) {
                    return None;
                }
                self.acts.push(Act::Close { file: self.file });
                self.model.given(self.file, self.step);
            }
            'k' | REMOUNT => {
                // What is open for writing would be in the way.
                self.open.iter_mut().for_each(|open| *open = false);
                self.acts.push(if letter == 'k' { Act::Checkpoint } else { Act::Remount });
                self.model.all_synced(self.step);
            }
            PUSH => self.acts.push(Act::Push),
            _ => return None,
        }
        Some(())
    }
}

/// `None`: some operation has nothing to work on.
pub fn plan(spec: &str, seed: u64) -> Option<Plan> {
    let mut planner = Planner::new(seed);
    let mut steps = Vec::new();
    for letter in spec.chars() {
        planner.step += 1;
        planner.take(letter)?;
        planner.model.stepped(&planner.names);
        steps.push(std::mem::take(&mut planner.acts));
    }
    Some(Plan { steps, model: planner.model })
}

/// All workloads of one to three operations.
pub fn systematic() -> Vec<String> {
    let letters: Vec<char> = OPS.iter().map(|(letter, _)| *letter).chain([REMOUNT]).collect();
    let mut specs = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..3 {
        specs = specs.iter().flat_map(|spec| letters.iter().map(move |letter| format!("{spec}{letter}"))).collect();
        all.extend(specs.iter().filter(|spec| plan(spec, 1).is_some()).cloned());
    }
    all
}

/// With moments in between at which the kernel writes out.
pub fn pushed(spec: &str, random: &mut Random) -> String {
    let mut out = String::new();
    for letter in spec.chars() {
        out.push(letter);
        if random.one_in(3) {
            out.push(PUSH);
        }
    }
    out
}

/// A long one.
pub fn long(ops: usize, random: &mut Random) -> String {
    let letters: Vec<char> = OPS.iter().map(|(letter, _)| *letter).filter(|letter| *letter != 'k').collect();
    let mut spec = String::new();
    while spec.len() < ops {
        let letter = match random.below(60) {
            0 => REMOUNT,
            1 => 'k',
            2..=6 => PUSH,
            _ => random.pick(&letters),
        };
        // Directories within directories are soon beyond what is worth it.
        if letter == 'm' && !random.one_in(6) {
            continue;
        }
        spec.push(letter);
        if plan(&spec, 1).is_none() {
            spec.pop();
            if spec.len() + 1 < ops && plan(&format!("{spec}c"), 1).is_some() {
                spec.push('c');
            }
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_among_the_workloads_and_none_is_without_sense() {
        let all = systematic();
        assert!(all.len() > 4000, "{}", all.len());
        assert!(!all.iter().any(|s| s == "ul"), "nothing has a name to be linked");
        for (letter, what) in OPS {
            assert!(all.iter().any(|s| s.contains(letter)), "{what}");
        }
    }

    #[test]
    fn long_ones_are_the_same_again_for_a_seed() {
        let spec = long(150, &mut Random::new(3));
        assert_eq!(spec, long(150, &mut Random::new(3)));
        let plan = plan(&spec, 9).unwrap();
        assert_eq!(plan.steps.len(), spec.len());
    }
}
