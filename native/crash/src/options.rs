//! The command line: `--name value`, and flags.

use crate::Result;
use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

pub struct Options {
    pub command: String,
    values: HashMap<String, String>,
}

const FLAGS: [&str; 1] = ["writeback"];

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let command = args.next().ok_or("give a command")?;
        let mut values = HashMap::new();
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix("--").ok_or_else(|| format!("{arg}: options begin with --"))?;
            let value = match FLAGS.contains(&name) {
                true => String::new(),
                false => args.next().ok_or_else(|| format!("{arg} needs a value"))?,
            };
            values.insert(name.to_owned(), value);
        }
        Ok(Options { command, values })
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub fn text(&self, name: &str) -> Result<&str> {
        self.values.get(name).map(String::as_str).ok_or_else(|| format!("--{name} is missing"))
    }

    pub fn path(&self, name: &str) -> Result<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        let value = self.text(name)?;
        value.parse().map_err(|_| format!("--{name}: {value} is no number"))
    }

    pub fn number_or<T: FromStr>(&self, name: &str, usual: T) -> Result<T> {
        if self.has(name) {
            self.number(name)
        } else {
            Ok(usual)
        }
    }
}
