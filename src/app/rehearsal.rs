//! The proxy's parts without its sockets, for whoever wants to see what would happen: nothing listens, nothing is sent,
//! and sessions are made up on the spot.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio_util::task::TaskTracker;

use crate::access_log::{self, AccessLog, Target};
use crate::config::Config;
use crate::forward::Forward;
use crate::gate::Gate;
use crate::pipeline::Shared;
use crate::session::MadeUp;
use crate::store::{Place, Store};

use super::parts::{Lasting, Parts, Sessions};
use super::{Stop, World, reload, worker};

/// The layers of one core, each by itself, made of a configuration as [`super::start`] makes them.
#[derive(Debug)]
pub struct Rehearsal {
    /// All that stands in front of the gate.
    pub shared: Shared,
    /// The gate.
    pub gate: Arc<Gate>,
    /// What stands behind it.
    pub forward: Forward,
    /// What they were made of.
    pub config: Config,
    /// Time, chance and the listener that they were given.
    pub world: World,
}

impl Rehearsal {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// When a key or a certificate cannot be loaded.
    pub fn new(config: Config, world: World) -> Result<Self> {
        let lifetime = Duration::from_secs(u64::from(config.genesys.payload.expiration_seconds));
        let provider = MadeUp::new(config.genesys.organization_id.clone(), lifetime, Arc::clone(&world.clock));
        let log = access_log::Config { target: Target::Off, ..access_log::Config::default() };
        let log = AccessLog::start(&log, Arc::clone(&world.clock))?;
        // Looking on must leave nothing behind, so what was taken back is not looked up in the store's folder.
        let config = Config { store: Place::Memory, ..config };
        // Nothing follows the ring: what is explained is explained at one moment.
        let (ring, _) = reload::keys(&config.keys, &world)?;
        let store = Store::open(&config.store, Arc::clone(&world.clock))?;
        let provider = Sessions { provider: Arc::new(provider), seen: None };
        let lasting = Lasting { world, ring, provider, store, metrics: None, outbox: None };
        let parts = Parts::new(config, lasting, None)?;
        let forward = worker::forward(&parts, &TaskTracker::new(), &Stop::default(), None);
        let shared = worker::shared(&parts, &log.core(Arc::clone(&parts.lasting.world.sink)));
        let Parts { learnt, config, lasting, .. } = parts;
        Ok(Self { shared, gate: learnt.gate, forward, config, world: lasting.world })
    }
}
