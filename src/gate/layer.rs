//! The gate as something to be worn: [`GateLayer`], and what it asks of the requests that come to it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{Extensions, Method, Request};
use tower_layer::Layer;

use crate::context::{Connection, Context};
use crate::cookie::SharedRing;
use crate::policy::{Policy, Rules};
use crate::refusal::{Code, Refusal};
use crate::routes::{EncodedSeparators, HostPattern, Matched, PathPattern, PatternError, Route, Table};
use crate::session::Provider;

use super::service::GateService;
use super::{Gate, GateBuilder};

/// Puts a [`Gate`] around a service: axum's routers, or any other of tower's.
///
/// A visit that has no session gets one, as [`Policy::Issue`] has it. Where it is to be more, or less, is said in one of
/// two ways.
///
/// By what the layer is put around, with [`GateLayer::with`]. Nothing can go wrong with paths then, since none is looked
/// at, so this is the way wherever there is a router:
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use guestpass::cookie::Key;
/// use guestpass::gate::GateLayer;
/// use guestpass::policy::Policy;
/// use guestpass::secret::SecretBytes;
/// use guestpass::session::{MadeUp, Session};
/// use std::sync::Arc;
///
/// async fn account(Extension(session): Extension<Arc<Session>>) -> String {
///     format!("You are {}.\n", session.id)
/// }
///
/// # let secret = SecretBytes::new(vec![7; 32]);
/// let gate = GateLayer::new(Key::from_secret(&secret)?, MadeUp::default());
/// let guarded = Router::new().route("/account", get(account)).layer(gate.clone().with(Policy::Require));
/// let site: Router = Router::new().route("/", get(|| async { "Welcome!\n" })).layer(gate).merge(guarded);
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
///
/// Or by path, with [`GateLayer::on`], where one service answers all of them.
///
/// Clones are the same gate, and share its limits. They had better stand beside one another, as above. Where one stands
/// within another, each judges what the request brought, the stricter one has its way, and one session is minted at
/// most; but an outer one that issues has minted before the inner one refuses.
#[derive(Clone, Debug)]
pub struct GateLayer {
    gate: Arc<Gate>,
    guard: Arc<Guard>,
}

impl GateLayer {
    /// A gate with defaults for everything that is not said here; [`GateLayer::builder`] takes the rest.
    ///
    /// `keys` is a [`Key`](crate::cookie::Key), a [`KeyRing`](crate::cookie::KeyRing), or a [`SharedRing`] that may be
    /// exchanged later; sessions come from `provider`.
    ///
    /// ```
    /// use guestpass::cookie::Key;
    /// use guestpass::gate::GateLayer;
    /// use guestpass::secret::SecretBytes;
    /// use guestpass::session::MadeUp;
    ///
    /// # let secret = SecretBytes::new(vec![7; 32]);
    /// let gate = GateLayer::new(Key::from_secret(&secret)?, MadeUp::default());
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub fn new(keys: impl Into<SharedRing>, provider: impl Provider + 'static) -> Self {
        Self::builder(keys, provider).build()
    }

    /// The same, with more to say before it stands.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::gate::GateLayer;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let gate = GateLayer::builder(key, MadeUp::default()).mint_timeout(Duration::from_secs(1)).build();
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    pub fn builder(keys: impl Into<SharedRing>, provider: impl Provider + 'static) -> GateBuilder {
        GateBuilder::new(keys.into(), Arc::new(provider))
    }

    /// Wears a gate that is there already. Several layers may share one, and with it its limits.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use guestpass::gate::GateLayer;
    /// use guestpass::policy::Policy;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let site = GateLayer::new(key, MadeUp::default());
    /// // For another router of the same program.
    /// let account = GateLayer::of(Arc::clone(site.gate())).with(Policy::Require);
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub fn of(gate: Arc<Gate>) -> Self {
        Self { gate, guard: Arc::default() }
    }

    /// The gate itself.
    ///
    /// ```
    /// use guestpass::gate::GateLayer;
    /// use http::Response;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let layer = GateLayer::new(key, MadeUp::default());
    /// let mut goodbye = Response::new("Goodbye.\n");
    /// layer.gate().expire_cookies(goodbye.headers_mut(), "shop.example");
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The same gate, asking this of every request that no path of [`GateLayer::on`] speaks for.
    ///
    /// ```
    /// use guestpass::gate::GateLayer;
    /// use guestpass::policy::Policy;
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let gate = GateLayer::new(key, MadeUp::default());
    /// let account = gate.clone().with(Policy::Require);
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub fn with(self, rules: impl Into<Rules>) -> Self {
        self.guarding(|guard| guard.rules = Arc::new(rules.into()))
    }

    /// The same gate, asking this on a path: segments, of which `*` stands for one and `**` for any number, and none.
    ///
    /// ```
    /// use guestpass::gate::GateLayer;
    /// use guestpass::policy::{OnMissing, Policy, Rules};
    /// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let gate = GateLayer::new(key, MadeUp::default())
    ///     .on("/public/**", Policy::Open)?
    ///     .on("/account/**", Policy::Require)?
    ///     .on("/chat", Rules { on_missing: OnMissing::Issue, ..Rules::of(Policy::Require) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Servers and frameworks read a path in different ways (`%2e`, `//`, `;`, `\`), so it is judged in all of them: where
    /// they agree on the rules these hold, and where they do not, the answer is 400. [`Policy::Require`] ignores ASCII
    /// case. Of two paths that cover a request the one with the longer literal beginning holds, and of the same path
    /// said twice the stricter.
    ///
    /// The path is the one that the layer sees: within axum's `nest` that is what is left of it, so wear it outside.
    ///
    /// # Errors
    ///
    /// When that is no path; the message says what would be right.
    pub fn on(self, path: &str, rules: impl Into<Rules>) -> Result<Self, PatternError> {
        let path = PathPattern::parse(path)?;
        Ok(self.guarding(|guard| guard.routes.push(route(path, rules.into()))))
    }

    /// The same gate, asking `find` for the client's address, by which [`MintLimit`](super::MintLimit) limits how many
    /// sessions one client gets. Where it is not known, it is not limited.
    ///
    /// ```
    /// use std::net::SocketAddr;
    ///
    /// use axum::extract::ConnectInfo;
    /// # use guestpass::{cookie::Key, gate::GateLayer, secret::SecretBytes, session::MadeUp};
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// // With `Router::into_make_service_with_connect_info::<SocketAddr>()`.
    /// let gate = GateLayer::new(key, MadeUp::default())
    ///     .client_by(|request| Some(request.get::<ConnectInfo<SocketAddr>>()?.ip()));
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub fn client_by(self, find: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.guarding(|guard| guard.client = Some(ClientBy(Arc::new(find))))
    }

    fn guarding(mut self, change: impl FnOnce(&mut Guard)) -> Self {
        let guard = Arc::make_mut(&mut self.guard);
        change(guard);
        guard.table = guard.table();
        self
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService::new(inner, Arc::clone(&self.gate), Arc::clone(&self.guard))
    }
}

/// What one layer asks of whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    rules: Arc<Rules>,
    routes: Vec<Route>,
    /// Of these routes, and `rules` for the rest; none where no path is spoken of.
    table: Option<Table>,
    client: Option<ClientBy>,
}

impl Guard {
    /// What is asked of a request: by its path; else by the route that a layer in front has found; else the same of
    /// everyone.
    pub(super) fn rules<B>(&self, request: &Request<B>) -> Result<Arc<Rules>, Refusal> {
        let Some(table) = &self.table else {
            let matched = request.extensions().get::<Matched>();
            return Ok(Arc::clone(matched.map_or(&self.rules, |matched| &matched.rules)));
        };
        let path = request.uri().path();
        // `*` and CONNECT's target have none that could be judged.
        if !path.starts_with('/') {
            return Err(Refusal::new(Code::BadPath, "the target is no path"));
        }
        // No route names a host or a method.
        Ok(Arc::clone(&table.find("", path, &Method::GET, &[])?.rules))
    }

    /// The client's address.
    pub(super) fn client(&self, extensions: &Extensions) -> Option<IpAddr> {
        match (extensions.get::<Arc<Context>>(), &self.client) {
            (Some(context), _) => Some(context.client),
            (None, Some(ClientBy(find))) => find(extensions),
            (None, None) => extensions.get::<Connection>().map(|connection| connection.peer.ip()),
        }
    }

    fn table(&self) -> Option<Table> {
        let rest = route(PathPattern::everything(), Rules::clone(&self.rules));
        let mut routes = self.routes.clone();
        if routes.is_empty() {
            return None;
        }
        if !routes.iter().any(|route| route.repeats(&rest)) {
            routes.push(rest);
        }
        Some(Table::new(routes))
    }
}

fn route(path: PathPattern, rules: Rules) -> Route {
    Route {
        host: HostPattern::ANY,
        path,
        methods: Vec::new(),
        upstream: 0,
        encoded_separators: EncodedSeparators::Judge,
        // Who guards a path must not be got round by a file system or a framework to which case is nothing.
        ignore_case: rules.policy == Policy::Require,
        rules,
    }
}

#[derive(Clone)]
struct ClientBy(Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>);

impl fmt::Debug for ClientBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientBy(…)")
    }
}

#[cfg(test)]
mod tests;
