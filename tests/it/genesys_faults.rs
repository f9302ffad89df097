//! Every row of Genesys' error table: the provider against the simulator, over real HTTP.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use guestpass::clock::{Clock, ManualClock, SystemClock, Timestamp};
use guestpass::demo::genesys::{
    DEMO_CLIENT, DEMO_ORGANIZATION, DEMO_SECRET, Endpoint, Faults, Malformation, Settings, Simulator, Target, Trouble,
};
use guestpass::genesys::{Channel, ClientAuth, Config, Payload, Rest};
use guestpass::secret::SecretText;
use guestpass::session::{MintError, Provider, Session};
use http::StatusCode;

use crate::harness::Impatient;

/// What a visit has in all: more than three calls that hang.
const BUDGET: Duration = Duration::from_secs(5);

/// What one call has: short, so that a hanging Genesys is soon given up, and yet enough on a machine that is busy.
const ATTEMPT: Duration = Duration::from_secs(1);

/// What is special about a configuration.
type Change = Box<dyn FnOnce(&mut Config)>;

/// Genesys, and a provider that asks it.
struct Scene {
    genesys: Simulator,
    rest: Rest,
}

impl Scene {
    /// On the system's clock.
    async fn new(faults: Faults, change: impl FnOnce(&mut Config)) -> Self {
        Self::on(Arc::new(SystemClock::new()), Settings { faults, ..Settings::default() }, change).await
    }

    /// On a clock that the test moves.
    async fn timed(faults: Faults, change: impl FnOnce(&mut Config)) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_357_200)));
        let settings = Settings { faults, ..Settings::default() };
        (Self::on(Arc::clone(&clock) as Arc<dyn Clock>, settings, change).await, clock)
    }

    async fn on(clock: Arc<dyn Clock>, settings: Settings, change: impl FnOnce(&mut Config)) -> Self {
        let settings = Settings { clock: Arc::clone(&clock), ..settings };
        let genesys = Simulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
        let mut config = config(&genesys.base_url());
        change(&mut config);
        Self { genesys, rest: Rest::new(config, clock, Arc::new(Impatient)).unwrap() }
    }

    async fn mint(&self) -> Result<Session, MintError> {
        self.rest.mint(BUDGET).await
    }

    /// The code of what a visit got: `session`, or the error's.
    async fn outcome(&self) -> &'static str {
        code(&self.mint().await)
    }

    /// What the sessions' endpoint answered, in order; 0 where it never did.
    fn statuses(&self) -> Vec<u16> {
        statuses(&self.genesys, Endpoint::Session)
    }

    fn token_calls(&self) -> usize {
        self.genesys.calls_to(Endpoint::Token).len()
    }

    fn session_calls(&self) -> usize {
        self.genesys.calls_to(Endpoint::Session).len()
    }

    /// A letter a call, the same letter for the same nonce.
    fn nonces(&self) -> String {
        let mut seen = Vec::new();
        let letter = |nonce: String| {
            let known = seen.iter().position(|one| *one == nonce);
            let index = known.unwrap_or_else(|| {
                seen.push(nonce);
                seen.len() - 1
            });
            char::from(b'a' + u8::try_from(index).unwrap())
        };
        self.genesys.calls_to(Endpoint::Session).into_iter().map(|call| call.nonce.unwrap()).map(letter).collect()
    }
}

fn config(base_url: &str) -> Config {
    let metadata = BTreeMap::from([("source".to_owned(), "guestpass".to_owned())]);
    Config {
        base_url: base_url.to_owned(),
        token_url: format!("{base_url}/oauth/token"),
        client_auth: ClientAuth::Body,
        client_id: DEMO_CLIENT.to_owned(),
        client_secret: SecretText::new(DEMO_SECRET.to_owned()),
        organization_id: DEMO_ORGANIZATION.to_owned(),
        region: "us-east-1".to_owned(),
        scopes: Vec::new(),
        payload: Payload { channel: Channel::Mobile, expiration_seconds: 600, metadata },
        rate_limit: 1_000,
        attempt_timeout: ATTEMPT,
        max_attempts: 3,
        breaker_failures: 100,
        breaker_retry: Duration::from_secs(10),
    }
}

fn code(outcome: &Result<Session, MintError>) -> &'static str {
    outcome.as_ref().map_or_else(MintError::code, |_| "session")
}

fn statuses(genesys: &Simulator, endpoint: Endpoint) -> Vec<u16> {
    genesys.calls_to(endpoint).iter().map(|call| call.status.map_or(0, |status| status.as_u16())).collect()
}

fn status(code: u16) -> Trouble {
    Trouble::status(StatusCode::from_u16(code).unwrap())
}

fn asking(code: u16, retry_after: &str) -> Trouble {
    Trouble::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: Some(retry_after.to_owned()) }
}

fn malformed(how: Malformation) -> Faults {
    Faults::always(Trouble::Malformed(how))
}

/// A row of the table: what goes wrong, what the visit gets, what the sessions' endpoint answered, under which nonces,
/// and what the token endpoint answered.
type Row = (&'static str, Faults, &'static str, &'static [u16], &'static str, &'static [u16]);

fn table() -> Vec<Row> {
    let once = |code| Faults::next(1, status(code));
    let always = |code| Faults::always(status(code));
    let both = |trouble| Faults::always(trouble).on(Target::Token);
    let slow = Faults { latency: ATTEMPT / 4, ..Faults::default() };
    vec![
        ("nothing", Faults::default(), "session", &[201], "a", &[200]),
        ("a slow answer", slow, "session", &[201], "a", &[200]),
        ("401 once", once(401), "session", &[401, 201], "aa", &[200, 200]),
        ("401", always(401), "unauthorized", &[401, 401], "aa", &[200, 200]),
        ("403", always(403), "forbidden", &[403], "a", &[200]),
        ("400", always(400), "bad_request", &[400], "a", &[200]),
        ("409 once", once(409), "session", &[409, 201], "ab", &[200]),
        ("409", always(409), "status", &[409, 409], "ab", &[200]),
        ("a lost answer", Faults::next(1, Trouble::Cut), "session", &[201, 409, 201], "aab", &[200]),
        ("429 twice", Faults::next(2, asking(429, "0")), "session", &[429, 429, 201], "aaa", &[200]),
        ("429", Faults::always(asking(429, "0")), "rate_limited", &[429, 429, 429], "aaa", &[200]),
        ("429 of unknown length", always(429), "rate_limited", &[429, 429, 429], "aaa", &[200]),
        ("429 for hours", Faults::next(1, asking(429, "7200")), "rate_limited", &[429], "a", &[200]),
        ("502 twice", Faults::next(2, status(502)), "session", &[502, 502, 201], "aaa", &[200]),
        ("503 twice", Faults::next(2, status(503)), "session", &[503, 503, 201], "aaa", &[200]),
        ("504 twice", Faults::next(2, status(504)), "session", &[504, 504, 201], "aaa", &[200]),
        ("503", always(503), "status", &[503, 503, 503], "aaa", &[200]),
        ("503 for hours", Faults::always(asking(503, "7200")), "status", &[503], "a", &[200]),
        ("a timeout", Faults::next(1, Trouble::Hang), "session", &[0, 201], "aa", &[200]),
        ("timeouts", Faults::always(Trouble::Hang), "timed_out", &[0, 0, 0], "aaa", &[200]),
        ("500", always(500), "status", &[500], "a", &[200]),
        ("404", always(404), "status", &[404], "a", &[200]),
        ("a redirect", always(302), "status", &[302], "a", &[200]),
        ("no JSON", malformed(Malformation::NotJson), "bad_answer", &[201], "a", &[200]),
        ("no session token", malformed(Malformation::MissingToken), "bad_answer", &[201], "a", &[200]),
        ("a bad session token", malformed(Malformation::BadToken), "bad_answer", &[201], "a", &[200]),
        ("an expiry in the past", malformed(Malformation::Past), "bad_answer", &[201], "a", &[200]),
        ("an expiry too far ahead", malformed(Malformation::TooFar), "bad_answer", &[201], "a", &[200]),
        ("a body without end", malformed(Malformation::Huge), "bad_answer", &[201], "a", &[200]),
        ("a token's 503", once(503).on(Target::Token), "session", &[201], "a", &[503, 200]),
        ("a token's 503s", both(status(503)), "status", &[], "", &[503, 503, 503]),
        ("a token's 429s", both(asking(429, "0")), "rate_limited", &[], "", &[429, 429, 429]),
        ("a token's 404", both(status(404)), "status", &[], "", &[404]),
        ("a token's 401", both(status(401)), "unauthorized", &[], "", &[401]),
        ("a token's 400", both(status(400)), "unauthorized", &[], "", &[400]),
        ("a token that hangs", both(Trouble::Hang), "timed_out", &[], "", &[0, 0, 0]),
        ("a token that is cut", both(Trouble::Cut), "unreachable", &[], "", &[200, 200, 200]),
        ("a token's no JSON", malformed(Malformation::NotJson).on(Target::Token), "bad_answer", &[], "", &[200]),
        ("a missing token", malformed(Malformation::MissingToken).on(Target::Token), "bad_answer", &[], "", &[200]),
        ("a token no header takes", malformed(Malformation::BadToken).on(Target::Token), "bad_answer", &[], "", &[200]),
        ("a token without end", malformed(Malformation::Huge).on(Target::Token), "bad_answer", &[], "", &[200]),
    ]
}

#[tokio::test]
async fn every_row_of_the_table() {
    join_all(table().into_iter().map(async |(name, faults, outcome, sessions, nonces, tokens)| {
        let scene = Scene::new(faults, |_| {}).await;
        let started = Instant::now();
        let minted = scene.mint().await;
        assert!(started.elapsed() < BUDGET, "{name} took {:?}", started.elapsed());
        assert_eq!(code(&minted), outcome, "{name}: {minted:?}");
        assert_eq!(scene.statuses(), sessions, "{name}: session calls");
        assert_eq!(scene.nonces(), nonces, "{name}: nonces");
        assert_eq!(statuses(&scene.genesys, Endpoint::Token), tokens, "{name}: token calls");
        if let Ok(session) = minted {
            let seen = scene.genesys.sessions().pop().unwrap();
            assert_eq!(
                (session.id, session.token, session.expires_at),
                (seen.id, seen.token, seen.expires_at),
                "{name}"
            );
        }
    }))
    .await;
}

#[tokio::test]
async fn genesys_gets_what_was_configured_and_the_visit_what_genesys_made() {
    let (scene, clock) = Scene::timed(Faults::default(), |_| {}).await;
    let session = scene.mint().await.unwrap();
    let seen = scene.genesys.sessions().pop().unwrap();
    assert_eq!((seen.channel.as_str(), seen.expiration_seconds), ("mobile", 600));
    assert_eq!(seen.metadata["source"], "guestpass");
    assert_eq!(session.organization_id, DEMO_ORGANIZATION);
    assert_eq!((session.issued_at, session.expires_at), (clock.now(), clock.now().plus(Duration::from_secs(600))));
    assert!(!format!("{session:?} {:?}", scene.rest).contains(session.token.expose()));
    assert!(!format!("{:?}", scene.rest).contains(DEMO_SECRET));
}

#[tokio::test]
async fn an_error_says_what_genesys_support_asks_for() {
    let scene = Scene::new(Faults::always(status(500)), |_| {}).await;
    let Err(MintError::Status { status: 500, message, context_id, correlation_id }) = scene.mint().await else {
        panic!("500 is told as it is");
    };
    assert_eq!(message, "ordered from the simulator");
    assert!(context_id.is_some() && context_id == correlation_id, "{context_id:?} {correlation_id:?}");
}

#[tokio::test]
async fn retry_after_is_waited_for_in_seconds_and_as_a_date() {
    let date = httpdate::fmt_http_date(SystemClock::new().now().plus(Duration::from_secs(2)).to_system_time());
    join_all([("1".to_owned(), 1_000), (date, 500)].map(async |(retry_after, at_least)| {
        let scene = Scene::new(Faults::next(1, asking(429, &retry_after)), |_| {}).await;
        let started = Instant::now();
        assert_eq!(scene.outcome().await, "session", "{retry_after}");
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(at_least) && waited < BUDGET, "{retry_after}: {waited:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_wait_that_would_pass_the_deadline_is_not_started() {
    let scene = Scene::new(Faults::always(asking(429, "7200")), |_| {}).await;
    let started = Instant::now();
    let minted = scene.mint().await;
    assert_eq!(minted, Err(MintError::RateLimited { retry_after: Duration::from_secs(60) }), "capped");
    assert!(started.elapsed() < BUDGET / 2);
}

#[tokio::test]
async fn nobody_listens_there() {
    let Scene { genesys, rest } = Scene::new(Faults::default(), |config| config.breaker_failures = 3).await;
    let address = genesys.address();
    drop(genesys);
    eventually(|| std::net::TcpListener::bind(address).is_ok()).await;
    let said = rest.mint(BUDGET).await.unwrap_err();
    assert_eq!(said.code(), "unreachable");
    assert!(said.to_string().contains("onnection refused") && !said.to_string().contains("127.0.0.1"), "{said}");
    assert_eq!(code(&rest.mint(BUDGET).await), "breaker_open", "three connections were refused");
}

#[tokio::test]
async fn what_genesys_would_refuse_is_not_sent() {
    let metadata = BTreeMap::from([("k".to_owned(), "a".repeat(2_048))]);
    let changes: [Change; 4] = [
        Box::new(|config| config.payload.expiration_seconds = 299),
        Box::new(|config| config.payload.metadata = metadata),
        Box::new(|config| config.organization_id = String::new()),
        Box::new(|config| config.organization_id = "..".to_owned()),
    ];
    for change in changes {
        let scene = Scene::new(Faults::default(), change).await;
        assert_eq!(scene.outcome().await, "invalid_payload");
        assert!(scene.genesys.calls().is_empty());
    }
}

#[tokio::test]
async fn the_client_is_known_in_both_ways_and_by_nobody_else() {
    let basic = Scene::new(Faults::default(), |config| config.client_auth = ClientAuth::Basic).await;
    assert_eq!(basic.outcome().await, "session");
    let stranger = |config: &mut Config| config.client_secret = SecretText::new("another".to_owned());
    assert_eq!(Scene::new(Faults::default(), stranger).await.outcome().await, "unauthorized");
    let stranger = |config: &mut Config| {
        stranger(config);
        config.client_auth = ClientAuth::Basic;
    };
    assert_eq!(Scene::new(Faults::default(), stranger).await.outcome().await, "unauthorized");
}

#[tokio::test]
async fn a_client_without_the_scope_is_told_which_one() {
    let settings = Settings { scopes: vec!["analytics".to_owned()], ..Settings::default() };
    let scene = Scene::on(Arc::new(SystemClock::new()), settings, |_| {}).await;
    let said = scene.mint().await.unwrap_err().to_string();
    assert!(said.contains("webmessaging:session:create") && said.contains(DEMO_ORGANIZATION), "{said}");
}

#[tokio::test]
async fn an_organization_that_could_be_real_gets_nothing_from_the_simulator() {
    let real = "3F1C2B9E-7D44-4A0E-9B57-0C1D2E3F4A5B";
    let scene = Scene::new(Faults::default(), |config| config.organization_id = real.to_owned()).await;
    let said = scene.mint().await.unwrap_err().to_string();
    assert!(said.contains("404") && said.contains("simulator never makes sessions"), "{said}");
    let settings = Settings { organization_id: real.to_owned(), ..Settings::default() };
    let refused = Simulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_hundred_first_visits_at_once_fetch_one_token() {
    let scene = Scene::new(Faults { latency: ATTEMPT / 4, on: Target::Both, ..Faults::default() }, |_| {}).await;
    let minted = join_all((0..100).map(|_| scene.mint())).await;
    let ids: HashSet<String> = minted.into_iter().map(|session| session.unwrap().id).collect();
    assert_eq!((ids.len(), scene.token_calls(), scene.session_calls()), (100, 1, 100));
    let nonces: HashSet<_> = scene.genesys.sessions().into_iter().map(|minted| minted.nonce).collect();
    assert_eq!(nonces.len(), 100);
}

#[tokio::test]
async fn the_visit_that_began_a_fetch_may_go_away() {
    let slow = Faults { latency: ATTEMPT / 2, on: Target::Token, ..Faults::default() };
    let scene = Scene::new(slow, |_| {}).await;
    let mut first = scene.rest.mint(BUDGET);
    let mut others: Vec<_> = (0..5).map(|_| scene.rest.mint(BUDGET)).collect();
    assert!((&mut first).now_or_never().is_none(), "it has begun the fetch");
    assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
    drop(first);
    assert!(join_all(others).await.iter().all(Result::is_ok));
    assert_eq!((scene.token_calls(), scene.session_calls()), (1, 5));
}

#[tokio::test]
async fn visits_that_all_went_away_leave_nothing_behind() {
    let scene = Scene::new(Faults::always(Trouble::Hang).on(Target::Both), |_| {}).await;
    for _ in 0..3 {
        let mut gone = scene.rest.mint(BUDGET);
        assert!((&mut gone).now_or_never().is_none());
    }
    let mut gone = scene.rest.mint(BUDGET);
    assert!(tokio::time::timeout(ATTEMPT / 4, &mut gone).await.is_err());
    drop(gone);
    scene.genesys.set_faults(Faults::default());
    assert_eq!(scene.outcome().await, "session");
}

#[tokio::test]
async fn a_token_is_used_until_a_minute_before_its_end() {
    let (scene, clock) = Scene::timed(Faults::default(), |_| {}).await;
    assert_eq!(scene.outcome().await, "session");
    clock.advance(Duration::from_secs(86_400 - 61));
    assert_eq!((scene.outcome().await, scene.token_calls()), ("session", 1));
    clock.advance(Duration::from_secs(1));
    assert_eq!((scene.outcome().await, scene.token_calls()), ("session", 2));
}

#[tokio::test]
async fn a_token_that_is_still_good_stays_in_use_when_there_is_no_other() {
    for trouble in [status(503), status(401), Trouble::Hang] {
        let (scene, clock) = Scene::timed(Faults::default(), |_| {}).await;
        assert_eq!(scene.outcome().await, "session");
        scene.genesys.set_faults(Faults::always(trouble.clone()).on(Target::Token));
        clock.advance(Duration::from_secs(86_400 - 30));
        for _ in 0..3 {
            assert_eq!(scene.outcome().await, "session", "{trouble:?}");
        }
        assert_eq!(scene.token_calls(), 2, "a fetch that just failed is not repeated by every visit");
        clock.advance(Duration::from_secs(31));
        assert_ne!(scene.outcome().await, "session", "{trouble:?}: now it has ended");
    }
}

#[tokio::test]
async fn a_token_that_genesys_takes_back_is_replaced_once_for_everybody() {
    let scene = Scene::new(Faults::default(), |_| {}).await;
    assert_eq!(scene.outcome().await, "session");
    scene.genesys.revoke_tokens();
    let minted = join_all((0..20).map(|_| scene.mint())).await;
    assert!(minted.iter().all(Result::is_ok), "{minted:?}");
    assert_eq!(scene.token_calls(), 2);
}

#[tokio::test]
async fn a_bad_client_is_said_once_and_asked_about_once_a_minute() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let stranger = |config: &mut Config| config.client_secret = SecretText::new("hush-hush".to_owned());
    let (scene, clock) = Scene::timed(Faults::default(), stranger).await;
    for minutes in 1..=3 {
        for _ in 0..5 {
            assert_eq!(scene.outcome().await, "unauthorized");
        }
        assert_eq!(scene.token_calls(), minutes);
        clock.advance(Duration::from_secs(60));
    }
    let said = log.text();
    assert_eq!(said.matches("does not accept the OAuth client").count(), 1, "{said}");
    assert!(said.contains("ERROR") && said.contains("invalid_client") && !said.contains("hush-hush"), "{said}");
}

#[tokio::test]
async fn the_breaker_opens_tries_now_and_then_and_closes() {
    let change = |config: &mut Config| (config.max_attempts, config.breaker_failures) = (1, 5);
    let (scene, clock) = Scene::timed(Faults::always(status(503)), change).await;
    for _ in 0..5 {
        assert_eq!(scene.outcome().await, "status");
    }
    for _ in 0..3 {
        assert_eq!(scene.mint().await, Err(MintError::BreakerOpen { retry_after: Duration::from_secs(10) }));
    }
    assert_eq!(scene.session_calls(), 5);

    clock.advance(Duration::from_secs(10));
    let mut outcomes: Vec<_> = join_all((0..10).map(|_| scene.outcome())).await;
    outcomes.sort_unstable();
    assert_eq!((outcomes[0], outcomes[8], outcomes[9]), ("breaker_open", "breaker_open", "status"));
    assert_eq!(scene.session_calls(), 6, "one try only");

    scene.genesys.set_faults(Faults::default());
    assert_eq!(scene.outcome().await, "breaker_open", "it is not its time yet");
    clock.advance(Duration::from_secs(10));
    assert_eq!(scene.outcome().await, "session");
    assert!(join_all((0..10).map(|_| scene.mint())).await.iter().all(Result::is_ok), "closed");
}

#[tokio::test]
async fn an_open_breakers_try_is_a_single_call_even_where_a_visit_may_make_three() {
    let (scene, clock) = Scene::timed(Faults::always(status(503)), |config| config.breaker_failures = 3).await;
    assert_eq!((scene.outcome().await, scene.session_calls()), ("status", 3));
    clock.advance(Duration::from_secs(10));
    assert_eq!((scene.outcome().await, scene.session_calls()), ("status", 4));
}

#[tokio::test]
async fn a_breakers_try_that_is_dropped_does_not_wedge_it() {
    let change = |config: &mut Config| (config.max_attempts, config.breaker_failures) = (1, 1);
    let (scene, clock) = Scene::timed(Faults::always(status(403)), change).await;
    assert_eq!(scene.outcome().await, "forbidden");
    clock.advance(Duration::from_secs(10));
    scene.genesys.set_faults(Faults::default());
    let mut gone = scene.rest.mint(BUDGET);
    assert!((&mut gone).now_or_never().is_none(), "it is on its way");
    drop(gone);
    assert_eq!(scene.outcome().await, "breaker_open");
    clock.advance(Duration::from_secs(10));
    assert_eq!(scene.outcome().await, "session");
}

#[tokio::test]
async fn a_token_endpoint_that_fails_opens_the_breaker_once_a_call_and_not_once_a_visit() {
    let change = |config: &mut Config| (config.max_attempts, config.breaker_failures) = (1, 2);
    let faults = Faults { latency: ATTEMPT / 8, ..Faults::always(status(500)) }.on(Target::Token);
    let scene = Scene::new(faults, change).await;
    let outcomes = join_all((0..20).map(|_| scene.outcome())).await;
    assert!(outcomes.iter().all(|outcome| *outcome == "status"), "{outcomes:?}");
    assert_eq!(scene.token_calls(), 1);
    assert_eq!(scene.outcome().await, "status", "one failed call is no two");
    assert_eq!(scene.outcome().await, "breaker_open");
}

#[tokio::test]
async fn answers_that_say_that_genesys_works_never_open_the_breaker() {
    for trouble in [status(400), status(404), status(409), Trouble::Malformed(Malformation::NotJson)] {
        let scene = Scene::new(Faults::always(trouble.clone()), |config| config.breaker_failures = 1).await;
        for _ in 0..3 {
            assert_ne!(scene.outcome().await, "breaker_open", "{trouble:?}");
        }
    }
}

#[tokio::test]
async fn a_429_pauses_everybody_and_breaks_nothing() {
    let change = |config: &mut Config| config.breaker_failures = 1;
    let (scene, clock) = Scene::timed(Faults::next(1, asking(429, "30")), change).await;
    let spent = |seconds| Err(MintError::RateLimited { retry_after: Duration::from_secs(seconds) });
    assert_eq!(scene.mint().await, spent(30));
    clock.advance(Duration::from_secs(20));
    assert_eq!(scene.mint().await, spent(10));
    assert_eq!(scene.session_calls(), 1);
    clock.advance(Duration::from_secs(10));
    assert_eq!(scene.outcome().await, "session");
}

#[tokio::test]
async fn our_own_share_of_the_budget_is_kept_before_genesys_must_refuse() {
    let (scene, clock) = Scene::timed(Faults::default(), |config| config.rate_limit = 3).await;
    let mut outcomes = join_all((0..10).map(|_| scene.outcome())).await;
    outcomes.sort_unstable();
    assert_eq!((outcomes[6], outcomes[7], scene.session_calls()), ("rate_limited", "session", 3));
    clock.advance(Duration::from_secs(1));
    assert_eq!(scene.outcome().await, "session");
}

#[tokio::test]
async fn genesys_own_rate_limit_is_waited_out() {
    let settings = Settings { rate_limit: 1, ..Settings::default() };
    let scene = Scene::on(Arc::new(SystemClock::new()), settings, |_| {}).await;
    let minted = join_all((0..2).map(|_| scene.mint())).await;
    assert!(minted.iter().all(Result::is_ok), "{minted:?}");
    assert!(scene.statuses().contains(&429));
}

#[tokio::test]
async fn a_visit_ends_within_its_budget_whatever_hangs() {
    for target in [Target::Token, Target::Sessions] {
        let patient = |config: &mut Config| config.attempt_timeout = Duration::from_secs(30);
        let scene = Scene::new(Faults::always(Trouble::Hang).on(target), patient).await;
        let started = Instant::now();
        let minted = scene.rest.mint(Duration::from_millis(200)).await;
        let Err(MintError::TimedOut { waited }) = minted else { panic!("{minted:?}") };
        assert!(waited >= Duration::from_millis(200) && started.elapsed() < Duration::from_secs(2), "{waited:?}");
    }
}

#[tokio::test]
async fn an_answer_is_repeated_without_our_token_and_our_secret() {
    let rest = scripted(vec![TOKEN, ("418 Tea", r#"{"message":"I heard hush-token and hush-secret"}"#)]).await;
    let said = rest.mint(BUDGET).await.unwrap_err().to_string();
    assert_eq!(said, "Genesys answered 418: I heard … and …");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let session = ("201 Created", r#"{"id":"elsewhere","sessionToken":"abcdefghijklmnopqrst"}"#);
    let rest = scripted(vec![TOKEN, ("307 Away\r\nlocation: /elsewhere", ""), session]).await;
    assert!(matches!(rest.mint(BUDGET).await, Err(MintError::Status { status: 307, .. })));
}

const TOKEN: (&str, &str) = ("200 OK", r#"{"access_token":"hush-token","expires_in":600,"token_type":"Bearer"}"#);

/// A provider whose Genesys answers word by word: status line and body, one connection each.
async fn scripted(answers: Vec<(&'static str, &'static str)>) -> Rest {
    let parrot = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&format!("http://{}", parrot.local_addr().unwrap()));
    config.client_secret = SecretText::new("hush-secret".to_owned());
    tokio::spawn(async move {
        for (status, body) in answers {
            let (stream, _) = parrot.accept().await.unwrap();
            answer_once(stream, status, body).await;
        }
    });
    Rest::new(config, Arc::new(SystemClock::new()), Arc::new(Impatient)).unwrap()
}

#[tokio::test]
async fn faults_are_set_and_counters_read_over_http() {
    let scene = Scene::new(Faults::default(), |_| {}).await;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let url = |path: &str| format!("{}/simulator/{path}", scene.genesys.base_url());
    let set = |body: &'static str| client.post(url("faults")).body(body).send();
    assert_eq!(set(r#"{"status":400,"times":1}"#).await.unwrap().status(), 200);
    assert_eq!((scene.outcome().await, scene.outcome().await), ("bad_request", "session"));
    let refused = set(r#"{"hang":true,"cut":true}"#).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("only one of"));
    let state: serde_json::Value = client.get(url("state")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&state["token_calls"], &state["session_calls"], &state["sessions"]), (&1.into(), &2.into(), &1.into()));
    assert_eq!((&state["statuses"]["400"], &state["faults"]["times"]), (&1.into(), &0.into()));
}

/// Reads one request, however it comes in pieces, and answers it.
async fn answer_once(mut stream: tokio::net::TcpStream, status: &str, body: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut request = Vec::new();
    while !is_whole(&request) {
        let read = stream.read_buf(&mut request).await.unwrap();
        assert_ne!(read, 0, "the request ended early");
    }
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

async fn eventually(mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < patience, "it never came about");
        tokio::task::yield_now().await;
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
