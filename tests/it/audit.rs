//! What happens to a session is written down, and whatever is done to what was written shows.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use toml::Table;

use crate::harness::program::Program;
use crate::harness::{ANYWHERE, Machine, Plan, Visitor, eventually, eventually_found};

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// With an audit log, and a path below which whoever has no session gets one or 503.
fn plan() -> Plan {
    let routes = [
        "path = \"/account/**\"\nsession = \"require\"",
        "path = \"/lounge/**\"\nsession = \"require\"\non_missing = \"issue\"",
    ];
    Plan::default()
        .routes(&routes)
        .set("audit.path", "audit/session.log")
        .set("genesys.rate_limit", 1000)
        .set("session.mint_limit", table("per = \"1s\"\nbrowsers = 100000\nothers = 100000"))
}

fn table(text: &str) -> Table {
    text.parse().unwrap()
}

/// The sessions of which an audit log says that they were handed out. Its last line may be torn.
pub(crate) fn minted(machine: &Machine) -> BTreeSet<String> {
    let lines = text(machine);
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let minted = lines.filter(|line| line["event"] == "session.minted");
    minted.map(|line| line["sessionId"].as_str().unwrap().to_owned()).collect()
}

/// Everything in the audit log, the oldest first.
fn text(machine: &Machine) -> String {
    let Ok(folder) = fs::read_dir(machine.path("audit")) else { return String::new() };
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "log") && !path.is_symlink());
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn lines(machine: &Machine) -> Vec<Value> {
    text(machine).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until something has its line.
async fn written(machine: &Machine, event: &str) {
    eventually(event, || text(machine).contains(&format!("\"event\":\"{event}\""))).await;
}

/// What a line says, as far as it is the same each time.
fn shown(line: &Value) -> String {
    let text = |name: &str| match &line[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    ["event", "reason", "cookie", "cookieValid", "hmacVerified", "clientAddress"].map(text).join(" ")
}

fn end(program: &mut Program) {
    program.signal("TERM");
    assert!(program.ends_within(Duration::from_secs(10)).success(), "{}", program.complained());
}

/// The same cookie with another signature.
fn forged(cookie: &str) -> String {
    let (rest, tag) = cookie.rsplit_once('.').unwrap();
    let other = if tag.starts_with('A') { 'B' } else { 'A' };
    format!("{rest}.{other}{}", &tag[1..])
}

#[tokio::test]
async fn whom_a_route_in_shadow_let_pass_has_a_line_too() {
    let routes = ["path = \"/account/**\"\nsession = \"require\"\nshadow = true"];
    let machine = Machine::planned(plan().routes(&routes)).await;
    let (mut program, address) = machine.run();
    let visitor = Visitor::over_http1(address);
    assert_eq!(visitor.clone().visit("/account/").await.status, 200);
    assert_eq!(visitor.holding("v1.x.y.z").visit("/account/").await.status, 200);
    end(&mut program);
    let shown: Vec<_> = lines(&machine).iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "log.opened - - - - -",
            "access.shadowed session_required absent false false 127.0.0.0",
            "cookie.rejected malformed malformed false false 127.0.0.0",
            "access.shadowed session_invalid malformed false false 127.0.0.0",
        ]
    );
}

#[tokio::test]
async fn starts_that_failed_pushed_out_what_had_happened() {
    let taken = std::net::TcpListener::bind(ANYWHERE).unwrap();
    let admin = table(&format!("address = \"{}\"", taken.local_addr().unwrap()));
    let machine = Machine::planned(plan().set("admin", admin)).await;
    assert_eq!(machine.says(&["run"]).0, Some(1));
    assert!(!machine.path("audit").exists(), "what never served writes nothing");
}

#[tokio::test]
async fn each_thing_that_happens_has_its_line() {
    // A port that was free a moment ago, since the command must find it in the file.
    let free = std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let admin = table(&format!("address = \"{free}\"\ntoken = \"a-token-of-the-tests\""));
    let plan = plan().set("admin", admin).set("keys", table("file = \"keys.toml\""));
    let machine = Machine::planned(plan.set("audit.compliance", "GDPR, Art. 30")).await;
    assert_eq!(machine.says(&["keys", "new", "keys.toml"]).0, Some(0));
    let (mut program, address) = machine.run();

    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    let cookie = visitor.cookie.clone().unwrap();
    assert_eq!(visitor.visit("/account/").await.status, 200);
    let forger = visitor.holding(forged(&cookie));
    assert_eq!(forger.clone().visit("/account/").await.status, 403);
    forger.clone().visit("/").await;
    assert_eq!(Visitor::over_http1(address).visit("/account/").await.status, 401);
    visitor.clone().ask(Method::DELETE, "/_guestpass/session", &[SAME_ORIGIN]).await;
    assert_eq!(visitor.visit("/account/").await.status, 403);
    let second = machine.genesys.sessions()[1].id.clone();
    assert_eq!(machine.says(&["sessions", "revoke", &second]).0, Some(0));
    assert_eq!(machine.says(&["keys", "rotate", "--now"]).0, Some(0));
    written(&machine, "key.rotated").await;
    program.signal("HUP");
    written(&machine, "config.reloaded").await;
    end(&mut program);

    let lines = lines(&machine);
    let shown: Vec<_> = lines.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "log.opened - - - - -",
            "session.minted absent absent false false 127.0.0.0",
            "cookie.rejected forged forged false false 127.0.0.0",
            "access.refused session_invalid forged false false 127.0.0.0",
            "cookie.rejected forged forged false false 127.0.0.0",
            "session.minted forged forged false false 127.0.0.0",
            "access.refused session_required absent false false 127.0.0.0",
            "session.revoked sign_out valid true true 127.0.0.0",
            "cookie.rejected revoked revoked false true 127.0.0.0",
            "access.refused session_invalid revoked false true 127.0.0.0",
            "session.revoked operator - - - -",
            "key.rotated - - - - -",
            "config.reloaded taken - - - -",
        ]
    );
    let sessions = machine.genesys.sessions();
    for (place, session) in [(1, 0), (5, 1), (7, 0), (8, 0), (9, 0), (10, 1)] {
        assert_eq!(lines[place]["sessionId"], sessions[session].id, "{}", lines[place]);
    }
    for (place, line) in lines.iter().enumerate() {
        assert_eq!(line["sequence"], place + 1);
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{line}");
        let is_about_a_request = line["clientAddress"].is_string();
        assert_eq!(line["requestId"].is_string(), is_about_a_request, "{line}");
        assert_eq!(line["latencyMs"].is_number(), is_about_a_request, "{line}");
        assert_eq!(line["compliance"].is_string(), !line["event"].as_str().unwrap().starts_with("log."), "{line}");
    }
    assert!(lines[1]["keyVersion"].is_string() && lines[1]["keyVersion"] == lines[11]["keyVersionBefore"]);
    let text = text(&machine);
    for session in sessions {
        assert!(!text.contains(session.token.expose()), "no token");
    }
    assert!(!text.contains(&cookie), "no cookie");
    let (code, said) = machine.says(&["audit", "verify"]);
    assert!(code == Some(0) && said.contains("13 lines, whole; the head is 13:"), "{said}");
}

#[tokio::test]
async fn of_an_address_stands_there_what_the_setting_allows() {
    let table = [
        ("full", "198.51.100.7", Some("198.51.100.7")),
        ("truncated", "198.51.100.7", Some("198.51.100.0")),
        ("truncated", "2001:db8:1:2::3", Some("2001:db8:1::")),
        ("none", "198.51.100.7", None),
    ];
    for (setting, client, expected) in table {
        let trusted = vec!["127.0.0.0/8".to_owned()];
        let plan = plan().set("audit.client_address", setting).set("trust.proxies", trusted);
        let machine = Machine::planned(plan).await;
        let (mut program, address) = machine.run();
        Visitor::over_http1(address).ask(Method::GET, "/", &[("x-forwarded-for", client)]).await;
        end(&mut program);
        let lines = lines(&machine);
        assert_eq!(lines[1]["event"], "session.minted");
        assert_eq!(lines[1]["clientAddress"].as_str(), expected, "{setting}");
        assert!(expected == Some(client) || !text(&machine).contains(client), "{setting}");
    }
}

#[tokio::test]
async fn the_commands_show_it_and_say_where_it_was_changed() {
    let machine = Machine::planned(plan()).await;
    assert_eq!(machine.says(&["audit", "verify"]).0, Some(1), "there is none yet");
    let (mut program, address) = machine.run();
    for _ in 0..3 {
        Visitor::over_http1(address).visit("/").await;
    }
    Visitor::over_http1(address).visit("/account/").await;
    let (code, said) = machine.says(&["audit", "verify"]);
    assert_eq!(code, Some(0), "while it is written: {said}");
    end(&mut program);

    let show = |filters: &[&str]| {
        let (code, said) = machine.says(&[&["audit", "show"], filters].concat());
        assert_eq!(code, Some(0), "{said}");
        said.lines().count()
    };
    let session = machine.genesys.sessions()[1].id.clone();
    assert_eq!(show(&[]), 5);
    assert_eq!(show(&["--event", "session.minted"]), 3);
    assert_eq!(show(&["--session", &session]), 1);
    assert_eq!(show(&["--request", lines(&machine)[4]["requestId"].as_str().unwrap()]), 1);
    assert_eq!(show(&["--since", "2020-01-01T00:00:00Z"]), 5);
    assert_eq!(show(&["--until", "2020-01-01T00:00:00Z"]), 0);

    let (_, said) = machine.says(&["audit", "verify"]);
    let head = said.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(machine.says(&["audit", "verify", "--head", head]).0, Some(0), "{head}");
    let file = machine.path("audit/session-000001.log");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, whole.replace(&session, "somebody-else")).unwrap();
    let (code, said) = machine.says(&["audit", "verify"]);
    assert!(code == Some(1) && said.contains("session-000001.log:3: it was changed"), "{said}");
    // All of it is put back to how it never was, heads and all.
    fs::remove_dir_all(machine.path("audit")).unwrap();
    end(&mut machine.run().0);
    assert_eq!(machine.says(&["audit", "verify"]).0, Some(0), "which nothing here can know");
    let (code, said) = machine.says(&["audit", "verify", "--head", head]);
    assert!(code == Some(1) && said.contains("--head: no line has the number"), "{said}");
}

#[tokio::test]
#[ignore = "needs prlimit"]
async fn without_room_a_required_log_refuses_sessions_and_lets_those_in_who_have_one() {
    let machine = Machine::planned(plan().set("audit.mode", "required")).await;
    let (mut program, address) = machine.run();
    let mut early = Visitor::over_http1(address);
    assert!(early.visit("/lounge/").await.headers.contains_key("set-cookie"));

    program.limit_files("0");
    for _ in 0..20 {
        let mut late = Visitor::over_http1(address);
        let refused = late.visit("/lounge/").await;
        assert_eq!((refused.status.as_u16(), late.cookie.as_ref()), (503, None));
        let passed = late.visit("/").await;
        assert_eq!((passed.status.as_u16(), late.cookie.as_ref()), (200, None), "the site stays up");
        assert_eq!(early.visit("/account/").await.status, 200);
    }
    assert_eq!(program.complained().matches("the audit log cannot be written").count(), 1, "which is said once");

    program.limit_files("unlimited");
    let mut late = Visitor::over_http1(address);
    assert!(late.visit("/lounge/").await.headers.contains_key("set-cookie"), "it goes on by itself");
    end(&mut program);
    let events: Vec<_> = lines(&machine).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events.iter().filter(|event| *event == "session.minted").count(), 2, "{events:?}");
    assert!(events.iter().any(|event| event == "log.gap"), "{events:?}");
    let (code, said) = machine.says(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
#[ignore = "needs prlimit"]
async fn without_room_the_best_effort_counts_and_is_in_nobodys_way() {
    let free = std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let machine = Machine::planned(plan().set("admin.address", free.to_string())).await;
    let (mut program, address) = machine.run();
    Visitor::over_http1(address).visit("/lounge/").await;
    written(&machine, "session.minted").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let health = async || {
        let status = client.get(format!("http://{free}/status")).send().await.unwrap();
        status.json::<Value>().await.unwrap()["audit"].clone()
    };
    let shown = async |written: u64, lost: u64, failing: bool| {
        let expected = serde_json::json!({ "written": written, "lost": lost, "failing": failing });
        let look = async || Some(health().await).filter(|health| *health == expected);
        eventually_found(&expected.to_string(), Duration::from_secs(5), look).await;
    };
    shown(1, 0, false).await;

    program.limit_files("0");
    for _ in 0..20 {
        assert!(Visitor::over_http1(address).visit("/lounge/").await.headers.contains_key("set-cookie"));
    }
    program.says("the audit log cannot be written");
    shown(1, 20, true).await;
    program.limit_files("unlimited");
    Visitor::over_http1(address).visit("/lounge/").await;
    shown(2, 20, false).await;
    end(&mut program);
    let lines = lines(&machine);
    let gaps: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
    assert_eq!(gaps, 20);
    assert_eq!(lines.iter().filter(|line| line["event"] == "session.minted").count(), 2);
    let (code, said) = machine.says(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
}
