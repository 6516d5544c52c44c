//! Works on a mounted file system at random and checks what it sees. Knows nothing of kmsfs: it runs on ext4 as well.
//!
//!     torture fsx DIR [--seed N] [--ops N] [--files N] [--block BYTES] [--remount] [--crash] [--trace]
//!
//!     torture stress DIR MIRROR [--seed N] [--ops N] [--threads N] [--processes N] [--remount] [--crash]
//!     torture contest DIR [the same]
//!     torture faults DIR MIRROR [--seed N] [--ops CASES] [--fault CASE]...
//!
//! `fsx`: every way to read and change a few files, against a model in memory. `stress`: trees, each call
//! compared with the same call in a directory of another file system. `contest`: many in the same directory and files,
//! where races are open but nothing may be lost. `faults`: one system call of the server fails in the middle of one step.
//!
//! With `--remount` and `--crash` it prints `remount` or `crash` on a line of its own when it wants that done, and waits
//! for a line on standard input that says `done`. Ends with status 0, or with 1 and the seed and what was done on stderr.

mod contest;
mod driver;
mod faults;
mod fsx;
mod options;
mod parts;
mod stress;

use options::Options;
use std::process::ExitCode;

/// What went wrong, for a person to read.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("torture: {problem}");
            return ExitCode::from(2);
        }
    };
    let ran = match options.command.as_str() {
        "fsx" => fsx::run(&options),
        "faults" => faults::run(&options),
        "contest" => contest::run(&options),
        "contest-part" => contest::part(&options),
        "stress" => stress::run(&options),
        "stress-part" => stress::part(&options),
        other => Err(format!("there is no command {other}")),
    };
    match ran {
        Ok(summary) => {
            if !summary.is_empty() {
                println!("{summary}");
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("torture {}: {problem}", options.describe());
            ExitCode::FAILURE
        }
    }
}
