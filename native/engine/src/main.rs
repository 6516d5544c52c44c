//! kmsfs-engine: serves one mount of one volume. Started by the daemon of `kmsfs mount` (docs/engine-protocol.md) with
//! its channels on descriptors 3 and 4 and /dev/fuse on 5.

#[cfg(test)]
mod channel_tests;
mod control;
mod descriptors;
mod failure;
mod frame;
mod harden;
mod memory;
mod mount;
mod pace;
mod protocol;
mod sandbox;
mod scrub;
mod unlock;
mod volume;

use std::process::ExitCode;

fn main() -> ExitCode {
    harden::quiet_panics();
    memory::keep_large();
    let inherited = match descriptors::inherit() {
        Ok(inherited) => inherited,
        Err(what) => {
            eprintln!("kmsfs-engine: {what}. It is started by `kmsfs mount`, and is no command of its own");
            return ExitCode::FAILURE;
        }
    };
    match mount::run(inherited) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kmsfs-engine: {}", failure.message);
            ExitCode::FAILURE
        }
    }
}
