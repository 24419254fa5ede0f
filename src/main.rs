//! The edge: command line, logging up, exit code.

fn main() {}
