//! The `cellgate` command: parse, call, exit code.

use std::process::ExitCode;

// The allocator of the release and of every measurement. How it is tuned, its features in Cargo.toml say; why it is
// this one and what was measured, docs/decisions/0011-memory.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // One live connection in a page of 2 MiB keeps all of it resident: buffers of which little is touched would cost
    // their whole size. Where the kernel has no such pages there is nothing to switch off.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cellgate::cli::run()
}
