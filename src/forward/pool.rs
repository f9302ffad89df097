//! The connections of one core to one server: who lends them, takes them back and lets them go.
//!
//! HTTP/1.1 connections are lent to one request at a time, the last one returned first, so that the others may grow
//! old and be dropped. An HTTP/2 connection is everybody's until it dies. The locks are this core's own: they are there
//! for `Send`, nobody ever waits for them.
//!
//! More than `max_idle_connections` are kept for a moment only. They must not be closed as they come back: a burst of a
//! thousand requests would close and open hundreds of connections over and over, and each one closed takes its port
//! along for a minute (TIME-WAIT, RFC 9293, section 3.6), so that a few seconds of it use up all ports that there are.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Upstream;
use super::connect::{ConnectError, Connector, Fresh, Http1};
use super::upload::Upload;

/// Idle for longer, a connection is not used again: servers close theirs after a minute or so (nginx 75 s, Apache 5 s,
/// most balancers 60 s), and a request sent at that very moment would have to be sent twice.
const IDLE_LIFETIME: Duration = Duration::from_secs(55);

/// How long a connection beyond `max_idle_connections` is kept after its last use. Requests of a burst follow each other
/// within a round trip of their visitors, which is below a second even by way of a satellite; after two of them without
/// any use for it, the burst is over.
const SURPLUS_LIFETIME: Duration = Duration::from_secs(2);

/// How often the surplus is looked at, at most: a tenth of the time that it lives, so that a burst that ebbs away does
/// not wake the core for each of its connections.
const TRIM_INTERVAL: Duration = Duration::from_millis(200);

/// A connection that is not made by now is not made in the usual way: its first packet was lost, or dropped by a listener
/// whose queue is full, and TCP tries again after a second (RFC 6298, section 2). A request then takes one that another
/// gives back, should that come first. It does not look for those earlier, since a connection that is given up while it
/// is being made is one more closed and opened.
const CONNECT_USUALLY: Duration = Duration::from_millis(500);

pub(super) struct Pool {
    connector: Arc<Connector>,
    /// Of the connector's, when its connections were last looked through.
    epoch: AtomicU64,
    max_idle: usize,
    connect_timeout: Duration,
    /// The one to be used next stands last.
    idle: Mutex<Vec<(Instant, Http1)>>,
    /// Told of each connection that comes back, for requests that cannot have one of their own.
    returned: Notify,
    /// Whether somebody sees to it that the surplus goes.
    trimmed: AtomicBool,
    shared: Mutex<Option<Shared>>,
    /// Held while a connection is made that others may share, so that a crowd makes one and not a hundred.
    opening: tokio::sync::Mutex<()>,
    /// The last TLS handshake settled on HTTP/1.1, so that nobody need wait for another's connection.
    settled_on_http1: AtomicBool,
    next_serial: AtomicU64,
}

/// An HTTP/2 connection, and which one it is.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<Upload>,
    address: Option<IpAddr>,
    serial: u64,
}

/// A connection for one request.
pub(super) enum Link {
    Http1(Http1),
    Http2(Shared),
}

impl Link {
    /// What is lent to one request alone, and so must be given back.
    pub(super) fn into_http1(self) -> Option<Http1> {
        match self {
            Self::Http1(http1) => Some(http1),
            Self::Http2(_) => None,
        }
    }
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// It is about to change protocols, which HTTP/2 cannot.
    pub(super) only_http1: bool,
    /// It has met a dead connection before.
    pub(super) fresh: bool,
}

/// A connection, and whether it has carried requests before.
pub(super) struct Lent {
    pub(super) link: Link,
    pub(super) reused: bool,
}

impl Pool {
    /// By way of `connector`, with what `upstream` says of them.
    pub(super) fn new(connector: Arc<Connector>, upstream: &Upstream) -> Self {
        Self {
            epoch: AtomicU64::new(connector.epoch()),
            connector,
            max_idle: upstream.max_idle_connections,
            connect_timeout: upstream.connect_timeout,
            idle: Mutex::default(),
            returned: Notify::new(),
            trimmed: AtomicBool::new(false),
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            settled_on_http1: AtomicBool::new(false),
            next_serial: AtomicU64::new(0),
        }
    }

    /// Whether it is what [`Self::new`] would make of the same.
    pub(super) fn is_of(&self, connector: &Arc<Connector>, upstream: &Upstream) -> bool {
        Arc::ptr_eq(&self.connector, connector) && self.max_idle == upstream.max_idle_connections
    }

    /// A connection that is ready for a request, within the upstream's `connect_timeout`, TLS and all.
    pub(super) async fn lend(&self, wish: Wish) -> Result<Lent, ConnectError> {
        if !wish.fresh
            && let Some(link) = self.kept(wish)
        {
            return Ok(Lent { link, reused: true });
        }
        let deadline = Instant::now() + self.connect_timeout;
        // Boxed, since few requests come here and connecting is large: the future of each request would have to hold
        // it, and is moved as a whole where it is made.
        let opening = Box::pin(self.open_or_wait(wish, deadline));
        timeout_at(deadline, opening).await.unwrap_or(Err(ConnectError::TimedOut))
    }

    /// A connection of one's own; where that is not to be had, or not soon, one that comes back.
    async fn open_or_wait(&self, wish: Wish, deadline: Instant) -> Result<Lent, ConnectError> {
        let mut opening = pin!(self.open(wish));
        let lent = |link| Lent { link, reused: true };
        match timeout(CONNECT_USUALLY, &mut opening).await {
            Ok(Err(error)) if error.is_for_want_of_sockets() => {
                timeout_at(deadline, self.coming_back(wish)).await.map(lent).map_err(|_| error)
            }
            Ok(opened) => opened,
            Err(_) => tokio::select! {
                biased;
                opened = opening => opened,
                link = self.coming_back(wish) => Ok(lent(link)),
            },
        }
    }

    async fn coming_back(&self, wish: Wish) -> Link {
        loop {
            if let Some(link) = self.kept(wish) {
                return link;
            }
            self.returned.notified().await;
        }
    }

    async fn open(&self, wish: Wish) -> Result<Lent, ConnectError> {
        if wish.only_http1 || !self.connector.may_speak_http2() || self.settled_on_http1.load(Ordering::Relaxed) {
            return self.make(wish).await;
        }
        let _opening = self.opening.lock().await;
        // Whoever held the lock before may have made one that is as fresh as any.
        match self.shared() {
            Some(shared) => Ok(Lent { link: Link::Http2(shared), reused: true }),
            None => self.make(wish).await,
        }
    }

    /// Takes a connection back. Both bodies of its last exchange have ended; if it is not ready for another by now, it
    /// is going to close.
    pub(super) fn give_back(self: &Arc<Self>, http1: Http1) {
        if self.max_idle == 0 || !http1.sender.is_ready() || !self.connector.leads_to(http1.address) {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        let stale = idle.partition_point(|(since, _)| is_stale(*since, now));
        idle.drain(..stale);
        idle.push((now, http1));
        let surplus = idle.len() > self.max_idle;
        drop(idle);
        self.returned.notify_one();
        if surplus && !self.trimmed.swap(true, Ordering::Relaxed) {
            tokio::spawn(trim(Arc::downgrade(self)));
        }
    }

    /// Lets the surplus go whose time is over, and says when to come again; never, if none is left.
    fn let_surplus_go(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.idle();
        if idle.len() > self.max_idle {
            idle.retain(|(_, http1)| http1.sender.is_ready());
        }
        let surplus = idle.len().saturating_sub(self.max_idle);
        let over = idle.partition_point(|(since, _)| now.duration_since(*since) >= SURPLUS_LIFETIME);
        idle.drain(..surplus.min(over));
        if idle.len() <= self.max_idle {
            // What a burst took is not kept for the next one.
            idle.shrink_to(self.max_idle);
            // Under the lock, so that whoever makes the next surplus sees that nobody looks after it.
            self.trimmed.store(false, Ordering::Relaxed);
            return None;
        }
        idle.first().map(|(since, _)| (*since + SURPLUS_LIFETIME).max(now + TRIM_INTERVAL))
    }

    /// Shares an HTTP/2 connection no more: it failed a request and may not know of its own end yet.
    pub(super) fn retire(&self, shared: &Shared) {
        let mut current = self.shared_slot();
        if current.as_ref().is_some_and(|current| current.serial == shared.serial) {
            *current = None;
        }
    }

    fn kept(&self, wish: Wish) -> Option<Link> {
        self.leave_old_addresses();
        if !wish.only_http1
            && let Some(shared) = self.shared()
        {
            return Some(Link::Http2(shared));
        }
        let mut idle = self.idle();
        while let Some((since, http1)) = idle.pop() {
            if is_stale(since, Instant::now()) {
                // All below it are older still.
                idle.clear();
                return None;
            }
            if http1.sender.is_ready() {
                http1.heard.nothing_yet();
                return Some(Link::Http1(http1));
            }
        }
        None
    }

    /// A name that leads elsewhere by now does so for the next request, and not when a connection happens to end. What
    /// is under way stays where it is.
    fn leave_old_addresses(&self) {
        let epoch = self.connector.epoch();
        if self.epoch.load(Ordering::Relaxed) == epoch {
            return;
        }
        self.epoch.store(epoch, Ordering::Relaxed);
        self.idle().retain(|(_, http1)| self.connector.leads_to(http1.address));
        let mut shared = self.shared_slot();
        if shared.as_ref().is_some_and(|shared| !self.connector.leads_to(shared.address)) {
            *shared = None;
        }
    }

    async fn make(&self, wish: Wish) -> Result<Lent, ConnectError> {
        let link = match self.connector.connect(wish.only_http1).await? {
            Fresh::Http1(http1) => {
                if !wish.only_http1 {
                    self.settled_on_http1.store(true, Ordering::Relaxed);
                }
                Link::Http1(http1)
            }
            Fresh::Http2(sender, address) => {
                self.settled_on_http1.store(false, Ordering::Relaxed);
                let shared = Shared { sender, address, serial: self.next_serial.fetch_add(1, Ordering::Relaxed) };
                *self.shared_slot() = Some(shared.clone());
                Link::Http2(shared)
            }
        };
        Ok(Lent { link, reused: false })
    }

    fn shared(&self) -> Option<Shared> {
        let mut shared = self.shared_slot();
        if shared.as_ref().is_some_and(|shared| !shared.sender.is_ready()) {
            *shared = None;
        }
        shared.clone()
    }

    fn shared_slot(&self) -> MutexGuard<'_, Option<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Http1)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs while a pool has a surplus, and no longer than the pool.
async fn trim(pool: Weak<Pool>) {
    let mut due = Instant::now() + SURPLUS_LIFETIME;
    loop {
        sleep_until(due).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.let_surplus_go(Instant::now()) {
            Some(later) => due = later,
            None => return,
        }
    }
}

fn is_stale(since: Instant, now: Instant) -> bool {
    now.duration_since(since) > IDLE_LIFETIME
}
