//! What a running proxy reads again while it runs: its configuration, its certificates and its key ring, each as one
//! whole. A bad one is reported, and the last good one stays in use.
//!
//! Of a new configuration everything is made before anything is exchanged, so that it is taken whole or not at all; then
//! each core gets a new pipeline, which its next request meets. What outlives a configuration ([`Lasting`]) goes from one
//! to the next.

mod changes;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Loaded, Problems, Watch};
use crate::cookie::SharedRing;
use crate::event::{self, Event};
use crate::forward::Servers;
use crate::genesys::Rest;
use crate::keys::{self, Change, Source};
use crate::metrics::{House, Keys, RingFile};
use crate::outbox::InUse;
use crate::server::Admission;
use crate::stock::Stock;
use crate::tls;

use self::changes::{keeping_what_stays, what_changed};
use super::parts::{Lasting, Learnt, Parts, Sessions};
use super::worker::Core;
use super::{Stop, World, say_shadows};

/// How often files are asked how they look: far below the time for which a key is staged, and next to nothing as work.
const INTERVAL: Duration = Duration::from_secs(1);

/// The ring that requests use, and what keeps it up to date where it comes from a file.
pub(super) fn keys(config: &keys::Config, world: &World) -> Result<(SharedRing, Option<keys::Keeper>)> {
    let Source::File(path) = &config.source else { return Ok((keys::load(&config.source)?.into(), None)) };
    let keeper = keys::Keeper::open(path.clone(), config, Arc::clone(&world.clock), Arc::clone(&world.random))?;
    Ok((keeper.ring(), Some(keeper)))
}

/// Where sessions come from: Genesys, and what is in stock.
pub(super) fn provider(config: &Config, world: &World, minting: &Handle) -> Result<Sessions> {
    let clock = || Arc::clone(&world.clock);
    let rest = Rest::new(config.genesys.clone(), clock(), Arc::clone(&world.random))?;
    let figures = rest.figures();
    let stock = Stock::new(Arc::new(rest), minting.clone(), clock(), config.warm_pool);
    Ok(Sessions { provider: Arc::new(stock.clone()), seen: Some((figures, stock)) })
}

/// What the KMS is to be told of whatever happens under this configuration.
pub(super) fn in_use(config: &Config, ring: &SharedRing) -> InUse {
    InUse { ring: ring.clone(), protection: config.cookie.protection, rotate_every: config.keys.rotates_every() }
}

/// By which a proxy is told to look now, and says when it has.
pub(super) type Asking = mpsc::UnboundedSender<oneshot::Sender<()>>;

/// Everything that is followed, and everybody who is to hear of it.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) watch: Option<Watch>,
    pub(super) ring: Option<keys::Keeper>,
    pub(super) known: keys::Known,
    pub(super) certificates: Option<tls::Keeper>,
    pub(super) operators_certificate: Option<tls::Keeper>,
    pub(super) config: Config,
    pub(super) lasting: Lasting,
    pub(super) learnt: Learnt,
    /// Ends the watch over the servers that are known now.
    pub(super) watching: CancellationToken,
    pub(super) admission: Arc<Admission>,
    pub(super) cores: Arc<[Core]>,
    pub(super) minting: Handle,
    pub(super) stop: Stop,
}

impl Follower {
    /// Keeps looking on the runtime for minting, for as long as that runs.
    pub(super) fn start(mut self) -> Asking {
        let servers = Arc::clone(&self.learnt.servers);
        self.watch_over(&servers);
        self.show();
        let (asking, asked) = mpsc::unbounded_channel();
        self.minting.clone().spawn(follow(self, asked));
        asking
    }

    /// One step. The configuration comes last: what has changed beside it is read by then, and is not read twice.
    fn look(&mut self, asked: bool) {
        for certificates in self.certificates.iter_mut().chain(&mut self.operators_certificate) {
            certificates.look(asked);
        }
        if let Some(ring) = &mut self.ring {
            ring.look(asked);
        }
        let now = self.lasting.world.clock.now();
        if let Some(loaded) = self.watch.as_mut().and_then(|watch| watch.look(asked, now)) {
            self.hear(loaded);
        }
    }

    /// These servers instead of those before.
    fn watch_over(&mut self, servers: &Arc<Servers>) {
        let watching = self.stop.drain.child_token();
        self.minting.spawn(Arc::clone(servers).watch(watching.clone()));
        std::mem::replace(&mut self.watching, watching).cancel();
    }

    /// Also what the clock alone has changed.
    async fn tell_of_the_ring(&mut self) {
        let Lasting { world, ring, .. } = &self.lasting;
        let changes = self.known.changes(&ring.load(), world.clock.now());
        for change in changes {
            let event = match change {
                Change::Rotated { from, to } => Event::KeyRotated { from, to },
                Change::Retired(key_id) => Event::KeyRetired { key_id },
            };
            event::tell_what_happened(&*world.sink, &event, None).await;
        }
    }

    fn hear(&mut self, loaded: Loaded) {
        let Loaded { config, problems, .. } = loaded;
        let taken = config.is_some_and(|config| self.take(config, &problems));
        if problems.any_error() {
            tracing::error!(
                "the configuration cannot be used, and the last good one stays in use\n{}",
                text(&problems)
            );
        }
        self.lasting.world.sink.notice(&Event::ConfigReloaded { taken }, None);
    }

    fn take(&mut self, config: Config, problems: &Problems) -> bool {
        let (config, waiting) = keeping_what_stays(&self.config, config);
        let changed = what_changed(&self.config, &config).join(", ");
        if let Err(error) = self.change(config) {
            tracing::error!("the configuration cannot be used, and the last good one stays in use: {error:#}");
            return false;
        }
        match changed.as_str() {
            "" => tracing::info!("the configuration was read again, and nothing that can change meanwhile has changed"),
            changed => {
                tracing::info!(changed, "the configuration was read again, and holds for every request from now on")
            }
        }
        if !problems.is_empty() {
            tracing::warn!("the configuration is in use, and there is something to say of it\n{}", text(problems));
        }
        if !waiting.is_empty() {
            let settings = waiting.join(", ");
            tracing::warn!(
                settings,
                "these stay as they were until a restart, or until a successor takes over (SIGUSR2)"
            );
        }
        say_shadows(&self.config);
        true
    }

    fn change(&mut self, config: Config) -> Result<()> {
        let Lasting { world, store, metrics, outbox, .. } = &self.lasting;
        let ring = if config.keys == self.config.keys { None } else { Some(keys(&config.keys, world)?) };
        let is_same_provider = config.genesys == self.config.genesys && config.warm_pool == self.config.warm_pool;
        let provider = match is_same_provider {
            true => self.lasting.provider.clone(),
            false => provider(&config, world, &self.minting)?,
        };
        let files = config.tls.as_ref().filter(|_| config.tls != self.config.tls).map(|tls| tls.certificates.clone());
        let certificates = files.map(tls::Loaded::read).transpose()?;
        let lasting = Lasting {
            world: world.clone(),
            ring: ring.as_ref().map_or_else(|| self.lasting.ring.clone(), |(ring, _)| ring.clone()),
            provider,
            store: store.clone(),
            metrics: metrics.clone(),
            outbox: outbox.clone(),
        };
        let parts = Parts::new(config, lasting, Some(&self.learnt))?;
        let pipelines: Vec<_> = self.cores.iter().map(|core| core.prepare(&parts)).collect();

        // From here on nothing can fail.
        for (core, pipeline) in self.cores.iter().zip(pipelines) {
            core.switch(pipeline);
        }
        if let (Some(keeper), Some(loaded)) = (&mut self.certificates, certificates) {
            keeper.show(loaded);
        }
        if let Some((_, keeper)) = ring {
            self.ring = keeper;
        }
        if let Some(outbox) = &parts.lasting.outbox {
            outbox.say(in_use(&parts.config, &parts.lasting.ring));
        }
        self.admission.trust(parts.config.trust.clone());
        self.watch_over(&parts.learnt.servers);
        (self.config, self.lasting, self.learnt) = (parts.config, parts.lasting, parts.learnt);
        self.show();
        Ok(())
    }

    /// Whom the numbers ask from now on.
    fn show(&self) {
        let Lasting { metrics: Some(metrics), provider: Sessions { seen: Some((genesys, stock)), .. }, ring, .. } =
            &self.lasting
        else {
            return;
        };
        metrics.ask(House {
            genesys: genesys.clone(),
            stock: stock.clone(),
            servers: Arc::clone(&self.learnt.servers),
            admission: Arc::clone(&self.admission),
            certificates: self.certificates.as_ref().map(tls::Keeper::facts),
            keys: Keys {
                ring: ring.clone(),
                record: self.ring.as_ref().map(keys::Keeper::record),
                rotate_every: self.config.keys.rotate_every,
                file: match &self.config.keys.source {
                    Source::File(path) => Some(RingFile { path: path.clone(), stage_for: self.config.keys.stage_for }),
                    Source::Secret { .. } => None,
                },
            },
        });
    }
}

async fn follow(mut follower: Follower, mut asked: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let waiting = tokio::select! {
            asked = asked.recv() => match asked {
                Some(waiting) => Some(waiting),
                None => return,
            },
            _ = ticks.tick() => None,
        };
        let asked = waiting.is_some();
        // A disk may take its time, and minting must not wait for it.
        let looked = tokio::task::spawn_blocking(move || {
            follower.look(asked);
            follower
        });
        follower = match looked.await {
            Ok(follower) => follower,
            Err(error) => return tracing::error!(%error, "nothing is read again any more"),
        };
        follower.tell_of_the_ring().await;
        // Whoever asked may have stopped waiting.
        let _ = waiting.map(|waiting| waiting.send(()));
    }
}

/// As `guestpass check` shows them, but for colour.
fn text(problems: &Problems) -> String {
    problems.render(false).trim_end().to_owned()
}
