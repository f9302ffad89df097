//! The connections of one core to one upstream: who lends them, takes them back and lets them go.
//!
//! HTTP/1.1 connections are lent to one request at a time, the last one returned first, so that the others may grow
//! old and be dropped. An HTTP/2 connection is everybody's until it dies. The locks are this core's own: they are there
//! for `Send`, nobody ever waits for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::time::{Instant, timeout};

use super::connect::{ConnectError, Connector, Fresh, Http1};
use super::upload::Upload;
use super::{Error, Upstream};

/// Idle for longer, a connection is not used again: servers close theirs after a minute or so (nginx 75 s, Apache 5 s,
/// most balancers 60 s), and a request sent at that very moment would have to be sent twice.
const IDLE_LIFETIME: Duration = Duration::from_secs(55);

pub(super) struct Pool {
    connector: Connector,
    max_idle: usize,
    connect_timeout: Duration,
    /// The one to be used next stands last.
    idle: Mutex<Vec<(Instant, Http1)>>,
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
    pub(super) fn new(upstream: &Upstream) -> Result<Self, Error> {
        Ok(Self {
            connector: Connector::new(upstream)?,
            max_idle: upstream.max_idle_connections,
            connect_timeout: upstream.connect_timeout,
            idle: Mutex::default(),
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            settled_on_http1: AtomicBool::new(false),
            next_serial: AtomicU64::new(0),
        })
    }

    /// A connection that is ready for a request, within the upstream's `connect_timeout`, TLS and all.
    pub(super) async fn lend(&self, wish: Wish) -> Result<Lent, ConnectError> {
        if !wish.fresh
            && let Some(link) = self.kept(wish)
        {
            return Ok(Lent { link, reused: true });
        }
        timeout(self.connect_timeout, self.open(wish)).await.unwrap_or(Err(ConnectError::TimedOut))
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
    pub(super) fn give_back(&self, http1: Http1) {
        if self.max_idle == 0 || !http1.sender.is_ready() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        if idle.len() >= self.max_idle {
            idle.retain(|(_, other)| other.sender.is_ready());
        }
        let stale = idle.partition_point(|(since, _)| is_stale(*since, now));
        let surplus = (idle.len() + 1).saturating_sub(self.max_idle);
        idle.drain(..stale.max(surplus));
        idle.push((now, http1));
    }

    /// Shares an HTTP/2 connection no more: it failed a request and may not know of its own end yet.
    pub(super) fn retire(&self, shared: &Shared) {
        let mut current = self.shared_slot();
        if current.as_ref().is_some_and(|current| current.serial == shared.serial) {
            *current = None;
        }
    }

    fn kept(&self, wish: Wish) -> Option<Link> {
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

    async fn make(&self, wish: Wish) -> Result<Lent, ConnectError> {
        let link = match self.connector.connect(wish.only_http1).await? {
            Fresh::Http1(http1) => {
                if !wish.only_http1 {
                    self.settled_on_http1.store(true, Ordering::Relaxed);
                }
                Link::Http1(http1)
            }
            Fresh::Http2(sender) => {
                self.settled_on_http1.store(false, Ordering::Relaxed);
                let shared = Shared { sender, serial: self.next_serial.fetch_add(1, Ordering::Relaxed) };
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

fn is_stale(since: Instant, now: Instant) -> bool {
    now.duration_since(since) > IDLE_LIFETIME
}
