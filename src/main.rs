//! The edge: the process' arguments in, its exit code out.

use std::process::ExitCode;

// Records are allocated on one thread and freed on another, several pieces a message: a tenth of all CPU in glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kafka_once::cli::main()
}
