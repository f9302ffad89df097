//! A sample site to stand behind the proxy: it shows what reaches it, and answers in the ways that real sites do.
//!
//! The same site is the demo's, `guestpass simulate site`'s and the tests' recording upstream, always over real HTTP.
//! It is no part of the proxy and takes nothing from it: of guestpass it knows the names of the headers alone.
//!
//! | path | answer |
//! | --- | --- |
//! | `/`, `/account/**`, `/public/**`, and whatever is not named here | a page that shows the request |
//! | `/headers` | the request's header fields as JSON, an array of values for each name |
//! | `/body` | length and SHA-256 of the request's body as JSON |
//! | `/mirror` | the request's body as it comes in, and its trailers |
//! | `/bytes/N` | N bytes: a line of 64 letters over and over |
//! | `/cut/N` | N bytes of a body that promised more, and then the connection breaks |
//! | `/early` | an answer given without reading the request's body |
//! | `/events?n=N` | a stream of N server-sent events (10), one a second, the first at once |
//! | `/slow?ms=N` | an answer N ms later (1000) |
//! | `/status/NNN` | that status |
//! | `/echo` | a WebSocket that says everything back |
//! | `/robots.txt`, `/favicon.ico` | what they should |

mod answer;
mod echo;
mod page;
mod seen;

pub use self::seen::Seen;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::server;

use self::seen::Log;

/// How a [`Site`] behaves.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How many requests [`Site::seen`] remembers, the latest ones. The default is none: a demo under load must not
    /// grow.
    pub remember: usize,
    /// Fields that every answer bears beside its own; one that the answer has already is replaced.
    pub answer_headers: HeaderMap,
}

impl Settings {
    /// For tests: the last 10,000 requests are remembered, which is more than any one test makes.
    #[must_use]
    pub fn recording() -> Self {
        Self { remember: 10_000, ..Self::default() }
    }
}

/// A running site. It stops, and drops every connection it has, when this is dropped.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    log: Arc<Log>,
    _stop: DropGuard,
}

impl Site {
    /// Starts a site at `listen` (port 0 takes any free one) on the current tokio runtime. It speaks HTTP/1.1, and
    /// HTTP/2 in the clear to those who begin with its preface (RFC 9113, section 3.3).
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(listen: SocketAddr, settings: Settings) -> io::Result<Self> {
        // A longer queue than the standard library asks for: a load test comes with hundreds at once.
        let listener = server::bind(listen)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let log = Arc::new(Log::remembering(settings.remember));
        let stop = CancellationToken::new();
        let page_policy = page::content_security_policy();
        let house = Arc::new(House { log: Arc::clone(&log), settings, page_policy, stop: stop.clone() });
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(listener, house)));
        Ok(Self { address, log, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it received, in the order of arrival, as far as [`Settings::remember`] reaches. A request stands here as
    /// soon as its head is read, so its body may still be coming.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.log.all()
    }
}

/// What every connection of one site shares.
#[derive(Debug)]
struct House {
    log: Arc<Log>,
    settings: Settings,
    page_policy: HeaderValue,
    stop: CancellationToken,
}

impl House {
    /// Runs `task` until it ends or the site stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}

async fn accept(listener: TcpListener, house: Arc<House>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => house.spawn(converse(stream, peer, Arc::clone(&house))),
            // The process has no descriptor left, or the peer is gone already. The former lasts, so do not spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, house: Arc<House>) {
    // Small answers should leave at once; where it cannot be had, they leave a little later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let house = Arc::clone(&house);
        async move { Ok::<_, Infallible>(answer::to(request, peer, &house).await) }
    });
    // A client that breaks its connection off is nothing that a site could do anything about.
    let _ =
        auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests;
