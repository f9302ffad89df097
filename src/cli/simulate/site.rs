//! `guestpass simulate site`: the sample site by itself.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::demo::site::{Settings, Site};

/// What `simulate site` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Anybody who reaches the site sees every header that it is sent, so it listens on loopback.

Examples:
  guestpass simulate site
  guestpass simulate site --listen 127.0.0.1:0")]
pub(in crate::cli) struct Arguments {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let listen = arguments.listen;
    super::keep(async || {
        let site = Site::start(listen, Settings::default()).with_context(|| format!("cannot be a site on {listen}"))?;
        let words = format!("a sample site stands at http://{}/", site.address());
        Ok((site, words))
    })
}
