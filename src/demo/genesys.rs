//! A simulator of Genesys Cloud: its token endpoint and its sessions' endpoint over real HTTP, and every way of theirs
//! to fail.
//!
//! It cannot be taken for the real one: it has an organization whose name no real one can have, and answers nobody
//! else. What it demands and answers is in `contract`, how it misbehaves in [`Faults`].

mod contract;
mod faults;
mod ledger;
mod wire;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::genesys::REQUIRED_SCOPE;
use crate::random::{Random, SystemRandom};
use crate::secret::SecretText;

use contract::{Answer, Contract};
use ledger::Ledger;

pub use faults::{Faults, FaultsError, Malformation, Target, Trouble, parse_latency, parse_share};
pub use ledger::{Call, Endpoint, Minted};

/// The organization that a simulator has unless told otherwise. Real ones are UUIDs, so no real one is called this.
pub const DEMO_ORGANIZATION: &str = "demo-organization";
/// The OAuth client that it knows unless told otherwise.
pub const DEMO_CLIENT: &str = "demo-client";
/// That client's secret. It opens nothing but a simulator.
pub const DEMO_SECRET: &str = "demo-secret-that-opens-nothing-else";

/// Called with each call once its answer is decided. It stands in the answer's way, so it must not wait.
pub type Notice = Arc<dyn Fn(&Call) + Send + Sync>;

/// Who and what the simulator accepts.
#[derive(Clone)]
pub struct Settings {
    /// The only organization. No UUID.
    pub organization_id: String,
    /// The only OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretText,
    /// What that client is allowed.
    pub scopes: Vec<String>,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// Session calls a second, past which it answers 429.
    pub rate_limit: u32,
    /// How it misbehaves from the start.
    pub faults: Faults,
    /// Who is told of each call.
    pub notice: Option<Notice>,
    /// What its tokens and sessions end by.
    pub clock: Arc<dyn Clock>,
    /// What its ids, tokens and whims are made of.
    pub random: Arc<dyn Random>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            organization_id: DEMO_ORGANIZATION.to_owned(),
            client_id: DEMO_CLIENT.to_owned(),
            client_secret: SecretText::new(DEMO_SECRET.to_owned()),
            scopes: vec![REQUIRED_SCOPE.to_owned()],
            // As at Genesys, where it is a setting of the OAuth client whose default is a day.
            token_lifetime: Duration::from_secs(86_400),
            // What Genesys grants an organization.
            rate_limit: 100,
            faults: Faults::default(),
            notice: None,
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("organization_id", &self.organization_id)
            .field("client_id", &self.client_id)
            .field("scopes", &self.scopes)
            .field("token_lifetime", &self.token_lifetime)
            .field("rate_limit", &self.rate_limit)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// A running simulator. It stops, connections included, when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    desk: Arc<Desk>,
    serving: AbortHandle,
}

impl Simulator {
    /// Listens on `listen` and serves on the tokio runtime that this is called on.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the settings name an organization that could be a real one.
    pub async fn start(listen: SocketAddr, settings: Settings) -> io::Result<Self> {
        if Uuid::try_parse(&settings.organization_id).is_ok() {
            let reason = "the simulator's organization must not be a UUID: real organizations are";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk::new(settings));
        let serving = tokio::spawn(accept(listener, Arc::clone(&desk))).abort_handle();
        Ok(Self { address, desk, serving })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `base_url` must be for a proxy to find it.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Misbehaves in this way from now on, and no longer in any other.
    pub fn set_faults(&self, faults: Faults) {
        self.desk.ledger.set_faults(faults);
    }

    /// Every token it gave out is void from now on, before its time.
    pub fn revoke_tokens(&self) {
        self.desk.contract.revoke_tokens();
    }

    /// The calls so far, oldest first: the last 10,000 of them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.desk.ledger.calls()
    }

    /// The calls so far to one endpoint.
    #[must_use]
    pub fn calls_to(&self, endpoint: Endpoint) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.endpoint == endpoint).collect()
    }

    /// The sessions that it made, oldest first, also those whose answer was lost: the last 10,000 of them.
    #[must_use]
    pub fn sessions(&self) -> Vec<Minted> {
        self.calls().into_iter().filter_map(|call| call.minted).collect()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Where a call is answered.
#[derive(Debug)]
struct Desk {
    contract: Contract,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Desk {
    fn new(settings: Settings) -> Self {
        Self {
            ledger: Ledger::new(settings.faults.clone(), settings.notice.clone()),
            clock: Arc::clone(&settings.clock),
            random: Arc::clone(&settings.random),
            contract: Contract::new(settings),
        }
    }
}

type Body = BoxBody<Bytes, io::Error>;

/// Holds the connections' tasks, so that they end with it.
async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&desk)))),
                // Out of file descriptors, most likely: asking again at once would only burn the processor.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    // Nagle's algorithm would hold the second half of an answer back; where it cannot be turned off, so be it.
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(answer(&desk, request).await) }
    });
    // A client that goes away in the middle is the client's business.
    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<Body> {
    let endpoint = Endpoint::of(request.method(), request.uri().path());
    if endpoint == Endpoint::Simulator {
        return whole(desk.ledger.steer(request).await);
    }
    let struck = desk.ledger.strike(endpoint, &*desk.random);
    let mut noting = desk.ledger.note(Call {
        endpoint,
        at: desk.clock.now(),
        status: None,
        nonce: contract::nonce(request.headers()),
        trouble: struck.trouble.clone(),
        minted: None,
    });
    tokio::time::sleep(struck.latency).await;
    match struck.trouble {
        Some(Trouble::Hang) => std::future::pending().await,
        Some(Trouble::Status { status, ref retry_after }) => {
            let answer = desk.contract.fault(endpoint, status, retry_after.as_deref());
            noting.call.status = Some(answer.status());
            whole(answer)
        }
        trouble @ (Some(Trouble::Cut | Trouble::Malformed(_)) | None) => {
            let malformation = match trouble {
                Some(Trouble::Malformed(malformation)) => Some(malformation),
                _ => None,
            };
            let (answer, minted) = desk.contract.answer(endpoint, request, malformation).await;
            noting.call.status = Some(answer.status());
            noting.call.minted = minted;
            if trouble == Some(Trouble::Cut) { cut(answer) } else { whole(answer) }
        }
    }
}

fn whole(answer: Answer) -> Response<Body> {
    answer.map(|body| Full::new(body).map_err(|never| match never {}).boxed())
}

/// The first half of the answer, then a broken connection.
fn cut(answer: Answer) -> Response<Body> {
    let length = answer.body().len();
    let mut response = answer.map(|body| {
        let half = stream::once(async move { Ok(Frame::data(body.slice(..body.len() / 2))) });
        let end = stream::once(async {
            // One turn for the connection to send what it has.
            tokio::task::yield_now().await;
            Err(io::Error::other("cut on purpose"))
        });
        BodyExt::boxed(StreamBody::new(half.chain(end)))
    });
    response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    response
}
