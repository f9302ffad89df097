//! The servers of all upstreams as all cores know them: how they are reached, how they fare, and whose turn it is. One
//! for each configuration; what it knows of servers that stay goes over to the next one's.
//!
//! On the way of a request nothing here waits: a server that works costs it two counters. Asking servers how they are is
//! [`super::watch`]'s part.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use super::balance::{self, Candidate, Places};
use super::connect::{Connector, LOCALHOST};
use super::health::{Change, Health, Standing};
use super::resolve::Resolve;
use super::tls::Tls;
use super::{Error, Protocol, Server, Upstream};
use crate::clock::{Clock, Timestamp};

/// All servers of a configuration.
#[derive(Debug)]
pub struct Servers {
    pub(super) groups: Vec<Arc<Group>>,
    pub(super) clock: Arc<dyn Clock>,
}

/// How one server fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The name of its upstream.
    pub upstream: String,
    /// Its address, as it is configured.
    pub server: String,
    /// Whether requests go there while there is any that is.
    pub healthy: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// What was last wrong with it, if ever anything was.
    pub last_error: Option<String>,
    /// Requests and tunnels under way.
    pub connections: usize,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Group {
    /// The settings', to be shared.
    pub(super) name: Arc<str>,
    pub(super) settings: Upstream,
    pub(super) members: Vec<Member>,
    turn: AtomicUsize,
}

/// One of its servers.
pub(super) struct Member {
    server: Server,
    pub(super) address: Arc<str>,
    seed: u64,
    /// What it is told as `Host` where it is told its own.
    pub(super) own_host: HeaderValue,
    pub(super) connector: Arc<Connector>,
    record: Arc<Record>,
}

/// What is known of a server.
struct Record {
    /// Whether a connection that works is news. It spares requests the lock.
    troubled: AtomicBool,
    busy: AtomicUsize,
    history: Mutex<History>,
}

struct History {
    health: Health,
    since: Timestamp,
    last_error: Option<String>,
}

/// A request or a tunnel that is under way at a server.
pub(super) struct Busy(Arc<Record>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Servers {
    /// Sets up what is needed to reach `upstreams`, in the order that [`Matched::upstream`](crate::routes::Matched)
    /// counts in. Connects nowhere. Servers that `predecessor` knew keep what is known of them; if they are reached in
    /// the same way, they keep their connections too.
    ///
    /// # Errors
    ///
    /// As [`Error`] says, for the first upstream that cannot work.
    pub fn new(
        upstreams: &[Upstream],
        clock: Arc<dyn Clock>,
        resolver: &Arc<dyn Resolve>,
        predecessor: Option<&Self>,
    ) -> Result<Self, Error> {
        let group = |upstream: &Upstream| {
            let before = predecessor.and_then(|before| before.named(&upstream.name));
            Group::new(upstream, &*clock, resolver, before).map(Arc::new)
        };
        let groups = upstreams.iter().map(group).collect::<Result<_, _>>()?;
        Ok(Self { groups, clock })
    }

    /// How all of them fare, in the order of the configuration.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ServerStatus> {
        let of_group = |group: &Arc<Group>| {
            let name = group.settings.name.clone();
            group.members.iter().map(move |member| member.status(name.clone())).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of_group).collect()
    }

    fn named(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.settings.name == name).map(Arc::as_ref)
    }
}

impl Group {
    fn new(
        upstream: &Upstream,
        clock: &dyn Clock,
        resolver: &Arc<dyn Resolve>,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let tls = match &upstream.protocol {
            Protocol::Https(settings) => Some(Tls::new(settings)?),
            Protocol::Http | Protocol::H2c => None,
        };
        if matches!(&upstream.protocol, Protocol::Https(settings) if settings.insecure) {
            tracing::warn!(upstream = upstream.name, "tls.insecure: whoever is in between can be this upstream");
        }
        let before = before.filter(|before| before.settings.protocol == upstream.protocol);
        let member = |server: &Server| {
            let made = Connector::new(upstream, server, tls.as_ref(), resolver)?;
            let stays = before.and_then(|before| before.members.iter().find(|member| member.server == *server));
            let connector = stays.map(|stays| &stays.connector).filter(|connector| made.is_as(connector)).cloned();
            // Other rules would judge what has happened otherwise.
            let same_rules = before.is_some_and(|before| before.settings.health_check == upstream.health_check);
            let record = stays.filter(|_| same_rules).map(|stays| Arc::clone(&stays.record));
            Ok(Member {
                server: server.clone(),
                address: upstream.address(server).into(),
                seed: balance::seed(&upstream.address(server)),
                own_host: own_host(upstream, server)?,
                connector: connector.unwrap_or_else(|| Arc::new(made)),
                record: record.unwrap_or_else(|| Arc::new(Record::new(upstream, clock))),
            })
        };
        let members = upstream.servers.iter().map(member).collect::<Result<_, Error>>()?;
        Ok(Self { name: upstream.name.as_str().into(), settings: upstream.clone(), members, turn: AtomicUsize::new(0) })
    }

    /// The place of the server that a request goes to, of those that it has not `tried`; `None` when that were all. If
    /// none of those works as far as is known, one of them gets it nevertheless: what is known may be wrong or old, and
    /// the worst that can come of it is the refusal that would be given at once.
    pub(super) fn choose(&self, tried: Places, session: Option<&str>, clock: &dyn Clock) -> Option<usize> {
        let left = Places::first(self.members.len()).without(tried);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let visitor = session.map(balance::seed);
        let choose = |among| balance::choose(self.settings.balance, &self.members, among, turn, visitor);
        if self.members.len() == 1 {
            return choose(left);
        }
        let works = |place: &usize| self.members[*place].standing(clock) != Standing::Out;
        let mut working = (0..self.members.len()).filter(works).collect::<Places>() & left;
        while let Some(place) = choose(working) {
            if self.members[place].is_had(clock) {
                return Some(place);
            }
            working = working.without(Places::from_iter([place]));
        }
        choose(left)
    }
}

impl Member {
    /// A request goes there; it is under way until what is returned is dropped.
    pub(super) fn busy(&self) -> Busy {
        self.record.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.record))
    }

    /// A connection was made, or has brought an answer.
    pub(super) fn works(&self, upstream: &str, clock: &dyn Clock) {
        if self.record.troubled.load(Ordering::Relaxed) {
            self.note(upstream, clock, None, Health::connected);
        }
    }

    /// No connection was to be had.
    pub(super) fn did_not_connect(&self, upstream: &str, clock: &dyn Clock, error: String) {
        let now = clock.uptime();
        self.note(upstream, clock, Some(error), |health| health.did_not_connect(now));
    }

    /// A check has come to an end.
    pub(super) fn was_checked(&self, upstream: &str, clock: &dyn Clock, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.note(upstream, clock, None, Health::check_passed),
            Err(error) => self.note(upstream, clock, Some(error), Health::check_failed),
        }
    }

    fn note(
        &self,
        upstream: &str,
        clock: &dyn Clock,
        error: Option<String>,
        happens: impl FnOnce(&mut Health) -> Option<Change>,
    ) {
        let mut history = self.record.history();
        let change = happens(&mut history.health);
        self.record.troubled.store(!history.health.is_untroubled(), Ordering::Relaxed);
        if error.is_some() {
            history.last_error = error;
        }
        let Some(change) = change else { return };
        history.since = clock.now();
        let (server, error) = (&*self.address, history.last_error.as_deref().unwrap_or_default());
        match change {
            Change::TakenOut => {
                tracing::warn!(upstream, server, error, "a server does not work")
            }
            Change::LetBack => tracing::info!(upstream, server, "a server works again"),
        }
    }

    fn standing(&self, clock: &dyn Clock) -> Standing {
        if !self.record.troubled.load(Ordering::Relaxed) {
            return Standing::Up;
        }
        self.record.history().health.standing(clock.uptime())
    }

    /// Whether a request that has chosen it may go: of several that would try a server at the same time one may.
    fn is_had(&self, clock: &dyn Clock) -> bool {
        if !self.record.troubled.load(Ordering::Relaxed) {
            return true;
        }
        let now = clock.uptime();
        let health = &mut self.record.history().health;
        let standing = health.standing(now);
        if standing == Standing::OnTrial {
            health.try_it(now);
        }
        standing != Standing::Out
    }

    fn status(&self, upstream: String) -> ServerStatus {
        let history = self.record.history();
        ServerStatus {
            upstream,
            server: self.address.to_string(),
            healthy: history.health.is_healthy(),
            since: history.since,
            last_error: history.last_error.clone(),
            connections: self.record.busy.load(Ordering::Relaxed),
        }
    }
}

impl Candidate for Member {
    fn load(&self) -> usize {
        self.record.busy.load(Ordering::Relaxed)
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

impl Record {
    fn new(upstream: &Upstream, clock: &dyn Clock) -> Self {
        let health = Health::new(&upstream.health_check);
        Self {
            troubled: AtomicBool::new(!health.is_untroubled()),
            busy: AtomicUsize::new(0),
            history: Mutex::new(History { health, since: clock.now(), last_error: None }),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("address", &self.address).finish_non_exhaustive()
    }
}

/// RFC 9110, section 7.2: without the port where it is the scheme's own.
fn own_host(upstream: &Upstream, server: &Server) -> Result<HeaderValue, Error> {
    let text = match server {
        Server::Unix(_) => LOCALHOST.to_owned(),
        Server::Tcp { port, .. } => {
            let usual = if matches!(upstream.protocol, Protocol::Https(_)) { 443 } else { 80 };
            let whole = server.to_string();
            match whole.strip_suffix(&format!(":{usual}")) {
                Some(bare) if *port == usual => bare.to_owned(),
                _ => whole,
            }
        }
    };
    HeaderValue::from_str(&text).map_err(|_| Error::Host { host: text })
}
