//! What a running proxy reads again while it runs: today the key ring.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::cookie::SharedRing;
use crate::event::{self, Event, Sink};
use crate::keys::{self, Change, Keeper, Source};

use super::World;

/// How often a file is asked how it looks: far below the time for which a key is staged, and next to nothing as work.
const INTERVAL: Duration = Duration::from_secs(1);

/// The ring that requests use, and what keeps it up to date where it comes from a file.
pub(super) fn keys(config: &keys::Config, world: &World) -> Result<(SharedRing, Option<Keeper>)> {
    let Source::File(path) = &config.source else { return Ok((keys::load(&config.source)?.into(), None)) };
    let keeper = Keeper::open(path.clone(), config, Arc::clone(&world.clock), Arc::clone(&world.random))?;
    Ok((keeper.ring(), Some(keeper)))
}

/// By which a proxy is told to look now.
#[derive(Debug, Default)]
pub(super) struct Reload {
    asked: Option<Arc<Notify>>,
}

impl Reload {
    /// Keeps looking on `background`, for as long as that runs.
    pub(super) fn start(keeper: Option<Keeper>, sink: Arc<dyn Sink>, background: &runtime::Handle) -> Self {
        let asked = keeper.map(|keeper| {
            let asked = Arc::<Notify>::default();
            background.spawn(keep(keeper, sink, Arc::clone(&asked)));
            asked
        });
        Self { asked }
    }

    pub(super) fn ask(&self) {
        match &self.asked {
            Some(asked) => asked.notify_one(),
            None => tracing::info!("there is nothing to read again: the key is a secret of the configuration"),
        }
    }
}

async fn keep(mut keeper: Keeper, sink: Arc<dyn Sink>, asked: Arc<Notify>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = asked.notified() => true,
            _ = ticks.tick() => false,
        };
        // A disk may take its time, and minting must not wait for it.
        let looked = tokio::task::spawn_blocking(move || {
            keeper.look(asked);
            keeper
        });
        keeper = match looked.await {
            Ok(keeper) => keeper,
            Err(error) => return tracing::error!(%error, "the key ring is not looked after any more"),
        };
        for change in keeper.changes() {
            let event = match change {
                Change::Rotated { from, to } => Event::KeyRotated { from, to },
                Change::Retired(key_id) => Event::KeyRetired { key_id },
            };
            event::tell_what_happened(&*sink, &event, None).await;
        }
    }
}
