//! `guestpass schema`: what `proxy.toml` may hold, for editors.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::config;

/// `schema` may be told nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Even Better TOML (VS Code), taplo and others complete and check proxy.toml by it when the file's first line is
  #:schema ./proxy.schema.json
`guestpass check` knows more: rules between keys, certificates, key rings and the environment.

Examples:
  guestpass schema > proxy.schema.json")]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<ExitCode> {
    writeln!(io::stdout(), "{:#}", config::schema()).context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}
