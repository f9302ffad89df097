//! The operator's own listener: whether we live, how we fare, and what is to be changed while we run.
//!
//! It is no part of the site. On loopback it speaks in the clear, and whoever is on this machine may look; on any other
//! address it speaks TLS, and all but the two probes and the empty page needs the admin token. Calls that change
//! something need it everywhere: without a configured one there are none.

mod access;
mod page;
mod status;
mod changes;
mod wire;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::body::Bounded;
use crate::clock::Clock;
use crate::context::{Connection, Malformed, RequestId};
use crate::event::Sink;
use crate::metrics::{Format, Metrics};
use crate::random::Random;
use crate::refusal::{Addressee, Code, Refusal, Renderer};
use crate::secret::SecretText;
use crate::server::{Handler, Limits};
use crate::store::Store;
use crate::tls::{CertificateFiles, SharedFacts};

use self::access::Access;
use self::page::Page;

/// Where the operator is listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where. Without TLS and a token it is an address of the loopback.
    pub address: SocketAddr,
    /// What calls that change something must bring, and on any address but loopback all that look.
    pub token: Option<SecretText>,
    /// What is shown to whoever connects.
    pub tls: Option<CertificateFiles>,
}

/// How much of us an operator can take: some scripts, a browser and a health check. Who holds connections without saying
/// anything must not keep the probes out: one address has a part of them, and those that idle end soon.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        connections: 256,
        connections_per_address: 32,
        handshake_timeout: Duration::from_secs(5),
        keep_alive: Duration::from_secs(10),
        header_timeout: Duration::from_secs(5),
        body_size: Some(16 * 1024),
        body_timeout: Duration::from_secs(5),
        ..Limits::default()
    }
}

/// What the operator's calls act through.
#[derive(Debug)]
pub struct Handles {
    /// Where revocations go.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub random: Arc<dyn Random>,
    /// Who is told what was changed.
    pub sink: Arc<dyn Sink>,
    /// What there is to look at.
    pub metrics: Metrics,
    /// The outbox's folder, where there is a KMS to be told.
    pub outbox: Option<PathBuf>,
    /// Cancelled when the proxy stops.
    pub drain: CancellationToken,
}

/// The service behind the operator's listener.
#[derive(Clone, Debug)]
pub struct Admin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    access: Access,
    handles: Handles,
    page: Page,
    renderer: Renderer,
}

impl Admin {
    /// Answers as `config` says; `certificate` is what the one that is shown says of itself.
    #[must_use]
    pub fn new(config: &Config, certificate: Option<SharedFacts>, handles: Handles) -> Self {
        let is_loopback = config.address.ip().is_loopback();
        let access = Access { token: config.token.clone(), certificate, is_loopback };
        Self(Arc::new(Inner { access, handles, page: Page::new(), renderer: Renderer::default() }))
    }
}

impl Service<Request<Bounded<Incoming>>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Bounded<Incoming>>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

impl Handler for Admin {
    type Body = Full<Bytes>;

    fn reject(&self, request: &Malformed, _: Connection) -> Response<Full<Bytes>> {
        let refusal = Refusal::from(request.rule).detail(request.rule.to_string());
        self.0.renderer.render(&refusal, &self.0.addressee())
    }
}

/// What can be asked.
#[derive(Clone, Copy, Debug)]
enum Call {
    Page,
    Health,
    Readiness,
    Metrics,
    Status,
    Revoke,
    Rotate,
    Retry,
}

impl Call {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Page),
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Readiness),
            "/metrics" => Some(Self::Metrics),
            "/status" => Some(Self::Status),
            "/sessions/revoke" => Some(Self::Revoke),
            "/keys/rotate" => Some(Self::Rotate),
            "/outbox/retry" => Some(Self::Retry),
            _ => None,
        }
    }

    /// Whether it changes something.
    const fn changes(self) -> bool {
        matches!(self, Self::Revoke | Self::Rotate | Self::Retry)
    }

    const fn methods(self) -> &'static str {
        if self.changes() { "POST" } else { "GET, HEAD" }
    }
}

impl Inner {
    fn addressee(&self) -> Addressee<'static> {
        let request_id = RequestId::random(&*self.handles.random);
        Addressee { request_id: request_id.as_str().to_owned().into(), ..Addressee::default() }
    }

    async fn answer(&self, request: Request<Bounded<Incoming>>) -> Response<Full<Bytes>> {
        let to = self.addressee();
        self.judge(request).await.unwrap_or_else(|(refusal, allow)| {
            let mut response = self.renderer.render(&refusal, &to);
            if response.headers().contains_key(WWW_AUTHENTICATE) {
                // RFC 6750, section 3: what is missing here is no visitor's session.
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"guestpass\""));
            }
            response.headers_mut().extend(allow.map(|methods| (ALLOW, HeaderValue::from_static(methods))));
            response
        })
    }

    async fn judge(&self, request: Request<Bounded<Incoming>>) -> Result<Response<Full<Bytes>>, Refused> {
        if !self.access.is_our_host(&request) {
            return Err(plain(Refusal::new(Code::UnknownHost, "admin: another host")));
        }
        let call = Call::at(request.uri().path());
        let call = call.ok_or_else(|| plain(Refusal::new(Code::NotFound, "admin: no such call")))?;
        let is_allowed = match *request.method() {
            Method::GET | Method::HEAD => !call.changes(),
            Method::POST => call.changes(),
            _ => false,
        };
        if !is_allowed {
            return Err((Refusal::new(Code::MethodNotAllowed, "admin: another method"), Some(call.methods())));
        }
        self.act(call, request).await.map_err(plain)
    }

    async fn act(&self, call: Call, request: Request<Bounded<Incoming>>) -> Result<Response<Full<Bytes>>, Refusal> {
        let Handles { metrics, drain, .. } = &self.handles;
        match call {
            // It shows nothing by itself, and asks for the token where it is needed: a browser can bring none with a page.
            Call::Page => Ok(self.page.answer()),
            Call::Health => Ok(answer("text/plain", "ok\n".to_owned())),
            Call::Readiness => {
                let deep = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "deep"));
                match &status::obstacles(metrics, drain.is_cancelled(), deep)[..] {
                    [] => Ok(answer("text/plain", "ready\n".to_owned())),
                    obstacles => Err(Refusal::new(Code::NotReady, "admin: not ready").detail(obstacles.join("; "))),
                }
            }
            Call::Metrics => {
                self.access.may_look(request.headers())?;
                let format = Format::preferred(&accepted(request.headers()));
                Ok(answer(format.content_type(), metrics.write(format)))
            }
            Call::Status => {
                self.access.may_look(request.headers())?;
                Ok(json(&status::status(metrics, drain.is_cancelled(), self.access.token.is_some())))
            }
            Call::Revoke => {
                self.access.may_change(&request)?;
                Ok(json(&changes::revoke(&self.handles, request).await?))
            }
            Call::Rotate => {
                self.access.may_change(&request)?;
                Ok(json(&changes::rotate(&self.handles, request).await?))
            }
            Call::Retry => {
                self.access.may_change(&request)?;
                Ok(json(&changes::retry(&self.handles, request).await?))
            }
        }
    }
}

/// A refusal, and what would be allowed where the method is what is wrong.
type Refused = (Refusal, Option<&'static str>);

fn plain(refusal: Refusal) -> Refused {
    (refusal, None)
}

/// Several fields say the same as one with commas (RFC 9110, section 5.2).
fn accepted(headers: &HeaderMap) -> String {
    headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}

fn json(body: &impl Serialize) -> Response<Full<Bytes>> {
    // The line break is for whoever reads it at a terminal.
    answer("application/json", serde_json::to_string(body).expect("text, numbers and lists always make JSON") + "\n")
}

fn answer(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Nothing of it is for another site's page, be it as a script, a picture or a guess at what it might be.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    response
}
