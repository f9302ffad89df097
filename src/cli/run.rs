//! `guestpass run`: the proxy, until a signal ends it.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::runtime;

use crate::app::{self, Given, Passed, Proxy, World};
use crate::cli::signals::{Signals, Wish, Wishes, outlive_full_files};
use crate::cli::successor::{self, Successor};
use crate::cli::{EX_CONFIG, check, environment, service, start_logging};
use crate::config::Watch;

/// What `run` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
The access log goes to standard output, everything else that is said to standard error.
SIGTERM and SIGINT finish what is under way, for at most shutdown.grace; a second one ends at once.
SIGHUP reads the configuration, the certificates and the key ring again, as happens by itself soon after one of them
has changed; a bad one is reported, and the last good one stays in use.
SIGUSR2 starts the program anew, as it now stands on the disk, and lets it take over without losing a request.
Sockets that a service manager passes (LISTEN_FDS) are used for the listeners of their addresses.

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
    // Before there is a second thread.
    let passed = successor::passed();
    // What stands at this path later is the program that is to take over.
    let program = std::env::current_exe().context("the program does not know where it stands")?;
    let world = World::default();
    let (watch, loaded) = Watch::open(&arguments.config, Box::new(environment), world.clock.now());
    check::report(&loaded.problems)?;
    let Some(config) = loaded.config else { return Ok(ExitCode::from(EX_CONFIG)) };
    start_logging(config.log_level);
    app::raise_open_files(&config.limits);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    // First of all: whoever reads that we listen may stop us in the next moment.
    let listen = async {
        outlive_full_files()?;
        Ok::<_, std::io::Error>((Signals::listen()?, Wishes::listen()?))
    };
    let (signals, wishes) = runtime.block_on(listen).context("signals cannot be listened to")?;
    let sockets = passed.into_iter().collect::<std::io::Result<_>>().and_then(Passed::new);
    let sockets = sockets.context("a socket that was passed cannot be used")?;
    let grace = config.grace;
    let proxy = app::start_given(config, world, Given { watch: Some(watch), sockets })?;
    for address in proxy.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = proxy.admin_address() {
        tracing::info!(admin = %address, "listening for the operator");
    }
    service::ready();
    successor::tell_predecessor();
    runtime.block_on(async {
        let end = until_told(&proxy, &program, signals, wishes).await;
        stop(proxy, end, grace).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Why the proxy ends, and the signals that may still hasten it.
struct End {
    /// The signal that asks for it; `None` where a successor serves.
    signal: Option<&'static str>,
    signals: Signals,
}

/// Does what it is told, until that is to end.
async fn until_told(proxy: &Proxy, program: &Path, mut signals: Signals, mut wishes: Wishes) -> End {
    let mut successor: Option<Successor> = None;
    let mut live = pin!(service::live(|| proxy.turns()));
    loop {
        tokio::select! {
            signal = signals.next() => return End { signal: Some(signal), signals },
            wish = wishes.next() => match wish {
                Wish::Reload => {
                    service::reloading();
                    proxy.reload().await;
                    service::ready();
                }
                Wish::Succeed if successor.is_some() => tracing::warn!("a successor is on its way already: this SIGUSR2 is not heeded"),
                Wish::Succeed => successor = succeed(proxy, program),
            },
            serves = serves(&mut successor) => {
                if serves {
                    return End { signal: None, signals };
                }
                tracing::error!("the successor has ended before it served, and we go on");
                successor.take().into_iter().for_each(Successor::bury);
            }
            () = &mut live => {}
        }
    }
}

fn succeed(proxy: &Proxy, program: &Path) -> Option<Successor> {
    match proxy.sockets().and_then(|sockets| Successor::start(program, sockets)) {
        Ok(successor) => {
            tracing::info!(process = successor.id(), "SIGUSR2: a successor was started");
            Some(successor)
        }
        Err(error) => {
            tracing::error!(%error, program = %program.display(), "a successor cannot be started, and we go on");
            None
        }
    }
}

/// Never, where there is none.
async fn serves(successor: &mut Option<Successor>) -> bool {
    match successor {
        Some(successor) => successor.serves().await,
        None => std::future::pending().await,
    }
}

/// Lets the proxy finish; a signal does not wait for that.
async fn stop(proxy: Proxy, end: End, grace: Duration) -> Result<()> {
    let End { signal, mut signals } = end;
    match signal {
        // The service goes on, so its manager is told nothing.
        None => tracing::info!("the successor serves: what is under way here has up to {grace:?} to finish"),
        Some(signal) => {
            service::stopping();
            tracing::info!(
                "stopping ({signal}): nobody is let in any more, and what is under way has up to {grace:?} to finish"
            );
        }
    }
    let kill = proxy.killer();
    let stop = if signal.is_some() { Proxy::stop } else { Proxy::stop_for_successor };
    let mut stopped = tokio::task::spawn_blocking(move || stop(proxy));
    tokio::select! {
        done = &mut stopped => done.context("stopping failed")?,
        signal = signals.next() => {
            tracing::warn!("stopping at once (another {signal}): what is still under way is cut off");
            kill();
            stopped.await.context("stopping failed")?;
        }
    }
    tracing::info!("stopped");
    Ok(())
}
