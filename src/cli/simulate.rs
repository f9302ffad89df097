//! `guestpass simulate`: one of the demo's parts by itself, for staging and for tests of other programs.

mod genesys;
mod site;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::cli::signals::Signals;

/// What can be simulated.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  guestpass simulate genesys
  guestpass simulate site")]
pub(super) enum Arguments {
    /// Genesys Cloud: its token and session endpoints, with faults at will
    Genesys(genesys::Arguments),
    /// A site that shows what reaches it
    Site(site::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match arguments {
        Arguments::Genesys(arguments) => genesys::run(arguments),
        Arguments::Site(arguments) => site::run(arguments),
    }
}

/// Starts a part, says what `start` has to say of it, and keeps it until the process is told to stop.
fn keep<P>(start: impl AsyncFnOnce() -> Result<(P, String)>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        // First of all: whoever reads that it listens may stop it in the next moment.
        let mut signals = Signals::listen().context("signals cannot be listened to")?;
        let (_part, words) = start().await?;
        say(&words);
        signals.next().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// On stdout. Whoever closed it does not want to know, and the part goes on.
fn say(words: &str) {
    writeln!(io::stdout(), "{words}").ok();
}
