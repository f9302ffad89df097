//! The proxy's own paths, on every host that is served: a page's script asks for its session, gets one, or signs out;
//! a load balancer asks whether we are there. Nothing under the prefix is ever forwarded.
//!
//! What is to be done about a session is the gate's business here as everywhere: [`Answers`] stands behind it in the
//! place of the site.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::Timestamp;
use crate::context::Context;
use crate::cookie::Reading;
use crate::event::{self, Event, Sink};
use crate::gate::{Gate, GateLayer, GateService, OwnPath};
use crate::policy::{OnMintFailure, Policy, Rules};
use crate::refusal::{Addressee, Code, Refusal, Renderer};
use crate::routes::{Matched, OwnPrefix, Table, Unroutable};
use crate::session::Session;
use crate::store::{Revocation, Store};

use super::wire::OwnSession;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What can be done about a session.
const SESSION_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");

/// What can be done about our health.
const HEALTH_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Answers what is asked of the proxy itself.
#[derive(Clone, Debug)]
pub struct Own {
    prefix: OwnPrefix,
    /// Of the paths that are about a session, as the access log names them.
    pattern: Arc<str>,
    gate: Arc<Gate>,
    service: GateService<Answers>,
    renderer: Renderer,
}

/// What is wanted of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// To know it.
    Look,
    /// To have one, the one that there is or a new one.
    Have,
    /// To be rid of it.
    SignOut,
}

impl Own {
    /// Own paths under `prefix`, with the sessions of `gate`; what is signed out of is revoked in `store`, and told.
    #[must_use]
    pub fn new(prefix: OwnPrefix, gate: &Arc<Gate>, store: Store, renderer: Renderer, sink: Arc<dyn Sink>) -> Self {
        let answers = Answers { store, renderer: renderer.clone(), sink };
        Self {
            pattern: format!("{}session", prefix.as_str()).into(),
            service: GateLayer::of(Arc::clone(gate)).layer(answers),
            gate: Arc::clone(gate),
            renderer,
            prefix,
        }
    }

    /// The name behind the prefix, where `path` is one of ours.
    pub(super) fn find<'p>(&self, path: &'p str) -> Result<Option<&'p str>, Unroutable> {
        self.prefix.find(path)
    }

    /// The answer for `name`, whatever it is.
    pub(super) async fn answer<B: Body + Send + 'static>(
        &self,
        name: &str,
        head: Parts,
        body: B,
        context: &Arc<Context>,
        routes: &Table,
    ) -> Response<Full<Bytes>> {
        let to = Addressee::new(&head.headers, &context.host, context.request_id.as_str());
        let refuse = |code, reason: &'static str| self.renderer.render(&Refusal::new(code, reason), &to);
        match (name, &head.method) {
            // A load balancer knows an address and no host.
            ("health", &(Method::GET | Method::HEAD)) => healthy(),
            ("health", _) => allowing(HEALTH_METHODS, refuse(Code::MethodNotAllowed, "own path")),
            _ if !routes.serves(&context.host) => refuse(Code::UnknownHost, "the host is not served"),
            ("session", method) => {
                let wish = match *method {
                    Method::GET | Method::HEAD => Wish::Look,
                    Method::POST => Wish::Have,
                    Method::DELETE => Wish::SignOut,
                    // Also a preflight: without CORS headers the browser stops there.
                    Method::OPTIONS => return allowing(SESSION_METHODS, no_content()),
                    _ => return allowing(SESSION_METHODS, refuse(Code::MethodNotAllowed, "own path")),
                };
                if wish != Wish::Look && !is_same_origin(&head.headers, context) {
                    return refuse(Code::CrossOrigin, "own path from another origin");
                }
                let mints = wish == Wish::Have && routes.issues(&context.host);
                self.about_session(wish, mints, head, body, context).await
            }
            _ => refuse(Code::NotFound, "no such own path"),
        }
    }

    async fn about_session<B: Body + Send + 'static>(
        &self,
        wish: Wish,
        mints: bool,
        mut head: Parts,
        body: B,
        context: &Arc<Context>,
    ) -> Response<Full<Bytes>> {
        context.record.note(|entry| entry.route = Some(self.pattern.to_string().into()));
        let rules = match wish {
            Wish::Look => Rules::of(Policy::Require),
            // Where no visit would get a session, a script gets none either: it would open what asks for one.
            Wish::Have if !mints => Rules::of(Policy::Require),
            // Whoever asks for a session has no use for an answer without one.
            Wish::Have | Wish::SignOut => Rules { on_mint_failure: OnMintFailure::Refuse, ..Rules::of(Policy::Issue) },
        };
        // Place and upstream are never looked at: what stands behind this gate is no upstream.
        head.extensions.insert(Matched {
            pattern: Arc::clone(&self.pattern),
            place: 0,
            rules: Arc::new(rules),
            upstream: 0,
        });
        head.extensions.insert(Arc::clone(context));
        head.extensions.insert(OwnPath { mints });
        head.extensions.insert(wish);
        let Ok(response) = self.service.clone().call(Request::from_parts(head, body)).await;
        let mut response = response.map(|body| match body {
            Either::Left(body) | Either::Right(body) => body,
        });
        if wish == Wish::SignOut && response.status() == StatusCode::NO_CONTENT {
            self.gate.expire_cookies(response.headers_mut(), &context.host);
        }
        let headers = response.headers_mut();
        // Fetch, section 3.7: a page of another origin cannot even embed it.
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        response
    }
}

/// What stands behind the gate where the site would stand: says who the visitor is, or takes the session back.
#[derive(Clone, Debug)]
struct Answers {
    store: Store,
    renderer: Renderer,
    sink: Arc<dyn Sink>,
}

impl<B> Service<Request<B>> for Answers {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let extensions = request.extensions_mut();
        let session = extensions.remove::<Arc<Session>>();
        let context = extensions.remove::<Arc<Context>>();
        let signs_out = extensions.get::<Wish>() == Some(&Wish::SignOut);
        let headers = std::mem::take(request.headers_mut());
        let this = self.clone();
        Box::pin(async move {
            let answered = match (session, signs_out) {
                (Some(session), true) => this.sign_out(&session, context.as_deref()).await,
                (Some(session), false) => Ok(described(&session)),
                (None, signs_out) => without_session(signs_out, context.as_deref()),
            };
            let (host, id) = context.as_deref().map_or(("", ""), |it| (it.host.as_str(), it.request_id.as_str()));
            Ok(answered.unwrap_or_else(|refusal| this.renderer.render(&refusal, &Addressee::new(&headers, host, id))))
        })
    }
}

impl Answers {
    async fn sign_out(&self, session: &Session, context: Option<&Context>) -> Result<Response<Full<Bytes>>, Refusal> {
        let revocation = Revocation::of(session);
        self.store
            .revoke(revocation.clone())
            .await
            .map_err(|error| Refusal::new(Code::StoreUnavailable, error.to_string()))?;
        event::tell_what_happened(&*self.sink, &Event::Revoked { revocation: &revocation }, context).await;
        if let Some(context) = context {
            context.record.note(|entry| entry.decision = Some("sign_out"));
        }
        Ok(no_content())
    }
}

/// Whoever has no session is signed out already. But of two sessions nobody knows which one is meant, and one of them
/// would go on.
fn without_session(signs_out: bool, context: Option<&Context>) -> Result<Response<Full<Bytes>>, Refusal> {
    let mut is_conflict = false;
    if let Some(context) = context {
        context.record.note(|entry| is_conflict = entry.reading == Some(Reading::Conflict.as_str()));
    }
    if signs_out && !is_conflict {
        return Ok(no_content());
    }
    Err(Refusal::new(Code::SessionInvalid, Reading::Conflict.as_str()))
}

fn described(session: &Session) -> Response<Full<Bytes>> {
    // The cookie knows whole seconds, and the answer is to be the same before it and behind it.
    let expires_at = Timestamp::from_seconds(session.expires_at.seconds()).to_string();
    let described = OwnSession { session_id: &session.id, expires_at };
    let json = serde_json::to_string(&described).expect("two texts always make JSON");
    let mut response = Response::new(Full::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn no_content() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn healthy() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("ok\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// RFC 9110, section 10.2.1.
fn allowing(methods: HeaderValue, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(ALLOW, methods);
    response
}

/// Whether one of our own pages asks. A browser that sends Fetch Metadata has said it all, and no script can change
/// that header; of an older one `Origin` tells (RFC 6454, section 7), which stands on every request but a GET.
fn is_same_origin(headers: &HeaderMap, context: &Context) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let Ok(origin) = Uri::try_from(origin.as_bytes()) else { return false };
    let scheme = context.scheme;
    origin.scheme_str() == Some(scheme.as_str())
        && origin.host().is_some_and(|host| host.eq_ignore_ascii_case(&context.host))
        && origin.port_u16().unwrap_or_else(|| scheme.default_port()) == context.port
        && origin.path_and_query().is_none_or(|rest| rest == "/")
}
