use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use http::header::{COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use tower_service::Service;

use super::*;
use crate::cookie::{self, Key, Reading};
use crate::event::{Event, Sink};
use crate::gate::{Action, Config, MintLimit, Outcome};
use crate::policy::{OnMissing, Policy};
use crate::secret::SecretBytes;
use crate::session::{MadeUp, Session, Source};

type Answer = Response<Full<Bytes>>;

/// Says whose request it is.
#[derive(Clone, Copy, Debug)]
struct Site;

impl<B> Service<Request<B>> for Site {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let session = request.extensions().get::<Arc<Session>>().map(|session| session.id.clone());
        ready(Ok(Response::new(session.unwrap_or_default().into())))
    }
}

fn key() -> Key {
    Key::from_secret(&SecretBytes::new(vec![7; 32])).unwrap()
}

fn gate() -> GateLayer {
    GateLayer::new(key(), MadeUp::default())
}

fn get(path: &str, cookies: &str) -> Request<Full<Bytes>> {
    Request::get(path).header(HOST, "site.example").header(COOKIE, cookies).body(Full::default()).unwrap()
}

/// The answer's status, what the gate said of it, and the cookies that it leaves the visitor with.
async fn visit<S, R>(service: &S, path: &str, cookies: &str) -> (StatusCode, Outcome, String)
where
    S: Service<Request<Full<Bytes>>, Response = Response<Either<R, Full<Bytes>>>, Error = Infallible> + Clone,
{
    let Ok(answer) = service.clone().call(get(path, cookies)).await;
    (answer.status(), answer.extensions().get::<Outcome>().unwrap().clone(), jar(answer.headers()))
}

fn jar(headers: &HeaderMap) -> String {
    let set = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    set.map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

fn minted(outcome: &Outcome) -> Option<&str> {
    (outcome.action == Action::Mint(Source::Direct)).then(|| outcome.session.as_ref().unwrap().id.as_str())
}

#[tokio::test]
async fn keys_and_a_provider_are_enough() {
    let service = gate().layer(Site);
    let (status, outcome, jar) = visit(&service, "/", "").await;
    assert_eq!((status, outcome.reading, minted(&outcome)), (StatusCode::OK, Reading::Absent, Some("made-up-1")));
    assert!(jar.starts_with("genesys_session=v1.env-"), "{jar}");
    let (_, outcome, set) = visit(&service, "/", &jar).await;
    assert_eq!((outcome.reading, outcome.action, set.as_str()), (Reading::Valid, Action::Pass, ""));
    assert_eq!(outcome.session.unwrap().id, "made-up-1");
}

#[tokio::test]
async fn what_it_is_put_around_or_which_path_it_is_says_who_passes() {
    let required = gate().with(Policy::Require).layer(Site);
    let by_path = gate().on("/account/**", Policy::Require).unwrap().on("/open/**", Policy::Open).unwrap();
    let (_, _, jar) = visit(&by_path.clone().layer(Site), "/", "").await;
    for service in [required, by_path.clone().layer(Site)] {
        for path in ["/account", "/Account/x"] {
            let (status, outcome, set) = visit(&service, path, "").await;
            assert_eq!((status, set.as_str()), (StatusCode::UNAUTHORIZED, ""), "{path}");
            assert_eq!(outcome.action, Action::Refuse(Code::SessionRequired));
            assert_eq!(visit(&service, path, &jar).await.0, StatusCode::OK, "{path}");
        }
    }
    let open = visit(&by_path.clone().layer(Site), "/open/", "").await;
    assert_eq!((open.1.policy, open.1.action), (Policy::Open, Action::Pass));
    // Whatever is said of the rest, and when.
    let closed = by_path.with(Policy::Require).layer(Site);
    let statuses = [visit(&closed, "/", "").await.0, visit(&closed, "/open/", "").await.0];
    assert_eq!(statuses, [StatusCode::UNAUTHORIZED, StatusCode::OK]);
    assert!(gate().on("account", Policy::Require).is_err());
}

#[tokio::test]
async fn by_no_other_spelling_is_a_guarded_path_reached() {
    let service = gate().on("/account/**", Policy::Require).unwrap().layer(Site);
    for path in ["/x/%2e%2e/account", "//account", "/account;x", "/x%2f..%2faccount", "/a%63count", "/./account/"] {
        let (status, outcome, _) = visit(&service, path, "").await;
        assert!(matches!(outcome.action, Action::Refuse(_)) && status != StatusCode::OK, "{path}: {outcome:?}");
    }
    for (method, target) in [("OPTIONS", "*"), ("CONNECT", "site.example:443")] {
        let request = Request::builder().method(method).uri(target).body(Full::<Bytes>::default()).unwrap();
        let Ok(answer) = service.clone().call(request).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{method} {target}");
    }
}

#[tokio::test]
async fn gates_within_one_another_are_one() {
    let gate = gate();
    let require_or_issue = Rules { on_missing: OnMissing::Issue, ..Policy::Require.into() };
    let around = |outer: GateLayer, inner: GateLayer| outer.layer(inner.layer(Site));

    // The stricter one has its way, and the visitor has the session afterwards.
    let account = around(gate.clone(), gate.clone().with(Policy::Require));
    let (status, outcome, jar) = visit(&account, "/", "").await;
    assert_eq!((status, outcome.action), (StatusCode::UNAUTHORIZED, Action::Refuse(Code::SessionRequired)));
    let (status, outcome, set) = visit(&account, "/", &jar).await;
    assert_eq!((status, outcome.policy, set.as_str()), (StatusCode::OK, Policy::Require, ""));

    // One session for one visit, whoever of them mints, and its cookie arrives.
    let mut sessions = BTreeSet::new();
    for service in [
        around(gate.clone(), gate.clone()),
        around(gate.clone(), gate.clone().with(require_or_issue.clone())),
        around(gate.clone().with(Policy::Open), gate.clone()),
        around(gate.clone().with(require_or_issue), gate.clone().with(Policy::Open)),
    ] {
        let (_, outcome, jar) = visit(&service, "/", "").await;
        assert_eq!(jar.matches("genesys_session=").count(), 1, "{jar}");
        sessions.insert(minted(&outcome).unwrap().to_owned());
    }
    assert_eq!(Vec::from_iter(sessions), ["made-up-2", "made-up-3", "made-up-4", "made-up-5"]);
}

#[tokio::test]
async fn the_clients_address_limits_what_it_gets() {
    let mint_limit = MintLimit { others: 1, ..MintLimit::default() };
    let builder = GateLayer::builder(key(), MadeUp::default()).config(Config { mint_limit, ..Config::default() });
    let gate = builder.build();
    let of = |last| gate.clone().client_by(move |_| Some(Ipv4Addr::new(192, 0, 2, last).into())).layer(Site);
    let mut got = Vec::new();
    for client in [1, 1, 2] {
        got.push(minted(&visit(&of(client), "/", "").await.1).is_some());
    }
    assert_eq!(got, [true, false, true]);
}

#[tokio::test]
async fn the_host_is_known_in_http_2_too() {
    let cookie = cookie::Config { domain: Some("site.example".to_owned()), ..cookie::Config::default() };
    let gate = GateLayer::builder(key(), MadeUp::default()).cookie(cookie).unwrap().build();
    for (uri, host) in [("https://www.site.example:8443/", None), ("/", Some("www.site.example:8443"))] {
        let mut request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
        request.headers_mut().extend(host.map(|host| (HOST, host.parse().unwrap())));
        let Ok(answer) = gate.layer(Site).call(request).await;
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("Domain=site.example"), "{uri}: {cookie}");
    }
}

#[tokio::test]
async fn without_the_proxy_around_it_the_gate_tells_of_its_refusals() {
    #[derive(Debug, Default)]
    struct Refusals(Mutex<Vec<Code>>);
    impl Sink for Refusals {
        fn notice(&self, event: &Event<'_>, _context: Option<&Context>) {
            if let Event::Refused { refusal } = event {
                self.0.lock().unwrap().push(refusal.code);
            }
        }
    }
    let refusals = Arc::new(Refusals::default());
    let gate = GateLayer::builder(key(), MadeUp::default()).sink(Arc::clone(&refusals)).build();
    let service = gate.on("/account", Policy::Require).unwrap().layer(Site);
    for path in ["/account", "/x%2f..%2faccount", "/"] {
        visit(&service, path, "").await;
    }
    assert_eq!(*refusals.0.lock().unwrap(), [Code::SessionRequired, Code::BadPath]);
}

#[test]
fn a_cookie_that_no_header_can_hold_is_an_error() {
    for config in [
        cookie::Config { name: "a b".to_owned(), ..cookie::Config::default() },
        cookie::Config { path: "account".to_owned(), ..cookie::Config::default() },
        cookie::Config { domain: Some("a;b".to_owned()), ..cookie::Config::default() },
    ] {
        let error = GateLayer::builder(key(), MadeUp::default()).cookie(config).unwrap_err();
        assert!(error.to_string().starts_with("no header can hold"), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_has_a_request_id_without_a_proxy_in_front() {
    let service = gate().with(Policy::Require).layer(Site);
    let mut ids = BTreeSet::new();
    for named in [None, None, Some("the-sites-own"), Some("no id")] {
        let mut request = get("/", "");
        if let Some(named) = named {
            request.headers_mut().insert("x-request-id", named.parse().unwrap());
        }
        let Ok(answer) = service.clone().call(request).await;
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let Either::Right(body) = answer.into_body() else { panic!("it is the gate's own answer") };
        let body = body.collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["request_id"], id, "{named:?}");
        ids.insert(id);
    }
    assert!(ids.contains("the-sites-own") && !ids.contains("no id"));
    assert_eq!(ids.len(), 4, "each has its own: {ids:?}");
}
