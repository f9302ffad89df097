//! What the operator can see of a running proxy: each number after traffic that is known, and no more series however
//! many visitors come and whatever they say.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use guestpass::clock::{Clock, SystemClock};
use guestpass::demo::certificate;
use guestpass::keys::{self, RingRecord};
use guestpass::random::SystemRandom;
use http::StatusCode;
use reqwest::Response;
use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use crate::harness::program::Program;
use crate::harness::receiver::{Mood, Receiver, WEBHOOK_SECRET};
use crate::harness::{ANYWHERE, House, Plan, Town, eventually_found};

const TOKEN: &str = "a-token-of-the-tests";

/// The slowest are a step of the history, which takes seconds, and Prometheus' first look.
const PATIENCE: Duration = Duration::from_secs(20);

/// A plan with an operator's listener, on which one may mint as one likes.
fn plan() -> Plan {
    let limit: Table = "per = '1m'\nbrowsers = 10000\nothers = 10000".parse().unwrap();
    Plan::default().set("admin.address", "127.0.0.1:0").set("session.mint_limit", limit)
}

fn operator(town: &Town) -> SocketAddr {
    town.proxy.admin_address().unwrap()
}

async fn get(town: &Town, path: &str, accept: &str) -> Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("http://{}{path}", operator(town))).header("accept", accept).send().await.unwrap()
}

async fn status(town: &Town) -> Value {
    get(town, "/status", "*/*").await.json().await.unwrap()
}

/// The samples of `/metrics`, a line each.
async fn numbers(town: &Town) -> Vec<String> {
    let text = get(town, "/metrics", "text/plain").await.text().await.unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The number of the one series that begins so.
fn number(numbers: &[String], series: &str) -> f64 {
    let found: Vec<_> = numbers.iter().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).collect();
    assert_eq!(found.len(), 1, "{series}: {found:?} of\n{}", numbers.join("\n"));
    found[0].parse().unwrap()
}

/// The names and labels of all series.
fn series(numbers: &[String]) -> BTreeSet<String> {
    numbers.iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// A request is counted when its last byte has left, which may be a moment after it was read.
async fn counted(town: &Town, series: &str, expected: f64) {
    let what = format!("{series} is {expected}");
    eventually_found(&what, PATIENCE, async || {
        let numbers = numbers(town).await;
        ((number(&numbers, series) - expected).abs() < f64::EPSILON).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_number_follows_what_happened() {
    let town = Town::planned(plan()).await;
    let mut visitor = town.visitor();
    // A first visit, two more, one on a protected path, a stranger there, and a cookie that was made up.
    for path in ["/", "/a", "/b", "/account/"] {
        assert_eq!(visitor.visit(path).await.status, StatusCode::OK);
    }
    assert_eq!(town.visitor().visit("/account/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(town.visitor().holding("v1.x.y.z").visit("/account/").await.status, StatusCode::FORBIDDEN);

    let account = r#"{route="/account/**",upstream="site",class="#;
    counted(&town, &format!(r#"guestpass_requests_total{account}"4xx"}}"#), 2.0).await;
    let numbers = numbers(&town).await;
    let key = numbers.iter().find_map(|line| line.strip_prefix("guestpass_key_info{key=\"")).unwrap();
    let key = key.split('"').next().unwrap().to_owned();
    for (series, expected) in [
        (format!(r#"guestpass_requests_total{account}"2xx"}}"#), 1.0),
        (r#"guestpass_requests_total{route="/**",upstream="site",class="2xx"}"#.to_owned(), 3.0),
        (r#"guestpass_request_duration_seconds_count{route="/**",upstream="site"}"#.to_owned(), 3.0),
        (r#"guestpass_upstream_duration_seconds_count{route="/**",upstream="site"}"#.to_owned(), 3.0),
        (r#"guestpass_upstream_duration_seconds_count{route="/account/**",upstream="site"}"#.to_owned(), 1.0),
        (format!(r#"guestpass_cookie_readings_total{{reading="valid",key="{key}"}}"#), 3.0),
        (r#"guestpass_cookie_readings_total{reading="absent",key="none"}"#.to_owned(), 2.0),
        (r#"guestpass_cookie_readings_total{reading="malformed",key="none"}"#.to_owned(), 1.0),
        (r#"guestpass_mints_total{source="direct"}"#.to_owned(), 1.0),
        (r#"guestpass_mints_total{source="pool"}"#.to_owned(), 0.0),
        (r#"guestpass_refusals_total{code="session_required"}"#.to_owned(), 1.0),
        (r#"guestpass_refusals_total{code="session_invalid"}"#.to_owned(), 1.0),
        (r#"guestpass_genesys_calls_total{endpoint="token",status="200"}"#.to_owned(), 1.0),
        (r#"guestpass_genesys_calls_total{endpoint="sessions",status="201"}"#.to_owned(), 1.0),
        (r#"guestpass_genesys_token_fetches_total{result="fetched"}"#.to_owned(), 1.0),
        ("guestpass_genesys_breaker_open".to_owned(), 0.0),
        ("guestpass_mint_duration_seconds_count".to_owned(), 1.0),
        (r#"guestpass_tls_handshakes_total{version="1.3"}"#.to_owned(), 3.0),
    ] {
        assert!((number(&numbers, &series) - expected).abs() < f64::EPSILON, "{series}:\n{}", numbers.join("\n"));
    }
    assert!(number(&numbers, "guestpass_connections") >= 1.0);
    let expiry =
        numbers.iter().find(|line| line.starts_with("guestpass_certificate_expiry_timestamp_seconds")).unwrap();
    assert!(expiry.contains(r#"place="0",name="localhost""#), "{expiry}");
}

#[tokio::test]
async fn a_genesys_that_fails_shows_in_every_way() {
    let faults = guestpass::demo::genesys::Faults { error_rate: 1.0, ..Default::default() };
    let town = Town::planned(plan().set("genesys.breaker_failures", 1).faults(faults)).await;
    assert_eq!(town.visitor().visit("/").await.status, StatusCode::OK, "the site stays up");
    let numbers = numbers(&town).await;
    assert!(number(&numbers, "guestpass_genesys_breaker_open") > 0.0);
    assert!(number(&numbers, "guestpass_genesys_breaker_openings_total") > 0.0);
    let failures = numbers.iter().filter(|line| line.starts_with("guestpass_mint_failures_total"));
    let failures: f64 = failures.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
    assert!((failures - 1.0).abs() < f64::EPSILON);

    let status = status(&town).await;
    assert_eq!((&status["genesys"]["breaker"], &status["ready"]), (&"open".into(), &true.into()), "{status}");
    assert_eq!(get(&town, "/readyz", "*/*").await.status(), 200, "whoever has a session is served");
    let deep = get(&town, "/readyz?deep", "*/*").await;
    assert_eq!(deep.status(), 503);
    let problem: Value = deep.json().await.unwrap();
    assert_eq!(problem["code"], "not_ready");
    assert!(problem["detail"].as_str().unwrap().contains("Genesys"), "{problem}");
}

#[tokio::test]
async fn nothing_that_a_visitor_says_becomes_a_series() {
    let town = Town::planned(plan()).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor.visit("/account/").await;
    town.visitor().holding("v1.k0.y.z").visit("/account/").await;
    let before = series(&numbers(&town).await);
    for n in 0..1_000 {
        let path = format!("/{n}/%2e%2e/{n}?q={n}");
        match n % 4 {
            0 => town.visitor().holding(format!("v1.k{n}.eyJ4Ijox.{n}")).visit(&path).await,
            1 => visitor.visit(&path).await,
            2 => visitor.ask(format!("VERB{n}").parse().unwrap(), &format!("/account/{n}"), &[]).await,
            _ => {
                let (host, agent) = (format!("h{n}.example"), format!("agent {n}"));
                visitor
                    .holding(format!("v1.k{n}.y.z"))
                    .ask(http::Method::GET, &path, &[("x-forwarded-host", &host), ("user-agent", &agent)])
                    .await
            }
        };
    }
    let after = series(&numbers(&town).await);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
}

#[tokio::test]
async fn both_formats_say_the_same() {
    let town = Town::planned(plan()).await;
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let open_metrics = get(&town, "/metrics", prometheus).await;
    assert_eq!(open_metrics.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let open_metrics = open_metrics.text().await.unwrap();
    assert!(open_metrics.ends_with("# EOF\n"));
    let older = get(&town, "/metrics", "*/*").await;
    assert_eq!(older.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let older = older.text().await.unwrap();
    assert!(older.contains("# TYPE guestpass_requests_total counter\n") && !older.contains("# EOF"));
    let names =
        |text: &str| series(&text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(names(&open_metrics), names(&older));
}

#[tokio::test]
async fn the_documents_name_each_metric_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (ring, audit) = (folder.path().join("keys.toml"), folder.path().join("audit.log"));
    keys::create(&ring, "a test", &RingRecord::generate(&SystemRandom, SystemClock::new().now())).unwrap();
    let keys: Table = format!("file = '{}'", ring.display()).parse().unwrap();
    let plan = plan().set("keys", keys).set("audit.path", audit.display().to_string());
    let plan = plan.set("store.path", folder.path().display().to_string());
    // Nobody listens there.
    let plan = plan.set("kms.webhook_url", "http://127.0.0.1:1/").set("kms.webhook_secret", WEBHOOK_SECRET);
    let town = Town::planned(plan).await;
    town.visitor().visit("/").await;
    let text = get(&town, "/metrics", "text/plain").await.text().await.unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let shown: BTreeSet<&str> = types.collect();

    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/admin.md")).unwrap();
    let table = document.split_once("| metric | labels |").unwrap().1.split("\n\n").next().unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let named: BTreeSet<&str> =
        cells.flat_map(|cell| cell.split([',', ' ', '`'])).filter(|it| !it.is_empty()).collect();
    assert_eq!(named, shown);
}

#[tokio::test]
async fn how_the_outbox_fares_shows() {
    let store = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Mood::Answering(500)).await;
    let plan = plan().set("store.path", store.path().display().to_string());
    let plan = plan.set("kms.webhook_url", receiver.url()).set("kms.webhook_secret", WEBHOOK_SECRET);
    let town = Town::planned(plan.set("kms.give_up_after", "3s")).await;
    town.visitor().visit("/").await;
    // What is said of the journal may be a second old.
    counted(&town, "guestpass_outbox_messages", 1.0).await;
    let shown = status(&town).await["outbox"].clone();
    assert_eq!((&shown["messages"], &shown["dead_letters"], &shown["accepted"]), (&1.into(), &0.into(), &0.into()));
    assert!(shown["failed"].as_u64() > Some(0) && shown["oldest_age_seconds"].as_f64() > Some(0.0), "{shown}");
    assert_eq!((&shown["failing"], &shown["delivering"]), (&true.into(), &true.into()), "{shown}");
    let numbers = numbers(&town).await;
    assert!(number(&numbers, r#"guestpass_outbox_deliveries_total{result="failed"}"#) > 0.0);
    assert!(number(&numbers, "guestpass_outbox_oldest_age_seconds") > 0.0);
    assert!(number(&numbers, "guestpass_outbox_failing") > 0.0);

    counted(&town, "guestpass_outbox_dead_letters", 1.0).await;
    counted(&town, "guestpass_outbox_given_up_total", 1.0).await;
    receiver.is_now(Mood::Accepting);
    town.visitor().visit("/").await;
    counted(&town, r#"guestpass_outbox_deliveries_total{result="accepted"}"#, 1.0).await;
    for series in ["messages", "oldest_age_seconds", "failing", "unwritable"] {
        counted(&town, &format!("guestpass_outbox_{series}"), 0.0).await;
    }
}

#[tokio::test]
async fn the_status_tells_of_keys_certificates_upstreams_and_refusals() {
    let town = Town::planned(plan()).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor.visit("/").await;
    town.visitor().visit("/account/secret-path?token=1").await;
    let status = status(&town).await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["ready"], &status["not_ready_because"]), (&true.into(), &Value::Array(Vec::new())));
    let key = &status["keys"][0];
    assert_eq!((&key["state"], &key["verified"], &key["share"]), (&"signing".into(), &1.into(), &1.0.into()), "{key}");
    assert_eq!(status["certificates"][0]["names"][0], "localhost");
    let server = &status["upstreams"][0];
    assert_eq!((&server["upstream"], &server["healthy"]), (&"site".into(), &true.into()));
    let refusal = &status["refusals"][0];
    assert_eq!((&refusal["code"], &refusal["route"]), (&"session_required".into(), &"/account/**".into()));
    assert_eq!(refusal["client"], "127.0.0.0", "never the address");
    assert_eq!(status["audit"], Value::Null, "there is none");
    assert_eq!(status["outbox"], Value::Null, "nor one of these");
    let minutes = &status["last_minutes"];
    assert_eq!(minutes["validity"], 1.0);
    assert!(minutes["mint_seconds"]["p99"].as_f64().unwrap() > 0.0);
    let text = status.to_string();
    assert!(!text.contains("secret-path") && !text.contains("token=1"), "{text}");
}

#[tokio::test]
async fn of_an_address_the_status_shows_what_the_audit_log_may() {
    for (setting, shown) in [("full", Some("127.0.0.1")), ("truncated", Some("127.0.0.0")), ("none", None)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log").display().to_string();
        let plan = plan().set("audit.path", path).set("audit.client_address", setting);
        let town = Town::planned(plan).await;
        town.visitor().visit("/account/").await;
        assert_eq!(status(&town).await["refusals"][0]["client"], serde_json::json!(shown));

        // The refusal's line; the log's own, such as its opening, do not count.
        counted(&town, "guestpass_audit_lines_total", 1.0).await;
        let numbers = numbers(&town).await;
        assert!((number(&numbers, "guestpass_audit_lost_total")).abs() < f64::EPSILON);
        assert!((number(&numbers, "guestpass_audit_failing")).abs() < f64::EPSILON);

        let unwritten = Town::planned(self::plan().set("audit.path", "off").set("audit.client_address", setting)).await;
        unwritten.visitor().visit("/account/").await;
        assert_eq!(status(&unwritten).await["refusals"][0]["client"], serde_json::json!(shown), "without a log too");
    }
}

#[tokio::test]
async fn the_last_minutes_fill_by_themselves() {
    let town = Town::planned(plan()).await;
    town.visitor().visit("/").await;
    eventually_found("a step of the history", PATIENCE, async || {
        let status = status(&town).await;
        status["last_minutes"]["mints"].as_array().unwrap().first().cloned()
    })
    .await;
}

#[tokio::test]
async fn why_requests_were_refused_and_cookies_rejected_shows_at_once() {
    let town = Town::planned(plan()).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor.visit("/account/").await;
    town.visitor().visit("/account/").await;
    town.visitor().holding("v1.x.y.z").visit("/account/").await;
    let last = eventually_found("all are counted", PATIENCE, async || {
        let last = status(&town).await["last_minutes"].clone();
        (last["readings"]["absent"] == 2).then_some(last)
    })
    .await;
    assert_eq!(last["refusal_codes"], serde_json::json!({ "session_required": 1, "session_invalid": 1 }));
    assert_eq!(last["readings"], serde_json::json!({ "valid": 1, "absent": 2, "malformed": 1 }));
    assert_eq!((&last["validity"], &last["mint_failure_reasons"]), (&0.5.into(), &serde_json::json!({})));
    assert!(get(&town, "/status", "*/*").await.text().await.unwrap().ends_with("}\n"), "for a terminal");
}

#[tokio::test]
async fn whom_a_route_in_shadow_let_pass_is_counted_under_its_name() {
    let town = Town::planned(plan().routes(&[
        "path = \"/account/**\"\nsession = \"require\"\nshadow = true",
        "path = \"/vault/**\"\nsession = \"require\"",
    ]))
    .await;
    for _ in 0..3 {
        assert_eq!(town.visitor().visit("/account/").await.status, StatusCode::OK);
    }
    assert_eq!(town.visitor().visit("/vault/").await.status, StatusCode::UNAUTHORIZED);
    let numbers = numbers(&town).await;
    for (route, expected) in [("/account/**", 3.0), ("/vault/**", 0.0)] {
        let series = format!(r#"guestpass_shadowed_total{{route="{route}",upstream="site"}}"#);
        assert!((number(&numbers, &series) - expected).abs() < f64::EPSILON, "{series}");
    }
    assert_eq!(status(&town).await["shadowed"], serde_json::json!([{ "route": "/account/**", "requests": 3 }]));
}

#[tokio::test]
async fn what_became_of_a_new_configuration_shows() {
    let route = |session: &str| format!("route = [{{ path = \"/**\", session = \"{session}\" }}]");
    // A port that was free a moment ago: the program does not say which one it took.
    let operator = TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let with_admin = |session: &str| format!("admin.address = \"{operator}\"\n{}", route(session));
    let house = House::build(&with_admin("open"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let reloads = async || -> Value {
        let status = client.get(format!("http://{operator}/status")).send().await.unwrap();
        status.json::<Value>().await.unwrap()["reloads"].clone()
    };
    let told = |reloads: &Value| (reloads["taken"].clone(), reloads["refused"].clone(), reloads["last_result"].clone());
    assert_eq!(told(&reloads().await), (0.into(), 0.into(), Value::Null));
    let taken = || (1.into(), 0.into(), "taken".into());
    let refused = || (1.into(), 1.into(), "refused".into());
    for (session, expected) in [("require", taken()), ("requier", refused())] {
        house.configure(&with_admin(session));
        let seen = async || Some(reloads().await).filter(|reloads| told(reloads) == expected);
        let reloads = eventually_found("it was read again", PATIENCE, seen).await;
        assert!(reloads["last_at"].as_str().unwrap() <= &*SystemClock::new().now().to_string());
    }
    let text = client.get(format!("http://{operator}/metrics")).send().await.unwrap().text().await.unwrap();
    for result in ["taken", "refused"] {
        assert!(text.contains(&format!("guestpass_config_reloads_total{{result=\"{result}\"}} 1\n")), "{text}");
    }
}

#[tokio::test]
async fn a_site_that_is_gone_makes_it_unready() {
    let plan = plan().set("upstream.health_check", "path = '/'\ninterval = '1s'".parse::<Table>().unwrap());
    let Town { proxy, site, .. } = Town::planned(plan).await;
    let url = format!("http://{}/readyz", proxy.admin_address().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    drop(site);
    let detail = eventually_found("it is not ready", PATIENCE, async || {
        let answer = client.get(&url).send().await.unwrap();
        if answer.status() == 503 { Some(answer.json::<Value>().await.unwrap()["detail"].clone()) } else { None }
    })
    .await;
    assert!(detail.as_str().unwrap().contains("upstream"), "{detail}");
}

#[tokio::test]
async fn over_tls_looking_on_needs_the_token_unless_it_is_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
    let tls: Table = format!("chain = '{}'\nkey = '{}'", files.chain.display(), files.key.display()).parse().unwrap();
    // Every address of this machine is not loopback alone.
    let plan = plan().set("admin.address", "0.0.0.0:0").set("admin.token", TOKEN).set("admin.tls", tls);
    let town = Town::planned(plan).await;
    let port = operator(&town).port();
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    let client = client.resolve("localhost", here).resolve("rebound.example", here).build().unwrap();
    let ask = async |path: &str, token: Option<&str>| {
        let request = client.get(format!("https://localhost:{port}{path}"));
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(ask(path, None).await, 200, "{path} is open, and the page shows nothing by itself");
    }
    for path in ["/metrics", "/status"] {
        assert_eq!(ask(path, None).await, 401, "{path}");
        assert_eq!(ask(path, Some("another-token-of-the-tests")).await, 401, "{path}");
        assert_eq!(ask(path, Some(TOKEN)).await, 200, "{path}");
    }
    let other = client.get(format!("https://rebound.example:{port}/status"));
    assert_eq!(other.bearer_auth(TOKEN).send().await.unwrap().status(), 421);
}

/// A program that is there, or a test that says so.
fn run(program: &str, arguments: &[&str], input: Option<&str>) -> String {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

fn packaged(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus").join(name).display().to_string()
}

/// What Prometheus is started with here: the packaged configuration, with this proxy's address.
fn scraping(address: SocketAddr) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sample = fs::read_to_string(packaged("prometheus.yml")).unwrap();
    assert!(sample.contains("127.0.0.1:9180") && sample.contains("scrape_interval: 15s"));
    let here = sample.replace("127.0.0.1:9180", &address.to_string()).replace("15s", "1s");
    fs::write(folder.path().join("prometheus.yml"), here).unwrap();
    fs::copy(packaged("alerts.yml"), folder.path().join("alerts.yml")).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs promtool and prometheus"]
async fn prometheus_takes_the_numbers_the_rules_and_the_sample() {
    let town = Town::planned(plan()).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor.visit("/account/").await;
    town.visitor().visit("/account/").await;
    let text = get(&town, "/metrics", "text/plain").await.text().await.unwrap();
    assert_eq!(run("promtool", &["check", "metrics"], Some(&text)), "", "promtool finds fault with\n{text}");
    run("promtool", &["check", "rules", &packaged("alerts.yml")], None);
    run("promtool", &["test", "rules", &packaged("alerts_test.yml")], None);
    let folder = scraping(operator(&town));
    let path = |name: &str| folder.path().join(name).display().to_string();
    run("promtool", &["check", "config", &path("prometheus.yml")], None);

    let mut command = Command::new("prometheus");
    command.args(["--web.listen-address=127.0.0.1:0", &format!("--config.file={}", path("prometheus.yml"))]);
    let prometheus = Program::start({
        command.arg(format!("--storage.tsdb.path={}", path("data")));
        command
    });
    let listening = prometheus.says("msg=\"Listening on\" address=");
    let address = listening.split_whitespace().next().unwrap().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let query = async |query: &str| -> Vec<Value> {
        let answer = client.post(format!("http://{address}/api/v1/query")).form(&[("query", query)]).send().await;
        let Ok(answer) = answer else { return Vec::new() };
        let answer: Value = answer.json().await.unwrap();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    };
    let refused = async || query(r#"guestpass_requests_total{route="/account/**",class="4xx"}"#).await.pop();
    let found = eventually_found("Prometheus has the numbers", PATIENCE, refused).await;
    assert_eq!(found["value"][1], "1");
    let validity = query(r#"sum(guestpass_cookie_readings_total{reading="valid"}) / sum(guestpass_cookie_readings_total{reading!="absent"})"#).await;
    assert_eq!(validity[0]["value"][1], "1", "the rate is derivable");
    let rules: Value = client.get(format!("http://{address}/api/v1/rules")).send().await.unwrap().json().await.unwrap();
    assert!(rules["data"]["groups"][0]["rules"].as_array().unwrap().len() > 5, "{rules}");
}
