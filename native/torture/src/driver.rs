//! Asks whoever started us to remount the file system, or to have its server die.

use crate::Result;
use std::io::{BufRead, Write};

pub fn ask(what: &str) -> Result<()> {
    println!("{what}");
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| e.to_string())?;
    match line.trim_end() {
        "done" => Ok(()),
        "" => Err(format!("asked for {what}, nobody answered")),
        other => Err(format!("{what}: {other}")),
    }
}
