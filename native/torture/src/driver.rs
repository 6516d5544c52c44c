//! Asks whoever started us to remount the file system, or to have its server die.

use crate::Result;
use std::io::{BufRead, Write};

pub fn ask(what: &str) -> Result<()> {
    match answer_to(what)?.as_str() {
        "done" => Ok(()),
        other => Err(format!("{what}: {other}")),
    }
}

/// As `ask`, of what is answered with a number.
pub fn ask_number(what: &str) -> Result<u64> {
    let answer = answer_to(what)?;
    answer.strip_prefix("done ").and_then(|number| number.parse().ok()).ok_or_else(|| format!("{what}: {answer}"))
}

fn answer_to(what: &str) -> Result<String> {
    println!("{what}");
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| e.to_string())?;
    match line.trim_end() {
        "" => Err(format!("asked for {what}, nobody answered")),
        answer => Ok(answer.to_owned()),
    }
}
