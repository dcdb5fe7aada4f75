//! The `cellgate` command: parse, call, exit code.

use std::process::ExitCode;

// The allocator of the release and of every measurement; glibc's arenas keep memory that thousands of
// slow connections once used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cellgate::cli::run()
}
