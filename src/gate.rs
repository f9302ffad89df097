//! The gate: who gets a session, who passes, who is turned away.
//!
//! Three parts that know little of each other: [`visit`] sees what kind of request it is, [`decision`] decides, purely,
//! and [`service`] carries out what was decided around the service that it guards. It does no HTTP of its own: sessions
//! come from whatever [`crate::session::Provider`] it was given.

mod layer;
mod builder;
mod decision;
mod future;
mod limit;
mod mint;
mod outcome;
mod reload;
mod response;
mod service;
mod visit;

pub use self::builder::{GateBuilder, IllegalCookie};
#[doc(hidden)]
pub use self::decision::{Decision, Facts, Initiator, Takes, decide};
pub use self::future::GateFuture;
pub use self::layer::GateLayer;
pub use self::outcome::{Action, Outcome};
pub use self::service::GateService;
#[doc(hidden)]
pub use self::visit::facts;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::clock::Clock;
use crate::cookie::Jar;
use crate::event::Sink;
use crate::refusal::Renderer;
use crate::routes::PathPattern;
use crate::session::{NoRevocations, Provider, Revocations};

use self::limit::MintLimiter;

/// What the gate does on every route.
///
/// ```
/// use guestpass::gate::{Config, GateLayer, MintLimit};
/// use guestpass::routes::PathPattern;
/// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let config = Config {
///     never_issue: vec![PathPattern::parse("/feeds/**")?],
///     mint_limit: MintLimit { browsers: 100, ..MintLimit::default() },
///     ..Config::default()
/// };
/// let gate = GateLayer::builder(key, MadeUp::default()).config(config).build();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Which requests mint.
    pub issue_on: IssueOn,
    /// Paths that never mint, beside `/robots.txt`, `/favicon.ico`, `/sitemap*.xml` and `/.well-known/**`.
    pub never_issue: Vec<PathPattern>,
    /// Sessions per client address.
    pub mint_limit: MintLimit,
    /// One visit's whole wait for a session.
    pub mint_timeout: Duration,
    /// Whether our cookies are taken out of what goes upstream.
    pub strip_from_upstream: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issue_on: IssueOn::Visit,
            never_issue: Vec::new(),
            mint_limit: MintLimit::default(),
            // Longer than a person waits for a page without wondering, and room for three attempts of a second.
            mint_timeout: Duration::from_secs(3),
            strip_from_upstream: true,
        }
    }
}

/// Which requests mint.
///
/// ```
/// use guestpass::gate::{Config, IssueOn};
///
/// // A site of one page, which browsers have in their caches, and whose first request is a script's.
/// let config = Config { issue_on: IssueOn::Any, ..Config::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssueOn {
    /// A person's navigation.
    #[default]
    Visit,
    /// Every request whose answer can carry a cookie.
    Any,
}

/// Sessions per client address (IPv4 /32, IPv6 /64).
///
/// ```
/// use guestpass::gate::{Config, MintLimit};
///
/// // Nobody but browsers visits, and an office of thousands comes from one address.
/// let mint_limit = MintLimit { browsers: 5_000, others: 0, ..MintLimit::default() };
/// let config = Config { mint_limit, ..Config::default() };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintLimit {
    /// The span that the numbers are for.
    pub per: Duration,
    /// For clients with Fetch Metadata: a carrier's whole network can share an address.
    pub browsers: u32,
    /// For all others.
    pub others: u32,
}

impl Default for MintLimit {
    fn default() -> Self {
        Self { per: Duration::from_secs(60), browsers: 600, others: 10 }
    }
}

/// Stands in the extensions of a request for one of the proxy's own paths, which is about the session itself: what the
/// request looks like then does not count.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPath {
    /// Whether it asks for a session where there is none.
    pub mints: bool,
}

/// One gate, shared by every connection that is guarded by it.
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::gate::{Gate, GateLayer};
/// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
///
/// /// What the handlers of a site hold: the gate, among other things.
/// #[derive(Clone)]
/// struct Site {
///     gate: Arc<Gate>,
/// }
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let layer = GateLayer::new(key, MadeUp::default());
/// let site = Site { gate: Arc::clone(layer.gate()) };
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Debug)]
pub struct Gate {
    jar: Jar,
    provider: Arc<dyn Provider>,
    revocations: Arc<dyn Revocations>,
    config: Config,
    limiter: Arc<MintLimiter>,
    renderer: Renderer,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
}

impl Gate {
    /// Takes every cookie of ours from a visitor of `host` who has signed out. The session lasts on its own until its
    /// end, unless it is revoked as well.
    ///
    /// ```
    /// # use guestpass::{cookie::Key, gate::GateLayer, secret::SecretBytes, session::MadeUp};
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let layer = GateLayer::new(key, MadeUp::default());
    ///
    /// let mut goodbye = http::Response::new("Goodbye.\n");
    /// layer.gate().expire_cookies(goodbye.headers_mut(), "shop.example");
    /// assert_eq!(goodbye.headers().get_all("set-cookie").iter().count(), 2);
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    pub fn expire_cookies(&self, headers: &mut HeaderMap, host: &str) {
        response::set_cookies(headers, self.jar.expire(host));
    }
}

/// What those that wire the proxy make one with; others have [`GateBuilder`].
#[doc(hidden)]
impl Gate {
    /// A gate that reads and writes cookies with `jar`, gets sessions from `provider`, and tells `sink` what happened.
    #[must_use]
    pub fn new(
        jar: Jar,
        provider: Arc<dyn Provider>,
        config: Config,
        renderer: Renderer,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let limiter = Arc::new(MintLimiter::new(config.mint_limit, Arc::clone(&clock)));
        let revocations = Arc::new(NoRevocations);
        Self { jar, provider, revocations, config, limiter, renderer, clock, sink }
    }

    /// The same, heeding what `revocations` know.
    #[must_use]
    pub fn with_revocations(self, revocations: Arc<dyn Revocations>) -> Self {
        Self { revocations, ..self }
    }

    /// The same, with the sessions counted that addresses have had from `before`, unless the limit has changed.
    #[must_use]
    pub fn counting_on(self, before: &Self) -> Self {
        if self.config.mint_limit != before.config.mint_limit {
            return self;
        }
        Self { limiter: Arc::clone(&before.limiter), ..self }
    }

    /// What it reads and writes cookies with.
    #[must_use]
    pub const fn jar(&self) -> &Jar {
        &self.jar
    }
}
