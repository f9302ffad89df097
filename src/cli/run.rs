//! `guestpass run`: the proxy, until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::runtime;

use crate::app::{self, Proxy, World};
use crate::cli::signals::{Hangups, Signals};
use crate::cli::{EX_CONFIG, check, start_logging};

/// What `run` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
The access log goes to standard output, everything else that is said to standard error.
SIGTERM and SIGINT finish what is under way, for at most shutdown.grace; a second one ends at once.
SIGHUP reads the key ring again, as happens by itself soon after it has changed.

Examples:
  guestpass run
  HMAC_SECRET=… GENESYS_CLIENT_SECRET=… guestpass run --config /etc/guestpass/proxy.toml
  HMAC_SECRET_FILE=/run/secrets/hmac GENESYS_CLIENT_SECRET_FILE=/run/secrets/genesys guestpass run")]
pub(super) struct Arguments {
    /// The configuration, over which the environment is laid
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let world = World::default();
    let Some(config) = check::load(&arguments.config, &*world.clock)? else { return Ok(ExitCode::from(EX_CONFIG)) };
    start_logging(config.log_level);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    // First of all: whoever reads that we listen may stop us in the next moment.
    let listen = async { Ok::<_, std::io::Error>((Signals::listen()?, Hangups::listen()?)) };
    let (signals, hangups) = runtime.block_on(listen).context("signals cannot be listened to")?;
    let proxy = app::start(config, world)?;
    for address in proxy.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = proxy.admin_address() {
        tracing::info!(admin = %address, "the operator is listened to");
    }
    runtime.block_on(until_stopped(proxy, signals, hangups))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for a signal, then lets the proxy finish; a second signal does not wait for that.
async fn until_stopped(proxy: Proxy, mut signals: Signals, mut hangups: Hangups) -> Result<()> {
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = hangups.next() => proxy.reload(),
        }
    }
    tracing::info!("stopping: what is under way is finished");
    let kill = proxy.killer();
    let mut stopped = tokio::task::spawn_blocking(|| proxy.stop());
    tokio::select! {
        done = &mut stopped => done.context("stopping failed")?,
        () = signals.next() => {
            tracing::warn!("stopping at once");
            kill();
            stopped.await.context("stopping failed")?;
        }
    }
    Ok(())
}
