//! Power cuts of a volume on a real file system. A block device whose writes and flushes are recorded in order; from the
//! record, the states that a power cut could have left on the disk; and whether a volume in such a state holds what
//! was promised (docs/semantics.md).
//!
//!     crash record --base IMAGE --disk FILE --record FILE --at DIR
//!         serves DIR/disk, which begins as IMAGE, and DIR/marks; prints `ready`, ends when DIR is unmounted
//!     crash work --mount DIR --below DIR --marks FILE --seed N [--systematic N [--first N]] [--long N --ops N] [--spec LETTERS]
//!         workloads in a volume that is mounted on DIR and lies on the file system BELOW
//!     crash check --record FILE --base IMAGE --image FILE --at DIR --key FILE --uuid HEX --shift N
//!                 --segment-size N --segments N [--writeback] [--seed N] [--states N] [--loop DEVICE]
//!                 [--again N --work DIR] [--lost-flushes N]
//!         goes through states of the record: mounts each below DIR, opens its volume, compares
//!     crash state --record FILE --base IMAGE --image FILE --seed N [--after MARK]
//!         writes one state to IMAGE and prints the marks that were made before the cut
//!     crash count
//!         prints how many systematic workloads there are
//!
//! `work` and `check` ask for what only their caller can do, a line each on standard output (`remount`, `checkpoint`,
//! `verify`), and wait for a line `done` on standard input.

mod check;
mod cuts;
mod device;
mod disk;
#[allow(dead_code, reason = "torture asks for numbers, too")]
#[path = "../../torture/src/driver.rs"]
mod driver;
mod go_on;
mod model;
mod options;
mod plan;
mod record;
mod recorded;
mod see;
mod serve;
mod state;
mod work;

use options::Options;
use std::process::ExitCode;

/// What went wrong, for a person to read.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let done = Options::parse(std::env::args().skip(1)).and_then(|options| match options.command.as_str() {
        "record" => serve::run(&options),
        "work" => work::run(&options),
        "check" => check::run(&options),
        "state" => state::run(&options),
        "count" => {
            println!("{}", plan::systematic().len());
            Ok(())
        }
        other => Err(format!("there is no command {other}")),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("crash: {problem}");
            ExitCode::FAILURE
        }
    }
}
