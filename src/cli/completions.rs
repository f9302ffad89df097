//! `guestpass completions`: what a shell has to know to complete our commands and flags.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::CommandLine;

/// What `completions` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(guestpass completions bash)                                       for this shell alone
  guestpass completions bash > /etc/bash_completion.d/guestpass              for everybody
  guestpass completions zsh > ~/.zfunc/_guestpass                            where fpath has ~/.zfunc
  guestpass completions fish > ~/.config/fish/completions/guestpass.fish")]
pub(super) struct Arguments {
    /// Whose language to speak
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "guestpass", &mut script);
    io::stdout().write_all(&script).context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}
