//! What was taken back lets nobody in any more, and ends what it had opened.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use guestpass::clock::{Clock, ManualClock, SystemClock, Timestamp};
use guestpass::cookie::{self, Jar, Key, KeyId, KeyRing};
use guestpass::event::Everyone;
use guestpass::gate::{self, Gate, GateLayer};
use guestpass::random::SystemRandom;
use guestpass::refusal::Renderer;
use guestpass::secret::{SecretBytes, SecretText};
use guestpass::session::{Minting, Provider, Session};
use guestpass::store::{Place, Revocation, Store};
use http::{Method, Request, Response};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::Message;
use tower_layer::Layer;
use tower_service::Service;

use crate::harness::{ANYWHERE, Machine, Plan, Town, Visitor, program};
use crate::websocket;

const SESSION: &str = "/_guestpass/session";
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const NAVIGATION: &[(&str, &str)] = &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
const FETCH: &[(&str, &str)] = &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];

/// A connection that lives long ends so soon after its session.
const SOON: Duration = Duration::from_secs(2);

async fn sign_out(visitor: &Visitor) {
    let answer = visitor.clone().ask(Method::DELETE, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!(answer.status, 204);
}

/// A visitor whose session was taken back, and who still has its cookie.
async fn revoked(town: &Town) -> Visitor {
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    sign_out(&visitor).await;
    visitor
}

#[tokio::test]
async fn on_every_policy_it_is_worth_what_the_table_says() {
    let plan = Plan::default().routes(&[
        "path = \"/public/**\"\nsession = \"open\"",
        "path = \"/account/**\"\nsession = \"require\"",
        "path = \"/issuing/**\"\nsession = \"require\"\non_missing = \"issue\"",
    ]);
    let town = Town::planned(plan).await;
    //           path         request     status  mints  expired
    let table = [
        ("/public/", NAVIGATION, 200, false, false),
        ("/", NAVIGATION, 200, true, false),
        ("/", FETCH, 200, false, false),
        ("/account/", NAVIGATION, 403, false, true),
        ("/account/", FETCH, 403, false, false),
        ("/issuing/", NAVIGATION, 403, false, true),
    ];
    for (path, headers, status, mints, expires) in table {
        let visitor = revoked(&town).await;
        let minted = town.minted();
        let events = town.events().len();
        let answer = visitor.clone().ask(Method::GET, path, headers).await;
        assert_eq!(answer.status, status, "{path} {headers:?}");
        assert_eq!(town.minted() - minted, usize::from(mints), "{path} {headers:?}");
        let set = answer.session_cookie();
        assert_eq!(set.as_ref().is_some_and(|cookie| cookie.value.is_empty()), expires, "{path} {headers:?}");
        assert_eq!(set.is_some(), mints || expires, "{path} {headers:?}");
        assert_eq!(answer.expires_marker(), expires, "{path} {headers:?}");
        assert_eq!(
            town.events().get(events) == Some(&"rejected"),
            path != "/public/",
            "it is audited where it is read"
        );
        if status == 200 && !mints {
            assert!(!town.site_saw().headers.contains_key("x-genesys-session-id"), "{path} {headers:?}");
        } else if status == 403 {
            assert_eq!(answer.code(), "session_invalid");
        }
    }
}

#[tokio::test]
async fn every_core_knows_at_once() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let cookie = visitor.cookie.clone().unwrap();
    // Each has a connection of its own, which the kernel gives to either core.
    let others: Vec<_> = (0..24).map(|_| town.visitor().holding(&cookie)).collect();
    for other in &others {
        assert_eq!(other.clone().visit("/account/").await.status, 200);
    }
    sign_out(&visitor).await;
    for other in others {
        assert_eq!(other.clone().visit("/account/").await.status, 403);
    }
}

/// Opens a stream of events and reads its beginning.
async fn events(town: &Town, visitor: &Visitor) -> reqwest::Response {
    let mut stream = visitor.request(Method::GET, "/events?n=1000").send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert!(stream.chunk().await.unwrap().is_some());
    assert!(town.site_saw().headers.contains_key("x-genesys-session-id"));
    stream
}

/// How long the stream still goes on; it must not look whole.
async fn broken_after(mut stream: reqwest::Response) -> Duration {
    let since = Instant::now();
    loop {
        match stream.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream that is cut must not look whole"),
            Err(_) => return since.elapsed(),
        }
    }
}

async fn closed_after(mut socket: websocket::Socket) -> Duration {
    let since = Instant::now();
    let patience =
        tokio::time::timeout(Duration::from_secs(10), async { while let Some(Ok(_)) = socket.next().await {} });
    patience.await.expect("it is closed");
    since.elapsed()
}

fn guarded() -> Plan {
    Plan::default()
        .routes(&["path = \"/echo\"\nsession = \"require\"", "path = \"/events\"\nsession = \"require\""])
        .set("session.expiration_seconds", 300)
}

#[tokio::test]
async fn a_websocket_and_an_event_stream_end_with_a_revoked_session() {
    let town = Town::planned(guarded()).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let mut socket = websocket::open(&town, "/echo", visitor.cookie.as_deref()).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    let over_http1 = events(&town, &visitor).await;
    let over_http2 = Visitor::over_http2(town.address()).holding(visitor.cookie.clone().unwrap());
    let over_http2 = events(&town, &over_http2).await;
    sign_out(&visitor).await;
    let ended = tokio::join!(closed_after(socket), broken_after(over_http1), broken_after(over_http2));
    assert!(ended.0 < SOON && ended.1 < SOON && ended.2 < SOON, "{ended:?}");
}

#[tokio::test]
async fn they_end_with_an_expired_session_too() {
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let town = Town::planned(guarded().clock(Arc::clone(&clock) as _)).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let socket = websocket::open(&town, "/echo", visitor.cookie.as_deref()).await.unwrap();
    let stream = events(&town, &visitor).await;
    clock.advance(Duration::from_secs(301));
    let ended = tokio::join!(closed_after(socket), broken_after(stream));
    assert!(ended.0 < SOON && ended.1 < SOON, "{ended:?}");
}

#[tokio::test]
async fn where_no_session_is_required_they_go_on() {
    let plan = Plan::default().routes(&["path = \"/events\"\nsession = \"require\""]);
    let town = Town::planned(plan).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let mut socket = websocket::open(&town, "/echo", visitor.cookie.as_deref()).await.unwrap();
    let stream = events(&town, &visitor).await;
    sign_out(&visitor).await;
    // By the time that this one has ended, the other would have as well.
    broken_after(stream).await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn a_full_disk_refuses_to_revoke_and_lets_everybody_else_be() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("revocations.journal")).unwrap();
    let town = Town::planned(Plan::default().set("store.path", folder.path().to_str().unwrap())).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let refused = visitor.ask(Method::DELETE, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "store_unavailable"));
    assert!(refused.session_cookie().is_none(), "nobody is told that it worked");
    assert_eq!(visitor.visit("/account/").await.status, 200);
}

/// The real program, which keeps what was revoked in its folder.
async fn machine() -> Machine {
    Machine::planned(Plan::default().set("store.path", "state")).await
}

#[tokio::test]
async fn it_survives_a_kill_and_a_second_process_follows() {
    let machine = machine().await;
    let (mut program, address) = machine.run();
    let (mut stays, mut goes) = (Visitor::over_http1(address), Visitor::over_http1(address));
    stays.visit("/").await;
    goes.visit("/").await;
    let (_second, beside) = machine.run();
    sign_out(&goes).await;
    program.signal("KILL");
    assert!(!program.ends_within(Duration::from_secs(5)).success());

    let at = |address, visitor: &Visitor| Visitor::over_http1(address).holding(visitor.cookie.clone().unwrap());
    let until = Instant::now() + Duration::from_secs(5);
    while at(beside, &goes).visit("/account/").await.status != 403 {
        assert!(Instant::now() < until, "the second process follows");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(at(beside, &stays).visit("/account/").await.status, 200);

    let (_program, address) = machine.run();
    assert_eq!(at(address, &goes).visit("/account/").await.status, 403);
    assert_eq!(at(address, &stays).visit("/account/").await.status, 200);
    assert_eq!(machine.genesys.sessions().len(), 2);
}

#[tokio::test]
async fn the_command_line_revokes_at_the_running_proxy() {
    let machine = machine().await;
    let file = machine.folder().join("proxy.toml");
    // A port that was free a moment ago, since the command must find it in the file.
    let free = std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[admin]\naddress = \"{free}\"\ntoken = \"a-token-of-the-tests\"\n"))
        .unwrap();
    let revoke = |argument: &[&str]| {
        let mut command = program::command(machine.folder(), &["sessions", "revoke"]);
        command.args(argument);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, _, complaint) = revoke(&["some-session"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("does not answer"), "{complaint}");

    let (_program, address) = machine.run();
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    let (code, said, complaint) = revoke(&[machine.genesys.sessions()[0].id.as_str()]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.starts_with("revoked session "), "{said}");
    assert_eq!(visitor.visit("/account/").await.status, 403);

    let (code, said, complaint) = revoke(&["--issued-before", "2026-01-01T00:00:00Z"]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("2026-01-01T00:00:00Z"), "{said}");
    let (code, _, complaint) = revoke(&["--issued-before", "yesterday"]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("write date, time and zone"), "{complaint}");
    assert_eq!(revoke(&[]).0, Some(2), "one of the two is needed");
    assert_eq!(revoke(&["a", "--issued-before", "2026-01-01T00:00:00Z"]).0, Some(2), "and not both");
}

/// A provider whose first sessions were made some time ago.
#[derive(Debug)]
struct Stale {
    clock: Arc<ManualClock>,
    made: AtomicU32,
}

impl Provider for Stale {
    fn mint(&self, _budget: Duration) -> Minting<'_> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.clock.now();
        let issued_at = if number <= 2 { Timestamp::from_seconds(now.seconds() - 30) } else { now };
        Box::pin(std::future::ready(Ok(Session {
            id: format!("session-{number}"),
            token: SecretText::new("t".repeat(43)),
            organization_id: "org".to_owned(),
            issued_at,
            expires_at: issued_at.plus(Duration::from_secs(3_600)),
        })))
    }

    fn organization_id(&self) -> &'static str {
        "org"
    }
}

#[tokio::test]
async fn a_session_that_was_made_ahead_and_revoked_meanwhile_is_handed_to_nobody() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
    let store = Store::open(&Place::Memory, Arc::clone(&clock) as _).unwrap();
    store.revoke(Revocation::IssuedBefore(clock.now())).await.unwrap();
    let key = Key::new(KeyId::parse(b"a").unwrap(), &SecretBytes::new(vec![1; 32]));
    let ring = KeyRing::new(key, Vec::new()).unwrap();
    let jar = Jar::new(cookie::Config::default(), ring, "org".to_owned(), Arc::new(SystemRandom));
    let provider = Arc::new(Stale { clock: Arc::clone(&clock), made: AtomicU32::new(0) });
    let gate = Gate::new(
        jar,
        Arc::clone(&provider) as _,
        gate::Config::default(),
        Renderer::default(),
        Arc::clone(&clock) as _,
        Arc::new(Everyone::default()),
    );
    let told = |request: Request<Full<Bytes>>| async move {
        let session = request.extensions().get::<Arc<Session>>().map(|session| session.id.clone());
        Ok::<_, Infallible>(Response::new(session.unwrap_or_default()))
    };
    let gate = Arc::new(gate.with_revocations(Arc::new(store)));
    let mut service = GateLayer::of(gate).layer(Told(told));
    let answer = service.call(Request::new(Full::default())).await.unwrap();
    assert!(answer.headers().contains_key("set-cookie"));
    assert_eq!(provider.made.load(Ordering::Relaxed), 3, "the two that were made ahead are passed over");
}

/// A function as a guarded service.
#[derive(Clone, Debug)]
struct Told<F>(F);

impl<F, A> Service<Request<Full<Bytes>>> for Told<F>
where
    F: Fn(Request<Full<Bytes>>) -> A,
    A: Future<Output = Result<Response<String>, Infallible>>,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = A;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> A {
        (self.0)(request)
    }
}
