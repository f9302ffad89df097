//! The `guestpass` program.

use std::process::ExitCode;

/// Requests of many connections at once free and ask for pieces of all sizes, small ones by the dozen and several of some
/// KiB, which is where glibc's allocator is slow (`benches/README.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    guestpass::cli::main()
}
