//! The load of the benchmarks, on any mounted file system, in one process: its clients are threads.
//!
//!     kmsfs-bench write|read FILE --size BYTES [--block BYTES] [--in-place]      from end to end
//!     kmsfs-bench randread FILE [--stride BYTES]                                 all clients in one file
//!     kmsfs-bench randwrite|fdatasync|append FILE --size BYTES                   each client in a file of its own
//!     kmsfs-bench scatter FILE --size BYTES --stride BYTES                       a block at each multiple of the stride
//!     kmsfs-bench create|readfiles|stat|remove DIR --files N [--size BYTES | --empty] [--per-dir N] [--first N]
//!     kmsfs-bench list DIR                                                       a walk with lstat(2)
//!
//!     --threads N --ops N (of each client) --seconds S --direct --seed N
//!
//! What is written is incompressible, and no two blocks are alike. Prints one line of JSON: how much, how long, and the
//! latency of one operation. Writers' time includes the fsync(2) at their end.

mod bulk;
mod data;
mod latency;
mod options;
mod scattered;
mod small;
mod trees;
mod work;

use options::Options;
use std::process::ExitCode;

/// What went wrong, for a person to read.
type Result<T> = std::result::Result<T, String>;

fn run() -> Result<work::Measured> {
    let options = Options::parse(std::env::args().skip(1))?;
    match options.command.as_str() {
        "write" => bulk::write(&options),
        "read" => bulk::read(&options),
        "randread" => scattered::read(&options),
        "randwrite" => scattered::write(&options),
        "scatter" => scattered::scatter(&options),
        "fdatasync" => small::fdatasync(&options),
        "append" => small::append(&options),
        "create" => trees::create(&options),
        "readfiles" => trees::read(&options),
        "stat" => trees::stat(&options),
        "remove" => trees::remove(&options),
        "list" => trees::list(&options),
        other => Err(format!("there is no command {other}")),
    }
}

fn main() -> ExitCode {
    match run().and_then(|measured| serde_json::to_string(&measured).map_err(|e| e.to_string())) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("kmsfs-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}
