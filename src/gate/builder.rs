//! Everything that a gate can be told before it stands, with a default for each.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::cookie::{self, Jar, SharedRing};
use crate::event::{Everyone, Sink};
use crate::random::{Random, SystemRandom};
use crate::refusal::Renderer;
use crate::session::{NoRevocations, Provider, Revocations};

use super::{Config, Gate, GateLayer};

/// A gate to be.
///
/// ```
/// use std::time::Duration;
///
/// use guestpass::cookie::{self, Key, SameSite};
/// use guestpass::gate::GateLayer;
/// # use guestpass::{secret::SecretBytes, session::MadeUp};
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let gate = GateLayer::builder(key, MadeUp::default())
///     .cookie(cookie::Config { name: "__Host-guest".to_owned(), same_site: SameSite::Lax, ..Default::default() })?
///     .mint_timeout(Duration::from_secs(1))
///     .build();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct GateBuilder {
    keys: SharedRing,
    provider: Arc<dyn Provider>,
    cookie: cookie::Config,
    config: Config,
    renderer: Renderer,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    sink: Arc<dyn Sink>,
    revocations: Arc<dyn Revocations>,
}

/// No `Set-Cookie` header can hold a cookie of this name, path or domain.
///
/// ```
/// use guestpass::cookie;
/// use guestpass::gate::GateLayer;
/// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let config = cookie::Config { name: "my guest".to_owned(), ..Default::default() };
/// let refused = GateLayer::builder(key, MadeUp::default()).cookie(config).unwrap_err();
/// assert_eq!(refused.0.name, "my guest");
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no header can hold a cookie called {:?} at {:?} of {:?}: the name must be a token, the path must begin with \"/\", \
     and the domain must be a host", .0.name, .0.path, .0.domain
)]
pub struct IllegalCookie(pub cookie::Config);

impl GateBuilder {
    pub(super) fn new(keys: SharedRing, provider: Arc<dyn Provider>) -> Self {
        Self {
            keys,
            provider,
            cookie: cookie::Config::default(),
            // The service behind is the same program, and may hold another gate within this one.
            config: Config { strip_from_upstream: false, ..Config::default() },
            renderer: Renderer::default(),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            sink: Arc::new(Everyone::default()),
            revocations: Arc::new(NoRevocations),
        }
    }

    /// The cookie's name, its attributes, and whether it is sealed.
    ///
    /// ```
    /// use guestpass::cookie;
    /// use guestpass::gate::GateLayer;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// // The prefix keeps other hosts of the domain from planting one (RFC 6265bis, section 4.1.3.2).
    /// let config = cookie::Config { name: "__Host-guest".to_owned(), ..Default::default() };
    /// let gate = GateLayer::builder(key, MadeUp::default()).cookie(config)?.build();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When no header could hold it.
    pub fn cookie(self, cookie: cookie::Config) -> Result<Self, IllegalCookie> {
        if cookie.is_legal() { Ok(Self { cookie, ..self }) } else { Err(IllegalCookie(cookie)) }
    }

    /// Which requests mint, within which limits. [`Config::strip_from_upstream`] is for gates that have no other within
    /// them, which could not see the cookie any more.
    ///
    /// ```
    /// use guestpass::gate::{Config, GateLayer};
    /// use guestpass::routes::PathPattern;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let never_issue = vec![PathPattern::parse("/feeds/**")?];
    /// let config = Config { never_issue, ..Config::default() };
    /// let gate = GateLayer::builder(key, MadeUp::default()).config(config).build();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// One visit's whole wait for a session: 3 s unless said.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::gate::GateLayer;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// // Rather a page at once than one with a session.
    /// let gate = GateLayer::builder(key, MadeUp::default()).mint_timeout(Duration::from_millis(500)).build();
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    pub fn mint_timeout(self, mint_timeout: Duration) -> Self {
        Self { config: Config { mint_timeout, ..self.config }, ..self }
    }

    /// Which sessions were taken back: none unless said. A [`Store`](crate::store::Store) knows.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use guestpass::clock::SystemClock;
    /// use guestpass::gate::GateLayer;
    /// use guestpass::store::{Place, Store};
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let store = Store::open(&Place::Memory, Arc::new(SystemClock::new()))?;
    /// let gate = GateLayer::builder(key, MadeUp::default()).revocations(store).build();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn revocations(self, revocations: impl Revocations + 'static) -> Self {
        Self { revocations: Arc::new(revocations), ..self }
    }

    /// Who is told what happens: nobody unless said.
    ///
    /// ```
    /// use guestpass::context::Context;
    /// use guestpass::event::{Event, Sink};
    /// use guestpass::gate::GateLayer;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// #[derive(Debug)]
    /// struct Log;
    ///
    /// impl Sink for Log {
    ///     fn notice(&self, event: &Event<'_>, _context: Option<&Context>) {
    ///         tracing::info!(?event, "at the gate");
    ///     }
    /// }
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let gate = GateLayer::builder(key, MadeUp::default()).sink(Log).build();
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    pub fn sink(self, sink: impl Sink + 'static) -> Self {
        Self { sink: Arc::new(sink), ..self }
    }

    /// How refusals look.
    ///
    /// ```
    /// use guestpass::gate::GateLayer;
    /// use guestpass::refusal::Renderer;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let page = "<!doctype html><title>{title}</title><p>{title}.";
    /// let gate = GateLayer::builder(key, MadeUp::default()).renderer(Renderer::new(Some(page.to_owned()))).build();
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    pub fn renderer(self, renderer: Renderer) -> Self {
        Self { renderer, ..self }
    }

    /// What time it is: the operating system's unless said.
    ///
    /// ```
    /// use guestpass::clock::{ManualClock, Timestamp};
    /// use guestpass::gate::GateLayer;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// // A test that does not wait for cookies to expire.
    /// let clock = ManualClock::at(Timestamp::from_seconds(1_795_357_200));
    /// let gate = GateLayer::builder(key, MadeUp::default()).clock(clock).build();
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Where the nonces of sealed cookies come from: the operating system unless said.
    ///
    /// ```
    /// use guestpass::gate::GateLayer;
    /// use guestpass::random::Random;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// /// For a test that compares sealed cookies, and for nothing else: two seals of one nonce can be opened.
    /// #[derive(Debug)]
    /// struct Sevens;
    ///
    /// impl Random for Sevens {
    ///     fn fill(&self, bytes: &mut [u8]) {
    ///         bytes.fill(7);
    ///     }
    /// }
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let gate = GateLayer::builder(key, MadeUp::default()).random(Sevens).build();
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    pub fn random(self, random: impl Random + 'static) -> Self {
        Self { random: Arc::new(random), ..self }
    }

    /// The gate, to be worn.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use guestpass::gate::GateLayer;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let gate = GateLayer::builder(key, MadeUp::default()).build();
    /// let site: Router = Router::new().route("/", get(|| async { "Welcome!\n" })).layer(gate);
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub fn build(self) -> GateLayer {
        let organization_id = self.provider.organization_id().to_owned();
        let jar = Jar::new(self.cookie, self.keys, organization_id, self.random);
        let gate = Gate::new(jar, self.provider, self.config, self.renderer, self.clock, self.sink);
        GateLayer::of(Arc::new(gate.with_revocations(self.revocations)))
    }
}
