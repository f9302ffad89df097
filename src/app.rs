//! From a configuration to a running proxy: the only place where parts are made, wired and started.
//!
//! One current-thread runtime for each core carries the traffic: its own share of the connections, its own pipeline, its
//! own upstream connections, so that the way of a request crosses no thread. One more runtime, in the background, mints
//! and watches over the servers behind us.

mod operator;
mod rehearsal;
mod reload;
mod worker;

pub use self::rehearsal::Rehearsal;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use http::HeaderValue;
use rustls::ServerConfig;
use tokio::runtime::{self, Runtime};
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLog;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::cookie::{Jar, SharedRing};
use crate::event::{Everyone, Sink};
use crate::forward::{Resolve, Servers, SystemResolver};
use crate::gate::Gate;
use crate::genesys::Rest;
use crate::pipeline::Own;
use crate::random::{Random, SystemRandom};
use crate::refusal::Renderer;
use crate::routes::Table;
use crate::server::{self, Admission, Listener};
use crate::session::Provider;
use crate::stock::Stock;
use crate::store::Store;
use crate::tls;

use self::reload::Reload;
use self::worker::Worker;

/// What the world outside is to the proxy: time, chance, and who listens to what happens.
#[derive(Debug)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where chance comes from.
    pub random: Arc<dyn Random>,
    /// Who is told what happens.
    pub sink: Arc<dyn Sink>,
}

impl Default for World {
    /// The operating system's clock and chance, and nobody listening.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            sink: Arc::new(Everyone::default()),
        }
    }
}

/// A proxy that runs. Dropping it cuts every connection; [`Proxy::stop`] lets them finish.
#[derive(Debug)]
pub struct Proxy {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    stop: Stop,
    workers: Vec<JoinHandle<()>>,
    minting: Option<Background>,
    reload: Reload,
    access_log: Option<AccessLog>,
}

/// The two ways of stopping.
#[derive(Clone, Debug, Default)]
struct Stop {
    /// No new requests; those under way are finished.
    drain: CancellationToken,
    /// Now.
    kill: CancellationToken,
}

/// A runtime that may be dropped wherever its owner is: tokio's own panics on another runtime's thread, where dropping
/// it would have to wait.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl Background {
    const fn new(runtime: Runtime) -> Self {
        Self(Some(runtime))
    }
}

impl Deref for Background {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What every core's worker is made of.
struct Parts {
    config: Config,
    world: World,
    gate: Arc<Gate>,
    own: Own,
    store: Store,
    servers: Arc<Servers>,
    routes: Arc<Table>,
    renderer: Renderer,
    admission: Arc<Admission>,
    hsts: Option<HeaderValue>,
}

/// A listener that is bound.
struct Bound {
    listener: Listener,
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// Starts the proxy that `config` describes. When this returns, it accepts connections.
///
/// # Errors
///
/// When an address cannot be bound, a key or a certificate cannot be loaded, or a thread cannot be had.
pub fn start(config: Config, world: World) -> Result<Proxy> {
    let access_log = AccessLog::start(&config.access_log, Arc::clone(&world.clock))?;
    let minting = runtime::Builder::new_multi_thread().worker_threads(1).thread_name("minting").enable_all().build();
    let minting = Background::new(minting.context("the runtime for minting cannot be started")?);
    let bound = bind(&config)?;
    let addresses = bound.iter().map(|bound| bound.socket.local_addr()).collect::<Result<_, _>>()?;

    let cores = cores(config.workers);
    let stop = Stop::default();
    let (ring, keeper) = reload::keys(&config.keys, &world)?;
    let sink = Arc::clone(&world.sink);
    let rest = Rest::new(config.genesys.clone(), Arc::clone(&world.clock), Arc::clone(&world.random))?;
    let stock = Stock::new(Arc::new(rest), minting.handle().clone(), Arc::clone(&world.clock), config.warm_pool);
    let parts = parts(config, world, ring, Arc::new(stock))?;
    // All of them are made before the first one starts, so that a failure leaves nothing running.
    let made = (0..cores).map(|_| Worker::new(&parts, &bound, &access_log.core(), stop.clone()));
    let made = made.collect::<Result<Vec<_>>>()?;
    let admin = operator::listen(&parts, &stop, &minting)?;
    minting.spawn(Arc::clone(&parts.servers).watch(stop.drain.clone()));
    let workers = made.into_iter().enumerate().map(|(core, worker)| worker.start(core)).collect::<Result<_>>()?;
    let reload = Reload::start(keeper, sink, minting.handle());
    Ok(Proxy { addresses, admin, stop, workers, minting: Some(minting), reload, access_log: Some(access_log) })
}

impl Proxy {
    /// The addresses that are listened on, in the order of the configuration. A port that was 0 is the real one here.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the operator is listened to, if anywhere.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Reads the key ring again now, as it does by itself soon after the file has changed. A broken one is reported, and
    /// the last good one stays in use.
    pub fn reload(&self) {
        self.reload.ask();
    }

    /// What makes the proxy stop at once while [`Proxy::stop`] still waits for requests to finish.
    pub fn killer(&self) -> impl FnOnce() + Send + 'static {
        let kill = self.stop.kill.clone();
        move || kill.cancel()
    }

    /// Accepts nothing more, finishes what is under way for at most the configured grace, and ends. Blocks meanwhile.
    pub fn stop(mut self) {
        self.stop.drain.cancel();
        self.join();
    }

    fn join(&mut self) {
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        // A call to Genesys that is still under way can help nobody any more.
        drop(self.minting.take());
        drop(self.access_log.take());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.kill.cancel();
        self.join();
    }
}

fn parts(config: Config, world: World, ring: SharedRing, provider: Arc<dyn Provider>) -> Result<Parts> {
    let clock = &world.clock;
    let organization_id = provider.organization_id().to_owned();
    let jar = Jar::new(config.cookie.clone(), ring, organization_id, Arc::clone(&world.random));
    let renderer = Renderer::new(config.refusal_page.clone());
    let store = Store::open(&config.store, Arc::clone(clock))?;
    let gate =
        Gate::new(jar, provider, config.gate.clone(), renderer.clone(), Arc::clone(clock), Arc::clone(&world.sink))
            .with_revocations(Arc::new(store.clone()));
    let gate = Arc::new(gate);
    let own = Own::new(config.own.clone(), &gate, store.clone(), renderer.clone(), Arc::clone(&world.sink));
    let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
    Ok(Parts {
        servers: Arc::new(Servers::new(&config.upstreams, Arc::clone(clock), &resolver, None)?),
        routes: Arc::new(Table::new(config.routes.clone())),
        admission: Admission::new(&config.limits, config.trust.clone()),
        hsts: config.hsts.map(|age| format!("max-age={}", age.as_secs()).parse()).transpose()?,
        gate,
        own,
        store,
        renderer,
        config,
        world,
    })
}

fn bind(config: &Config) -> Result<Vec<Bound>> {
    let tls = config.tls.as_ref().map(tls::server_config).transpose()?;
    let listeners = config.listeners.iter();
    listeners
        .map(|listener| {
            let socket =
                server::bind(listener.address).with_context(|| format!("cannot listen on {}", listener.address))?;
            Ok(Bound { listener: listener.clone(), socket, tls: tls.clone().filter(|_| listener.tls) })
        })
        .collect()
}

/// As many as the process may use, by affinity and cgroup quota, unless the operator says how many.
fn cores(configured: usize) -> usize {
    NonZero::new(configured).or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}
