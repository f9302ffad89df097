//! The operator's own listener: whether we live, and what is to be changed while we run.
//!
//! It is no part of the site and speaks HTTP/1.1 on loopback alone, in the clear. Calls that change something need the
//! admin token; without a configured one there are none. A page in the operator's browser must not reach it through a
//! name that its author has pointed here (DNS rebinding), so only our own address is taken for a host.

mod wire;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::Service;

use crate::body::Bounded;
use crate::clock::{Clock, Timestamp};
use crate::context::{Connection, Malformed, RequestId};
use crate::event::{self, Event, Sink};
use crate::random::Random;
use crate::refusal::{Addressee, Code, Refusal, Renderer};
use crate::secret::SecretText;
use crate::server::{Handler, Limits};
use crate::store::{LONGEST_SESSION, Revocation, Store};

/// Longer than any id that Genesys makes, and than a cookie could carry.
const LONGEST_ID: usize = 1_024;

/// Where the operator is listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// An address of the loopback.
    pub address: SocketAddr,
    /// What calls that change something must bring.
    pub token: Option<SecretText>,
}

/// How much of us an operator can take: some scripts and a health check.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        connections: 64,
        connections_per_address: 64,
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
}

/// The service behind the operator's listener.
#[derive(Clone, Debug)]
pub struct Admin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    token: Option<SecretText>,
    handles: Handles,
    renderer: Renderer,
}

impl Admin {
    /// Answers on `address`, which is the one that is really listened on.
    #[must_use]
    pub fn new(address: SocketAddr, token: Option<SecretText>, handles: Handles) -> Self {
        Self(Arc::new(Inner { address, token, handles, renderer: Renderer::default() }))
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

impl Inner {
    fn addressee(&self) -> Addressee {
        let request_id = RequestId::random(&*self.handles.random);
        Addressee { request_id: request_id.as_str().to_owned(), ..Addressee::default() }
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
        if !self.is_our_host(&request) {
            return Err(plain(Refusal::new(Code::UnknownHost, "admin: another host")));
        }
        let not_allowed = |methods| Err((Refusal::new(Code::MethodNotAllowed, "admin: another method"), Some(methods)));
        match (request.uri().path(), request.method()) {
            ("/healthz", &(Method::GET | Method::HEAD)) => Ok(answer("text/plain", "ok\n".to_owned())),
            ("/healthz", _) => not_allowed("GET, HEAD"),
            ("/sessions/revoke", &Method::POST) => self.revoke(request).await.map_err(plain),
            ("/sessions/revoke", _) => not_allowed("POST"),
            _ => Err(plain(Refusal::new(Code::NotFound, "admin: no such call"))),
        }
    }

    /// RFC 9110, section 7.2: the target's own authority, if it has one, else `Host`.
    fn is_our_host<B>(&self, request: &Request<B>) -> bool {
        let mut said = request.headers().get_all(HOST).iter();
        let authority = match (request.uri().authority(), said.next(), said.next()) {
            (Some(authority), _, None) => authority.clone(),
            (None, Some(host), None) => match host.as_bytes().try_into() {
                Ok(authority) => authority,
                Err(_) => return false,
            },
            _ => return false,
        };
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_ours = address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |ip| ip == self.address.ip());
        is_ours && authority.port_u16().unwrap_or(80) == self.address.port()
    }

    async fn revoke(&self, request: Request<Bounded<Incoming>>) -> Result<Response<Full<Bytes>>, Refusal> {
        self.authorize(request.headers())?;
        let body = request.into_body().collect().await.map_err(|error| match error {
            crate::body::Error::TooLarge => Refusal::new(Code::BodyTooLarge, "admin: body").closing(),
            crate::body::Error::TimedOut => Refusal::new(Code::BodyTimeout, "admin: body").closing(),
            crate::body::Error::Broken(_) => Refusal::new(Code::BadRequest, "admin: body").closing(),
        })?;
        let revocation = self
            .revocation(&body.to_bytes())
            .map_err(|why| Refusal::new(Code::BadRequest, "admin: what is to be revoked").detail(why))?;
        let Handles { store, sink, .. } = &self.handles;
        store
            .revoke(revocation.clone())
            .await
            .map_err(|error| Refusal::new(Code::StoreUnavailable, "admin: the store").detail(error.to_string()))?;
        event::tell_what_happened(&**sink, &Event::Revoked { revocation: &revocation }, None).await;
        match &revocation {
            Revocation::Session { id, .. } => tracing::info!(session_id = ?id, "the operator revoked a session"),
            Revocation::IssuedBefore(moment) => tracing::info!(%moment, "the operator revoked all issued before"),
        }
        let revoked = wire::Revoked { kept_until: revocation.until().to_string() };
        Ok(answer("application/json", serde_json::to_string(&revoked).expect("one text always makes JSON")))
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return Err(Refusal::new(Code::AdminTokenMissing, "admin: no token is configured"));
        };
        let said = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        match said {
            Some((scheme, said))
                if scheme.eq_ignore_ascii_case("bearer") && SecretText::new(said.trim().to_owned()) == *token =>
            {
                Ok(())
            }
            _ => Err(Refusal::new(Code::AdminTokenRequired, "admin: another token")),
        }
    }

    fn revocation(&self, body: &[u8]) -> Result<Revocation, String> {
        let revoke: wire::Revoke = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let now = self.handles.clock.now();
        match (revoke.session_id, revoke.issued_before) {
            (Some(id), None) if (1..=LONGEST_ID).contains(&id.len()) => {
                Ok(Revocation::Session { id, until: now.plus(LONGEST_SESSION) })
            }
            (Some(_), None) => Err(format!("session_id has 1 to {LONGEST_ID} bytes")),
            (None, Some(text)) => match Timestamp::from_rfc3339(&text) {
                // It would take back every session as soon as it is made.
                Some(moment) if moment > now => Err(format!("issued_before is in the future: it is {now}")),
                Some(moment) => Ok(Revocation::IssuedBefore(moment)),
                None => Err("issued_before is an RFC 3339 date and time, such as 2026-11-22T00:00:00Z".to_owned()),
            },
            _ => Err("either session_id or issued_before is needed".to_owned()),
        }
    }
}

/// A refusal, and what would be allowed where the method is what is wrong.
type Refused = (Refusal, Option<&'static str>);

fn plain(refusal: Refusal) -> Refused {
    (refusal, None)
}

fn answer(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
