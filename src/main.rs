//! The edge: the process' arguments in, its exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    kafka_once::cli::main()
}
