//! From a configuration to a running proxy: the only place where parts are made, wired and started.
//!
//! One current-thread runtime for each core carries the traffic: its own share of the connections, its own pipeline, its
//! own upstream connections, so that the way of a request crosses no thread. One more runtime, in the background, mints
//! and watches over the servers behind us.

mod descriptors;
mod sockets;
mod parts;
mod worker;
mod operator;
mod reload;
mod rehearsal;

pub use self::descriptors::{Shortage, raise_open_files};
pub use self::rehearsal::Rehearsal;
pub use self::sockets::Passed;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLog;
use crate::audit::{self, Audit};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Watch};
use crate::cookie::SharedRing;
use crate::event::{Everyone, Sink};
use crate::keys;
use crate::outbox::{self, Outbox};
use crate::random::{Random, SystemRandom};
use crate::server::{Admission, Listener};
use crate::store::Store;
use crate::tls;

use self::operator::Operator;
use self::parts::{Lasting, Parts};
use self::reload::{Asking, Follower};
use self::worker::{Core, Worker};

/// What the world outside is to the proxy: time, chance, and who listens to what happens.
#[derive(Clone, Debug)]
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
    /// One of each, for a successor. While one is open, its queue takes connections.
    sockets: Vec<TcpListener>,
    stop: Stop,
    workers: Vec<JoinHandle<()>>,
    cores: Arc<[Core]>,
    minting: Option<Background>,
    asking: Asking,
    access_log: Option<AccessLog>,
    audit: Option<Arc<Audit>>,
    outbox: Option<Arc<Outbox>>,
}

/// The ways of stopping.
#[derive(Clone, Debug, Default)]
struct Stop {
    /// No new requests; those under way are finished.
    drain: CancellationToken,
    /// Now.
    kill: CancellationToken,
    /// The operator's questions are for a successor. Without one they are answered to the end: whoever asks whether we are
    /// ready is to hear that we are not.
    succeeded: CancellationToken,
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

/// A listener that is bound.
struct Bound {
    listener: Listener,
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// What a proxy may be given beside its configuration.
#[derive(Debug, Default)]
pub struct Given {
    /// What follows the configuration; without it, the one that it starts with holds to its end.
    pub watch: Option<Watch>,
    /// Sockets that were opened for it.
    pub sockets: Passed,
}

/// Starts the proxy that `config` describes. When this returns, it accepts connections.
///
/// # Errors
///
/// When an address cannot be bound, a key or a certificate cannot be loaded, or a thread cannot be had.
pub fn start(config: Config, world: World) -> Result<Proxy> {
    start_given(config, world, Given::default())
}

/// The same, with what somebody else has brought.
///
/// # Errors
///
/// As [`start`].
pub fn start_given(config: Config, world: World, given: Given) -> Result<Proxy> {
    let Given { watch, mut sockets } = given;
    let access_log = AccessLog::start(&config.access_log, Arc::clone(&world.clock))?;
    let minting = runtime::Builder::new_multi_thread().worker_threads(1).thread_name("minting").enable_all().build();
    let minting = Background::new(minting.context("the runtime for minting cannot be started")?);
    let certificates = config.tls.as_ref().map(|tls| tls::Loaded::read(tls.certificates.clone())).transpose()?;
    let certificates = certificates.map(tls::Keeper::new);
    let bound = bind(&config, certificates.as_ref(), &mut sockets)?;
    let operators = operator::bind(&config, &mut sockets)?;
    let addresses = bound.iter().map(|bound| bound.socket.local_addr()).collect::<Result<_, _>>()?;

    let cores = cores(config.workers);
    let stop = Stop::default();
    let (ring, keeper) = reload::keys(&config.keys, &world)?;
    let audit = audit(&config, &ring, &world)?;
    let outbox = outbox(&config, &ring, &world, &minting)?;
    let (metrics, world) = operator::counted(&config, audit.as_deref(), outbox.as_deref(), world);
    let world = told_to(audit.clone(), outbox.clone(), world);
    let provider = reload::provider(&config, &world, minting.handle())?;
    let store = Store::open(&config.store, Arc::clone(&world.clock))?;
    let parts = Parts::new(config, Lasting { world, ring, provider, store, metrics, outbox: outbox.clone() }, None)?;
    let admission = Admission::new(&parts.config.limits, parts.config.trust.clone());
    let sink = || Arc::clone(&parts.lasting.world.sink);
    // All of them are made before the first one starts, so that a failure leaves nothing running.
    let made = (0..cores).map(|_| Worker::new(&parts, &bound, &admission, access_log.core(sink()), stop.clone()));
    let (made, cores): (Vec<_>, Vec<_>) = made.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let operator = operator::listen(&parts, &stop, &minting, operators)?;
    let (admin, operators_socket, operators_certificate) = match operator {
        Some(Operator { address, socket, certificate }) => (Some(address), Some(socket), certificate),
        None => (None, None, None),
    };
    let workers = made.into_iter().enumerate().map(|(core, worker)| worker.start(core)).collect::<Result<_>>()?;
    sockets.end();
    say_shadows(&parts.config);
    let cores: Arc<[Core]> = cores.into();
    let Parts { config, lasting, learnt, .. } = parts;
    let follower = Follower {
        watch,
        known: keys::Known::of(&lasting.ring.load(), lasting.world.clock.now()),
        ring: keeper,
        certificates,
        operators_certificate,
        config,
        lasting,
        learnt,
        watching: CancellationToken::new(),
        admission,
        cores: Arc::clone(&cores),
        minting: minting.handle().clone(),
        stop: stop.clone(),
    };
    let sockets = bound.into_iter().map(|bound| bound.socket).chain(operators_socket).collect();
    let asking = follower.start();
    Ok(Proxy {
        addresses,
        admin,
        sockets,
        stop,
        workers,
        cores,
        minting: Some(minting),
        asking,
        access_log: Some(access_log),
        audit,
        outbox,
    })
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

    /// How the outbox fares, if there is one.
    #[must_use]
    pub fn outbox(&self) -> Option<Arc<outbox::Health>> {
        self.outbox.as_ref().map(|outbox| outbox.health())
    }

    /// Reads the configuration, the certificates and the key ring again now, as it does by itself soon after a file has
    /// changed, and comes back when that is done. A bad one is reported, and the last good one stays in use.
    pub fn reload(&self) -> impl Future<Output = ()> + Send + 'static {
        let (done, wait) = oneshot::channel();
        let asked = self.asking.send(done);
        async move {
            if asked.is_ok() {
                // It ends without an answer only together with the proxy.
                let _ = wait.await;
            }
        }
    }

    /// Comes back when every core has had a turn, and so never while one is held up.
    pub fn turns(&self) -> impl Future<Output = ()> + Send + 'static {
        let cores = Arc::clone(&self.cores);
        async move {
            for core in &*cores {
                core.turns().await;
            }
        }
    }

    /// Every socket that is listened on, the operator's too, for a process that takes over.
    ///
    /// # Errors
    ///
    /// When the system has no more file descriptors.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(|socket| socket.try_clone().map(OwnedFd::from)).collect()
    }

    /// What makes the proxy stop at once while [`Proxy::stop`] still waits for requests to finish.
    pub fn killer(&self) -> impl FnOnce() + Send + 'static {
        let kill = self.stop.kill.clone();
        move || kill.cancel()
    }

    /// Accepts nothing more, finishes what is under way for at most the configured grace, and ends. Blocks meanwhile.
    pub fn stop(mut self) {
        // Each core takes what is queued before it closes its own, and the last to close must be one of those.
        self.sockets.clear();
        self.stop.drain.cancel();
        self.join();
    }

    /// The same where a successor serves, who also answers the operator from now on.
    pub fn stop_for_successor(mut self) {
        self.sockets.clear();
        self.stop.succeeded.cancel();
        self.stop();
    }

    fn join(&mut self) {
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        if let Some(outbox) = self.outbox.take() {
            outbox.stop();
        }
        // A call to Genesys that is still under way can help nobody any more.
        drop(self.minting.take());
        drop(self.access_log.take());
        if let Some(audit) = self.audit.take() {
            audit.flush();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.kill.cancel();
        self.join();
    }
}

fn audit(config: &Config, ring: &SharedRing, world: &World) -> Result<Option<Arc<Audit>>> {
    let start = |config: &audit::Config| Audit::start(config.clone(), ring.clone(), Arc::clone(&world.clock));
    Ok(config.audit.as_ref().map(start).transpose()?.map(Arc::new))
}

fn outbox(config: &Config, ring: &SharedRing, world: &World, background: &Runtime) -> Result<Option<Arc<Outbox>>> {
    let Some(kms) = &config.outbox else { return Ok(None) };
    let (clock, random) = (Arc::clone(&world.clock), Arc::clone(&world.random));
    let outbox = Outbox::start(kms.clone(), reload::in_use(config, ring), clock, random, background.handle())?;
    Ok(Some(Arc::new(outbox)))
}

/// The same world, in which whoever keeps the books hears of everything first.
fn told_to(audit: Option<Arc<Audit>>, outbox: Option<Arc<Outbox>>, world: World) -> World {
    let audit = audit.map(|audit| Box::new(audit) as Box<dyn Sink>);
    let outbox = outbox.map(|outbox| Box::new(outbox) as Box<dyn Sink>);
    let sink = Everyone(audit.into_iter().chain(outbox).chain([Box::new(world.sink) as Box<dyn Sink>]).collect());
    World { sink: Arc::new(sink), ..world }
}

fn bind(config: &Config, certificates: Option<&tls::Keeper>, sockets: &mut Passed) -> Result<Vec<Bound>> {
    let tls = config.tls.as_ref().zip(certificates);
    let tls = tls.map(|(tls, keeper)| tls::server_config(tls.min_version, keeper)).transpose()?;
    let listeners = config.listeners.iter();
    listeners
        .map(|listener| {
            let socket = sockets.listen(listener.address)?;
            Ok(Bound { listener: listener.clone(), socket, tls: tls.clone().filter(|_| listener.tls) })
        })
        .collect()
}

/// A route that lets everybody in although it says `require` is not to be forgotten.
fn say_shadows(config: &Config) {
    for route in config.routes.iter().filter(|route| route.rules.shadow) {
        let (host, path) = (&route.host, &route.path);
        tracing::warn!(%host, %path, "shadow: this route is judged, and NOTHING IS REFUSED on it");
    }
}

/// As many as the process may use, by affinity and cgroup quota, unless the operator says how many.
fn cores(configured: usize) -> usize {
    NonZero::new(configured).or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}
