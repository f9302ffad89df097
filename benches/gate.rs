//! What the way of a request through the gate costs, layer by layer, with a cookie that is good.
//!
//! ```sh
//! cargo bench --bench gate                 # nanoseconds, by divan
//! python3 benches/instructions.py          # instructions, by callgrind, compared with benches/instructions.json
//! ```
//!
//! Called with `count LAYER TIMES` it goes one layer that many times and says nothing: that is what callgrind counts.
//! Nothing here leads to chance or to the clock, so that each time takes the same. Servers, TLS and upstreams are
//! `benches/peers`' business.

use std::convert::Infallible;
use std::env;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use futures_util::FutureExt;
use guestpass::clock::{Clock, ManualClock, Timestamp};
use guestpass::context::{Connection, Context, Scheme, Trust};
use guestpass::cookie::{self, Jar, Key, KeyRing};
use guestpass::event::Everyone;
use guestpass::gate::{Config, Gate, GateLayer, GateService};
use guestpass::hygiene;
use guestpass::policy::{Policy, Rules};
use guestpass::random::Random;
use guestpass::refusal::Renderer;
use guestpass::routes::{EncodedSeparators, HostPattern, Matched, PathPattern, Route, Table};
use guestpass::secret::{SecretBytes, SecretText};
use guestpass::session::{MadeUp, Session};
use http::request::Parts;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use tower_layer::Layer as _;
use tower_service::Service;

type Body = Full<Bytes>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count", layer, times] => count(layer, times),
        _ => {
            divan::main();
            ExitCode::SUCCESS
        }
    }
}

fn count(layer: &str, times: &str) -> ExitCode {
    let (Some(layer), Ok(times)) = (Layer::named(layer), times.parse::<u32>()) else {
        eprintln!("count {:?} TIMES", Layer::ALL.map(Layer::name));
        return ExitCode::from(2);
    };
    let mut scene = Scene::new();
    for _ in 0..times {
        scene.go(layer);
    }
    ExitCode::SUCCESS
}

#[divan::bench(args = Layer::ALL)]
fn layer(bencher: Bencher<'_, '_>, layer: Layer) {
    let mut scene = Scene::new();
    bencher.bench_local(|| scene.go(layer));
}

/// A part of the way. Each but the first also makes the request that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// Makes a request, and nothing else.
    Request,
    /// Places it.
    Context,
    /// Finds its route.
    Route,
    /// Drops what its client may not say.
    Hygiene,
    /// Reads and verifies its cookie.
    Read,
    /// Takes our cookies out.
    Strip,
    /// Goes through the gate, of which the two before are parts.
    Gate,
    /// All of them in their order.
    Way,
}

impl Layer {
    const ALL: [Self; 8] =
        [Self::Request, Self::Context, Self::Route, Self::Hygiene, Self::Read, Self::Strip, Self::Gate, Self::Way];

    const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Context => "context",
            Self::Route => "route",
            Self::Hygiene => "hygiene",
            Self::Read => "read",
            Self::Strip => "strip",
            Self::Gate => "gate",
            Self::Way => "way",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }
}

/// A visitor with a session who asks for a protected page, and everything that they meet.
struct Scene {
    request: Request<()>,
    connection: Connection,
    trust: Trust,
    table: Table,
    gate: Arc<Gate>,
    service: GateService<Site>,
    clock: Arc<ManualClock>,
    /// What the layers in front of the gate have found out, for the gate alone.
    context: Arc<Context>,
    matched: Matched,
}

impl Scene {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_357_200)));
        let provider = MadeUp::new(ORGANIZATION.to_owned(), HOUR, Arc::clone(&clock));
        let key = Key::from_secret(&SecretBytes::new(vec![7; 32])).expect("it is long enough");
        let jar =
            Jar::new(cookie::Config::default(), KeyRing::from(key), ORGANIZATION.to_owned(), Arc::new(Unsurprising));
        let request = request(&jar, clock.now());
        let gate = Arc::new(Gate::new(
            jar,
            Arc::new(provider),
            Config::default(),
            Renderer::default(),
            Arc::<ManualClock>::clone(&clock),
            Arc::new(Everyone::default()),
        ));
        let connection = Connection {
            peer: SocketAddr::from(([192, 0, 2, 7], 50_000)),
            local: SocketAddr::from(([192, 0, 2, 1], 443)),
            scheme: Scheme::Https,
        };
        let table = Table::new([("/account/**", Policy::Require), ("/feeds/**", Policy::Open)].map(route).into());
        let trust = Trust::default();
        let (head, ()) = request.clone().into_parts();
        let context = Arc::new(Context::read(&head, connection, &trust, &Unsurprising, clock.uptime()));
        let matched = table.find(&context.host, head.uri.path(), &head.method, &[]).expect("there is a route").clone();
        let service = GateLayer::of(Arc::clone(&gate)).layer(Site);
        Self { request, connection, trust, table, gate, service, clock, context, matched }
    }

    fn go(&mut self, layer: Layer) {
        let (mut head, ()) = self.request.clone().into_parts();
        match layer {
            Layer::Request => drop(black_box(head)),
            Layer::Context => drop(black_box(self.place(&head))),
            Layer::Route => {
                black_box(self.find(&head, &self.context));
                drop(head);
            }
            Layer::Hygiene => {
                hygiene::cleanse(&mut head, false, &[]);
                drop(black_box(head));
            }
            Layer::Read => drop(black_box(self.gate.jar().read(&head.headers, self.clock.now()))),
            Layer::Strip => {
                self.gate.jar().strip(&mut head.headers);
                drop(black_box(head));
            }
            Layer::Gate => {
                head.extensions.insert(Arc::clone(&self.context));
                head.extensions.insert(self.matched.clone());
                self.pass(head);
            }
            Layer::Way => {
                let context = Arc::new(self.place(&head));
                let matched = self.find(&head, &context).clone();
                hygiene::cleanse(&mut head, false, &[]);
                head.extensions.insert(context);
                head.extensions.insert(matched);
                self.pass(head);
            }
        }
    }

    fn place(&self, head: &Parts) -> Context {
        Context::read(head, self.connection, &self.trust, &Unsurprising, self.clock.uptime())
    }

    fn find(&self, head: &Parts, context: &Context) -> &Matched {
        let overrides = guestpass::routes::override_methods(&head.headers);
        self.table.find(&context.host, head.uri.path(), &head.method, &overrides).expect("there is a route")
    }

    fn pass(&mut self, head: Parts) {
        let answer = self.service.call(Request::from_parts(head, Body::default()));
        let answer = answer.now_or_never().expect("a visitor with a session waits for nothing");
        let Ok(answer) = answer;
        assert!(answer.status().is_success(), "the visitor has a session");
        drop(black_box(answer));
    }
}

const ORGANIZATION: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
const HOUR: Duration = Duration::from_secs(3_600);

/// As a browser sends it, with cookies of others around ours.
fn request(jar: &Jar, now: Timestamp) -> Request<()> {
    let session = Session {
        id: "0f9e4a9c-2f7e-4f0c-9a36-4c2b7d9f1c55".to_owned(),
        token: SecretText::new("x".repeat(43)),
        organization_id: ORGANIZATION.to_owned(),
        issued_at: now,
        expires_at: now.plus(HOUR),
    };
    let written = jar.write(&session, "shop.example", now).expect("it fits");
    let pair = |set: &HeaderValue| {
        let text = set.to_str().expect("it is ASCII");
        text.split(';').next().unwrap_or_default().to_owned()
    };
    let marker = written.marker.as_ref().map(pair).expect("a Strict cookie has one");
    let cookies = format!("_ga=GA1.1.1234567890.1795357200; {}; {marker}; theme=dark", pair(&written.session));
    Request::get("/account/orders?page=2")
        .header(header::HOST, "shop.example")
        .header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0")
        .header(header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header(header::ACCEPT_LANGUAGE, "en-US,en;q=0.5")
        .header(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd")
        .header(header::REFERER, "https://shop.example/account/")
        .header(header::CONNECTION, "keep-alive")
        .header("upgrade-insecure-requests", "1")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "same-origin")
        .header("priority", "u=0, i")
        .header(header::COOKIE, cookies)
        .body(())
        .expect("these are headers")
}

fn route((path, policy): (&str, Policy)) -> Route {
    Route {
        host: HostPattern::parse("*").expect("it is a pattern"),
        path: PathPattern::parse(path).expect("it is a pattern"),
        methods: Vec::new(),
        rules: Rules::of(policy),
        upstream: 0,
        encoded_separators: EncodedSeparators::default(),
        ignore_case: policy == Policy::Require,
    }
}

/// Answers at once.
#[derive(Clone, Copy, Debug)]
struct Site;

impl Service<Request<Body>> for Site {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(request.extensions().get::<Arc<Session>>().is_some(), "the site is told who asks");
        ready(Ok(Response::new(Body::default())))
    }
}

/// Always the same.
#[derive(Debug)]
struct Unsurprising;

impl Random for Unsurprising {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}
