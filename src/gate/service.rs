//! Carries out what was decided, around the service that is guarded.
//!
//! A request whose cookie is good goes straight through: its future is the guarded service's own, and nothing here is
//! boxed, locked or waited for. Only minting waits, and for that the future moves to the heap.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HOST, HeaderValue, LOCATION};
use http::uri::Authority;
use http::{Extensions, HeaderMap, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{Either, Full};
use tower_service::Service;

use crate::context::{Context, Entry, RequestId};
use crate::cookie::{Hop, Reading};
use crate::event::Event;
use crate::policy::{Policy, Rules};
use crate::refusal::{Addressee, Refusal};
use crate::session::Session;

use super::decision::{Decision, Facts, Takes, decide};
use super::future::GateFuture;
use super::layer::Guard;
use super::mint::mint_and_pass;
use super::outcome::{Action, Outcome};
use super::{Gate, reload, response, visit};

/// A service behind the gate.
///
/// It leaves the [`Session`] in the request's extensions, as `Arc<Session>`, for the guarded service, and an [`Outcome`]
/// in the answer's, for whoever stands in front.
///
/// Within the proxy it reads from a request's extensions what it is to know: the route that was found, for
/// its rules, and `Arc<Context>` for the client's address. Elsewhere [`GateLayer`](super::GateLayer) says it.
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use guestpass::gate::{GateLayer, GateService};
/// use guestpass::session::Session;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt, service_fn};
/// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
///
/// async fn site(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
///     let session = request.extensions().get::<Arc<Session>>().map(|session| session.id.clone());
///     Ok(Response::new(session.unwrap_or_default().into()))
/// }
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let guarded: GateService<_> = GateLayer::new(key, MadeUp::default()).layer(service_fn(site));
/// let Ok(answer) = guarded.oneshot(Request::new(Full::default())).await;
/// assert!(answer.headers().contains_key("set-cookie"));
/// # });
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Clone, Debug)]
pub struct GateService<S> {
    inner: S,
    gate: Arc<Gate>,
    guard: Arc<Guard>,
}

impl<S> GateService<S> {
    pub(super) const fn new(inner: S, gate: Arc<Gate>, guard: Arc<Guard>) -> Self {
        Self { inner, gate, guard }
    }
}

impl<S, B, R> Service<Request<B>> for GateService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    R: 'static,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut visit = Visit::of(&self.gate, &self.guard, &request);
        match self.guard.rules(&request) {
            Ok(rules) => visit.follow(rules),
            Err(refusal) => return GateFuture::answered(visit.refuse(&refusal, request.headers())),
        }
        let (reading, session) = visit.read_cookie(request.headers());
        visit.outcome.reading = reading;
        let facts = visit.facts(&request, reading);
        if self.gate.config.strip_from_upstream {
            self.gate.jar.strip(request.headers_mut());
        }
        match visit.heed_shadow(decide(&visit.rules, reading, facts)) {
            Decision::Pass => {
                // A visit that has no session passes for this reason alone.
                let withheld = facts.visit && facts.withheld;
                visit.note_way("pass", withheld.then_some("arrival"));
                GateFuture::passing(self.inner.call(request), visit, Vec::new())
            }
            Decision::Clear => {
                visit.note_way("pass", Some(reading.as_str()));
                let twins = visit.twins(request.headers(), request.uri());
                GateFuture::passing(self.inner.call(request), visit, twins)
            }
            Decision::Identify => {
                visit.note_way("pass", None);
                if let Some(session) = session {
                    visit.hand_on(session.into(), &mut request);
                }
                GateFuture::passing(self.inner.call(request), visit, Vec::new())
            }
            Decision::Redirect(path) => {
                visit.note_way("redirect", None);
                GateFuture::answered(visit.answer(Action::Redirect, redirect(path)))
            }
            Decision::Reload(hop) => GateFuture::answered(visit.reload(hop, &request)),
            Decision::Refuse { code, takes } => {
                let refusal = Refusal::new(code, reading.as_str());
                let mut response = visit.refuse(&refusal, request.headers());
                response::set_cookies(response.headers_mut(), visit.taking(takes, request.headers(), request.uri()));
                GateFuture::answered(response)
            }
            // A gate around this one has minted for the same visit.
            Decision::Mint { .. } if visit.has_session(request.extensions()) => {
                visit.outcome.session = request.extensions().get().cloned();
                GateFuture::passing(self.inner.call(request), visit, Vec::new())
            }
            Decision::Mint { otherwise } => {
                // The service that was polled ready is the one that is called; its clone is for the next request.
                let ready = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, ready);
                GateFuture::minting(Box::pin(mint_and_pass(visit, otherwise, inner, request)))
            }
        }
    }
}

/// One request at the gate.
pub(super) struct Visit {
    pub(super) gate: Arc<Gate>,
    pub(super) context: Option<Arc<Context>>,
    /// The host where no layer has settled it, as HTTP/2 names it.
    pub(super) target: Option<Authority>,
    pub(super) client: Option<IpAddr>,
    pub(super) rules: Arc<Rules>,
    pub(super) outcome: Outcome,
}

impl Visit {
    fn of<B>(gate: &Arc<Gate>, guard: &Guard, request: &Request<B>) -> Self {
        let context = request.extensions().get::<Arc<Context>>().cloned();
        Self {
            client: guard.client(request.extensions()),
            target: request.uri().authority().filter(|_| context.is_none()).cloned(),
            rules: Arc::default(),
            outcome: Outcome::default(),
            gate: Arc::clone(gate),
            context,
        }
    }

    fn follow(&mut self, rules: Arc<Rules>) {
        self.outcome.policy = rules.policy;
        self.rules = rules;
    }

    /// On `open` nothing is asked, so nothing is read.
    fn read_cookie(&self, headers: &HeaderMap) -> (Reading, Option<Session>) {
        if self.rules.policy == Policy::Open {
            return (Reading::Absent, None);
        }
        // Whoever took a session back wants to see who still comes with it.
        let taken_back = Cell::new(None);
        let is_revoked = |session: &Session| {
            let is_revoked = self.gate.revocations.is_revoked(session);
            taken_back.set(is_revoked.then(|| session.id.clone()));
            is_revoked
        };
        let verdict = self.gate.jar.read_unless(headers, self.gate.clock.now(), is_revoked);
        let reading = verdict.reading();
        self.note(|entry| {
            entry.reading = Some(reading.as_str());
            entry.hmac_verified = Some(verdict.is_authentic());
            entry.session_id = match reading {
                Reading::Revoked => taken_back.take(),
                _ => verdict.session().map(|session| session.id.clone()),
            };
        });
        match (verdict.session(), reading) {
            (Some(session), _) => {
                let key_id = verdict.key_id().expect("no session is good but by a key");
                self.tell(&Event::Verified { session, key_id });
            }
            (None, Reading::Absent) => {}
            (None, Reading::Conflict) => self.tell(&Event::Conflicted { policy: self.rules.policy }),
            (None, _) => {
                let key_id = verdict.key_id();
                self.tell(&Event::CookieRejected { reading, key_id, policy: self.rules.policy });
            }
        }
        (reading, verdict.into_session())
    }

    /// What the decision is to know. On `open` it goes by nothing of it.
    fn facts<B: Body>(&self, request: &Request<B>, reading: Reading) -> Facts {
        if reading == Reading::Valid {
            return visit::facts_with_a_session(request);
        }
        let facts = visit::facts(request, &self.gate.config);
        if self.rules.policy == Policy::Open {
            return facts;
        }
        visit::with_companions(facts, reading, request.headers(), &self.gate.jar)
    }

    /// What is done of what was decided: a route in shadow lets everybody pass, and says so. That a session cannot be had
    /// is only seen where it is minted.
    fn heed_shadow<'d>(&self, decision: Decision<'d>) -> Decision<'d> {
        let instead = match decision {
            Decision::Redirect(_) => "redirect",
            Decision::Reload(_) => "reload",
            Decision::Refuse { code, .. } => code.as_str(),
            Decision::Pass | Decision::Clear | Decision::Identify | Decision::Mint { .. } => return decision,
        };
        if !self.rules.shadow {
            return decision;
        }
        self.shadow(instead);
        Decision::Pass
    }

    pub(super) fn shadow(&self, instead: &'static str) {
        self.note(|entry| entry.shadow = Some(instead));
        self.tell(&Event::Shadowed { instead });
    }

    fn note_way(&self, decision: &'static str, reason: Option<&'static str>) {
        self.note(|entry| {
            entry.decision = Some(decision);
            entry.reason = reason.map(Cow::Borrowed);
        });
    }

    pub(super) fn note(&self, fill: impl FnOnce(&mut Entry)) {
        if let Some(context) = &self.context {
            context.record.note(fill);
        }
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        self.gate.sink.notice(event, self.context.as_deref());
    }

    pub(super) fn refuse(&self, refusal: &Refusal, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let host = self.host(headers);
        let request_id = self.request_id(headers);
        let mut response = self.gate.renderer.render(refusal, &Addressee::new(headers, &host, request_id.as_str()));
        if self.context.is_none() {
            // The proxy's pipeline does both for every layer's refusals.
            let value = HeaderValue::from_str(request_id.as_str()).expect("an id is letters, digits, `.`, `_` and `-`");
            response.headers_mut().insert(RequestId::HEADER, value);
            self.tell(&Event::Refused { refusal });
        }
        self.answer(Action::Refuse(refusal.code), response)
    }

    /// What takes a visitor's cookies away.
    fn taking(&self, takes: Takes, headers: &HeaderMap, uri: &Uri) -> Vec<HeaderValue> {
        match takes {
            Takes::Nothing => Vec::new(),
            Takes::Session => self.gate.jar.expire(&self.host(headers)).into_iter().collect(),
            Takes::Twins => {
                let mut cookies = self.twins(headers, uri);
                cookies.push(self.gate.jar.forget(&self.host(headers)));
                cookies
            }
        }
    }

    /// An answer of the gate's own.
    fn answer(&self, action: Action, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        response.extensions_mut().insert(Outcome { action, ..self.outcome.clone() });
        response
    }

    fn has_session(&self, extensions: &Extensions) -> bool {
        let organization_id = self.gate.provider.organization_id();
        extensions.get::<Arc<Session>>().is_some_and(|session| session.organization_id == organization_id)
    }

    /// Tells the guarded service whose request it is.
    pub(super) fn hand_on<B>(&mut self, session: Arc<Session>, request: &mut Request<B>) {
        self.outcome.session = Some(Arc::clone(&session));
        request.extensions_mut().insert(session);
    }

    /// The page that asks for the same again, and remembers that it did.
    fn reload<B>(&self, hop: Hop, request: &Request<B>) -> Response<Full<Bytes>> {
        let clears = hop == Hop::Cleared;
        self.note_way("reload", Some(if clears { "conflict" } else { "arrival" }));
        let mut cookies = if clears { self.twins(request.headers(), request.uri()) } else { Vec::new() };
        cookies.push(self.gate.jar.remember(hop, &self.host(request.headers()), self.gate.clock.now()));
        self.answer(Action::Reload, reload::page(self.request_id(request.headers()).as_str(), cookies))
    }

    /// What clears planted twins away.
    fn twins(&self, headers: &HeaderMap, uri: &Uri) -> Vec<HeaderValue> {
        self.gate.jar.clear(&self.host(headers), uri.path())
    }

    /// What the request is called. Where the gate is worn without the proxy that is what a layer in front of it has
    /// called it, or else a name that nobody knows but whoever sees the answer, and quotes it.
    fn request_id(&self, headers: &HeaderMap) -> RequestId {
        if let Some(context) = &self.context {
            return context.request_id.clone();
        }
        let named = headers.get(RequestId::HEADER).and_then(|value| RequestId::adopt(value.to_str().ok()?));
        named.unwrap_or_else(|| RequestId::random(self.gate.jar.random()))
    }

    /// The host as it was settled by the proxy; where the gate is worn without it, as the client wrote it.
    pub(super) fn host(&self, headers: &HeaderMap) -> Cow<'static, str> {
        match &self.context {
            Some(context) => context.host.clone().into(),
            None => {
                let named = || Authority::try_from(headers.get(HOST)?.as_bytes()).ok();
                let authority = self.target.clone().or_else(named);
                authority.map(|authority| authority.host().to_ascii_lowercase()).unwrap_or_default().into()
            }
        }
    }

    /// The guarded service's answer, as it leaves, with the cookies that it is to set.
    pub(super) fn finish<R>(
        &self,
        mut response: Response<R>,
        cookies: Vec<HeaderValue>,
    ) -> Response<Either<R, Full<Bytes>>> {
        let status = response.status();
        let within = response.extensions().get::<Outcome>().cloned();
        let headers = response.headers_mut();
        // The cookies of a gate within this one are ours too.
        if within.is_none() {
            let tell = |name: &str| self.tell(&Event::UpstreamSetOurCookie { name });
            response::drop_our_cookies(headers, &self.gate.jar, tell);
        }
        if cookies.is_empty() {
            if self.rules.policy == Policy::Require && !self.rules.shadow {
                response::keep_private(headers);
            }
        } else if response::can_carry_cookie(status) {
            response::set_cookies(headers, cookies);
        } else {
            // The site has heard of a session that was made for this, so nobody else may get it: it lapses.
            self.note(|entry| entry.reason = Some("the answer cannot carry a cookie".into()));
        }
        response.extensions_mut().insert(self.outcome.clone().around(within.as_ref()));
        response.map(Either::Left)
    }
}

fn redirect(path: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
