//! `guestpass explain`: what would become of a request, and why, without sending anything.
//!
//! Nothing is decided here. The request goes through the layers that the proxy itself runs, one after the other, and in
//! the place of the site stands one who writes down what would have been sent.

mod report;
mod visit;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::app::{Rehearsal, World};
use crate::cli::{EX_CONFIG, check, inspect};
use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::context::{Connection, Context, Scheme};
use crate::event::Everyone;
use crate::forward::Forward;
use crate::gate::{self, GateLayer};
use crate::random::Random;
use crate::refusal::{Addressee, Refusal, Renderer};
use crate::routes::Matched;

use self::report::Report;

/// What `explain` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
It does not know which sessions were revoked.

Examples:
  guestpass explain GET https://shop.example/account/
  guestpass explain GET https://shop.example/account/ --cookie v1.k1.…
  guestpass explain POST https://shop.example/api -H 'Sec-Fetch-Mode: cors' -H 'Origin: https://other.example'")]
pub(super) struct Arguments {
    /// GET, POST, …
    method: Method,
    /// The address as a visitor has it, with scheme and host
    #[arg(value_parser = parse_url)]
    url: Uri,
    /// A header field of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The session cookie: its value, name=value, or a whole Cookie or Set-Cookie line
    #[arg(long, value_name = "VALUE", value_parser = parse_cookie)]
    cookie: Option<String>,
    /// The moment at which the request comes, instead of now: 2026-11-22T14:20:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// The configuration, over which the environment is laid
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    config: PathBuf,
}

/// Explains on standard output.
///
/// # Errors
///
/// When a key cannot be loaded, or standard output cannot be written.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let now = arguments.at.unwrap_or_else(|| SystemClock::new().now());
    let clock = ManualClock::at(now);
    let Some(config) = check::load(&arguments.config, &clock)? else { return Ok(ExitCode::from(EX_CONFIG)) };
    let head = head(arguments, &config.cookie.name)?;
    let world = World { clock: Arc::new(clock), random: Arc::new(NoChance), sink: Arc::new(Everyone::default()) };
    let rehearsal = Rehearsal::new(config, world)?;
    // The gate bounds its wait for a session, which takes a runtime, though here it never waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(explain(&rehearsal, head, scheme(&arguments.url)));
    write!(io::stdout().lock(), "{report}").context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// Sends `head` through the layers, in the order of [`crate::pipeline`].
async fn explain(rehearsal: &Rehearsal, mut head: Parts, scheme: Scheme) -> Report {
    let Rehearsal { shared, gate, forward, config, world } = rehearsal;
    let mut report = Report::default();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let connection = Connection { peer, local: peer, scheme };
    let context = Arc::new(shared.read_context(&head, connection));
    report.request(&context, config);
    report.path(&context, &shared.routes.readings(&context.host, context.uri.path(), &context.method));

    let received = head.headers.clone();
    let admitted = match shared.own_path(&head, &context) {
        Ok(Some(name)) => {
            explain_own(rehearsal, &name, head, &context, &mut report).await;
            return report;
        }
        Ok(None) => shared.admit(&mut head, &context),
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = admitted {
        let mut response = refuse(&shared.renderer, &refusal, &head, &context);
        shared.finish(&mut response, &context);
        report.decision(&context.record.take());
        report.answer(&whole(response).await);
        return report;
    }
    report.route(&head, config);
    report.hygiene(&received, &head.headers);
    report.cookies(gate.jar().name(), gate.jar().judge_each(&head.headers, world.clock.now()), world.clock.now());

    let upstream = head.extensions.get::<Matched>().and_then(|matched| config.upstreams.get(matched.upstream));
    let request = Request::from_parts(head, Empty::new());
    report.visit(gate::facts(&request, &config.gate), &visit::obstacles(&request, &config.gate));
    let site = StandIn { forward: forward.clone(), renderer: shared.renderer.clone(), sent: Arc::default() };
    let Ok(mut response) = GateLayer::of(Arc::clone(gate)).layer(site.clone()).call(request).await;
    shared.finish(&mut response, &context);
    let entry = context.record.take();
    report.decision(&entry);
    if entry.decision == Some("mint") {
        report.minted(config);
    }
    let response = whole(response).await;
    match site.sent().zip(upstream) {
        Some((sent, upstream)) => {
            report.sent(&sent, upstream);
            report.additions(&response);
        }
        None => report.answer(&response),
    }
    report
}

/// One of the proxy's own paths, which answers here as there: the sessions are made up, and what is taken back is taken
/// from a store that nobody else looks at.
async fn explain_own(rehearsal: &Rehearsal, name: &str, head: Parts, context: &Arc<Context>, report: &mut Report) {
    let Rehearsal { shared, gate, config, world, .. } = rehearsal;
    report.own(name);
    report.cookies(gate.jar().name(), gate.jar().judge_each(&head.headers, world.clock.now()), world.clock.now());
    let answered = shared.answer_own(name, head.clone(), Empty::<Bytes>::new(), context).await;
    let mut response = answered.unwrap_or_else(|refusal| refuse(&shared.renderer, &refusal, &head, context));
    shared.finish(&mut response, context);
    let entry = context.record.take();
    report.decision(&entry);
    if entry.decision == Some("mint") {
        report.minted(config);
    }
    report.answer(&whole(response).await);
}

/// Stands where the site would, and writes down what it would have been sent.
#[derive(Clone)]
struct StandIn {
    forward: Forward,
    renderer: Renderer,
    sent: Arc<Mutex<Option<Request<()>>>>,
}

impl StandIn {
    fn sent(&self) -> Option<Request<()>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Service<Request<Empty<Bytes>>> for StandIn {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let (head, _) = request.into_parts();
        ready(Ok(match self.forward.rehearse(head.clone()) {
            Ok(sent) => {
                *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
                Response::default()
            }
            Err(refusal) => {
                let context = head.extensions.get::<Arc<Context>>().cloned();
                context.map(|context| refuse(&self.renderer, &refusal, &head, &context)).unwrap_or_default()
            }
        }))
    }
}

/// The same id for every request, so that nobody takes it for one that stands in a log.
#[derive(Debug)]
struct NoChance;

impl Random for NoChance {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn refuse(renderer: &Renderer, refusal: &Refusal, head: &Parts, context: &Context) -> Response<Full<Bytes>> {
    renderer.render(refusal, &Addressee::new(&head.headers, &context.host, context.request_id.as_str()))
}

async fn whole<B: Body<Data = Bytes>>(response: Response<B>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Response::from_parts(head, body)
}

/// The request as a visitor's browser would send it over HTTP/1.1.
fn head(arguments: &Arguments, cookie_name: &str) -> anyhow::Result<Parts> {
    let target = arguments.url.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder().method(&arguments.method).uri(target).body(())?;
    let headers = request.headers_mut();
    for (name, value) in &arguments.headers {
        headers.append(name, value.clone());
    }
    if let (false, Some(authority)) = (headers.contains_key(HOST), arguments.url.authority()) {
        headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    if let Some(cookie) = &arguments.cookie {
        let value = inspect::find(cookie, Some(cookie_name), cookie_name).value;
        headers.append(COOKIE, HeaderValue::from_str(&format!("{cookie_name}={value}"))?);
    }
    Ok(request.into_parts().0)
}

fn scheme(url: &Uri) -> Scheme {
    if url.scheme_str() == Some("http") { Scheme::Http } else { Scheme::Https }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    match url.authority() {
        Some(authority) if is_web && !authority.as_str().contains('@') => Ok(url),
        _ => Err("write scheme, host and path: https://shop.example/account/".to_owned()),
    }
}

fn parse_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write a name, a colon and a value: 'Accept: text/html'")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn parse_cookie(text: &str) -> Result<String, String> {
    let text = text.trim();
    HeaderValue::from_str(text).map(|_| text.to_owned()).map_err(|_| "no header can hold this".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_rfc3339(text).ok_or_else(|| "write date, time and zone: 2026-11-22T14:20:00Z".to_owned())
}
