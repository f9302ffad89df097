//! Hands a request to its upstream and the answer back, streaming both ways.
//!
//! [`Forward`] is the innermost service: it adds what the site is told ([`headers`]), chooses a server of the upstream
//! ([`servers`], [`balance`], [`health`]), borrows a connection ([`pool`], [`connect`]), sends the request with its body
//! on the way ([`exchange`], [`upload`], [`retry`]) and hands the answer back as it arrives ([`body`]). A WebSocket becomes a tunnel ([`upgrade`]); it and a
//! stream of events end with the session that a route required for them. What goes wrong is a refusal, so that the layers above
//! can still put their headers on it. Who may pass is not asked here any more.

mod upstream;
mod servers;
mod watch;
mod exchange;
mod headers;
mod balance;
mod health;
mod retry;
mod pool;
mod connect;
mod resolve;
mod tls;
mod socket;
mod upload;
mod body;
mod upgrade;
mod farewell;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use bytes::Bytes;
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::clock::Clock;
use crate::context::Context;
use crate::hygiene;
use crate::refusal::{Addressee, Code, Refusal, Renderer};
use crate::routes::Matched;
use crate::session::Revocations;

use self::connect::Connector;
use self::exchange::{Destination, Exchange, Outgoing};
use self::pool::Pool;
use self::servers::Group;
use self::upload::Upload;

pub use self::body::{Body, BodyError};
pub use self::resolve::{Resolve, Resolving, SystemResolver};
pub use self::servers::{ServerStatus, Servers};
pub use self::upstream::{Balance, HealthCheck, HostHeader, Protocol, Server, Upstream, UpstreamTls};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a [`Forward`] needs of the world around it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Makes responses of what went wrong.
    pub renderer: Renderer,
    /// For the access log's times.
    pub clock: Arc<dyn Clock>,
    /// Asked, now and then, about the sessions under which streams and tunnels were opened.
    pub revocations: Arc<dyn Revocations>,
    /// Cancelled when the process is about to stop: tunnels get a moment more.
    pub drain: CancellationToken,
    /// Where tunnels are counted, since they outlive their request and their connection.
    pub tunnels: TaskTracker,
}

/// Why there are no [`Servers`] for these upstreams.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file with the upstream's authorities cannot be read.
    #[error("{} cannot be read", path.display())]
    ReadCa {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What the file holds vouches for nobody.
    #[error("the certificates in {} cannot be used: {message}", path.display())]
    BadCa {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No certificate could bear this name.
    #[error("{name:?} is no name that a certificate could bear")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The upstream's host cannot stand in a `Host` header.
    #[error("{host:?} is no host")]
    Host {
        /// The host.
        host: String,
    },
    /// TLS cannot be set up at all.
    #[error("TLS towards upstreams cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The service that forwards. One for each core, since its clones share their connections.
///
/// It reads from the request's extensions: `Arc<`[`Context`]`>`, [`Matched`], where the gate has verified one
/// `Arc<`[`Session`](crate::session::Session)`>`, where the client asked for a WebSocket
/// [`Upgrade`](crate::hygiene::Upgrade), and hyper's own `OnUpgrade`. It never fails: what goes wrong is a response. The
/// response's body may fail, and must then be broken off towards the client.
#[derive(Clone)]
pub struct Forward(Arc<Inner>);

struct Inner {
    destinations: Vec<Destination>,
    around: Surroundings,
}

impl Forward {
    /// Towards `servers`, with connections of its own but for those of `predecessor` that lead to servers which stay.
    /// Connects nowhere yet.
    #[must_use]
    pub fn new(servers: &Servers, around: Surroundings, predecessor: Option<&Self>) -> Self {
        let before = predecessor.map_or(&[][..], |before| &before.0.destinations);
        let pools = |group: &Group| {
            let known = || before.iter().flat_map(|destination| &destination.pools);
            let pool = |connector: &Arc<Connector>| {
                let kept = known().find(|pool| pool.is_of(connector, &group.settings)).cloned();
                kept.unwrap_or_else(|| Arc::new(Pool::new(Arc::clone(connector), &group.settings)))
            };
            group.members.iter().map(|member| pool(&member.connector)).collect()
        };
        let destination = |group: &Arc<Group>| Destination { group: Arc::clone(group), pools: pools(group) };
        Self(Arc::new(Inner { destinations: servers.groups.iter().map(destination).collect(), around }))
    }

    /// The head that would be sent for a request without a body, as HTTP/1.1 unless the upstream speaks nothing but
    /// HTTP/2. Sends nothing and connects nowhere. It reads the same extensions as the service does.
    ///
    /// # Errors
    ///
    /// The refusal, when it would not be sent at all.
    pub fn rehearse(&self, head: Parts) -> Result<Request<()>, Refusal> {
        let missing = |what| move || Refusal::new(Code::Internal, what);
        let context = head.extensions.get::<Arc<Context>>().cloned().ok_or_else(missing("no context"))?;
        let upstream = head.extensions.get::<Matched>().map(|matched| matched.upstream);
        let to = upstream.and_then(|place| self.0.destinations.get(place));
        let to = to.ok_or_else(missing("no upstream was matched"))?;
        let websocket = head.extensions.get::<hygiene::Upgrade>().is_some();
        let upload = Upload::new(http_body_util::Empty::<Bytes>::new());
        let Outgoing { mut request, target } = Outgoing::new(to, &context, head, upload, websocket)?;
        let over_http2 = to.group.settings.protocol == Protocol::H2c;
        let own_host = &to.group.members.first().ok_or_else(missing("an upstream without servers"))?.own_host;
        headers::shape(&mut request, &target, own_host, over_http2, websocket)
            .ok_or_else(|| Refusal::new(Code::BadRequest, "the host is no authority"))?;
        Ok(request.map(drop))
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.destinations.iter().map(|to| to.group.settings.name.as_str()).collect();
        f.debug_struct("Forward").field("upstreams", &names).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Forward
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        let (head, body) = request.into_parts();
        let upload = Upload::new(body);
        Box::pin(async move { Ok(inner.forward(head, upload).await) })
    }
}

impl Inner {
    async fn forward(&self, mut head: Parts, upload: Upload) -> Response<Body> {
        let Some(context) = head.extensions.remove::<Arc<Context>>() else {
            return self.refuse(&Refusal::new(Code::Internal, "no context"), None, None);
        };
        // What a refusal needs of the head, kept without reading it: mostly there is none.
        let accept = accept(&head.headers);
        let matched = head.extensions.get::<Matched>().and_then(|matched| self.destinations.get(matched.upstream));
        let Some(to) = matched else {
            return self.refuse(&Refusal::new(Code::Internal, "no upstream was matched"), Some(&context), accept);
        };
        context.record.note(|entry| entry.upstream = Some(Arc::clone(&to.group.name)));
        let exchange = Exchange::new(to, &self.around, Arc::clone(&context), &mut head, upload.clone());
        let lingers = exchange.lingers();
        match exchange.run(head).await {
            Ok(response) => response,
            Err(refusal) => {
                upload.let_go(lingers);
                self.refuse(&refusal, Some(&context), accept)
            }
        }
    }

    fn refuse(&self, refusal: &Refusal, context: Option<&Arc<Context>>, accept: Option<HeaderValue>) -> Response<Body> {
        let accept: HeaderMap = accept.into_iter().map(|value| (ACCEPT, value)).collect();
        let to = match context {
            Some(context) => {
                context.record.note(|entry| entry.reason = Some(refusal.reason.clone()));
                Addressee::new(&accept, &context.host, context.request_id.as_str())
            }
            None => Addressee::new(&accept, "", ""),
        };
        self.around.renderer.render(refusal, &to).map(Body::from)
    }
}

/// RFC 9110, section 5.2: several lines are one list.
fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(ACCEPT).iter();
    let first = lines.next()?;
    if lines.next().is_none() {
        return Some(first.clone());
    }
    let all = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
    HeaderValue::from_bytes(&all).ok()
}

#[cfg(test)]
mod tests;
