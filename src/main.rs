//! The `guestpass` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    guestpass::cli::main()
}
