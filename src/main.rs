//! The edge: the process' arguments in, its exit code out.

use std::process::ExitCode;

// Records are allocated on one thread and freed on another, several pieces a message: a tenth of all CPU in glibc's
// allocator. jemalloc costs half of that, and no more memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    kafka_once::cli::main()
}
