//! The KMS hears of every session, at least once and in order, and no visitor waits for it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use guestpass::cookie;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use toml::Table;

use crate::audit;
use crate::harness::kills::killed_under_load;
use crate::harness::program::{self, Program};
use crate::harness::receiver::{Mood, Receiver, WEBHOOK_SECRET};
use crate::harness::{ANYWHERE, Machine, Plan, Town, Visitor, eventually, eventually_found};

/// A town whose proxy tells this receiver.
async fn telling(receiver: &Receiver, more: impl FnOnce(Plan) -> Plan) -> (TempDir, Town) {
    let store = tempfile::tempdir().unwrap();
    let plan = Plan::default()
        .set("kms.webhook_url", receiver.url())
        .set("kms.webhook_secret", WEBHOOK_SECRET)
        .set("store.path", store.path().to_str().unwrap())
        .set("session.mint_limit", no_limit());
    (store, Town::planned(more(plan)).await)
}

/// The session whose cookie somebody holds.
fn session_of(visitor: &Visitor) -> String {
    let cookie = visitor.cookie.as_ref().expect("the visit was given a session");
    cookie::peek(cookie.as_bytes(), "genesys_session", None).unwrap().session.unwrap().id
}

async fn sign_out(visitor: &Visitor) {
    let same_origin = ("sec-fetch-site", "same-origin");
    assert_eq!(visitor.clone().ask(Method::DELETE, "/_guestpass/session", &[same_origin]).await.status, 204);
}

fn no_limit() -> Table {
    "per = '1s'\nbrowsers = 100000\nothers = 100000".parse().unwrap()
}

/// The real program waits for up to half a minute before it tries a receiver again that has failed several times.
async fn in_the_end(what: &str, is_so: impl Fn() -> bool) {
    eventually_found(what, Duration::from_secs(40), async || is_so().then_some(())).await;
}

/// A machine whose proxy tells whoever listens at this URL, as often as anybody asks for a session.
async fn machine(url: &str, more: impl FnOnce(Plan) -> Plan) -> Machine {
    let plan = Plan::default()
        .set("kms.webhook_url", url)
        .set("kms.webhook_secret", WEBHOOK_SECRET)
        .set("store.path", "state")
        .set("genesys.rate_limit", 1000)
        .set("session.mint_limit", no_limit());
    Machine::planned(more(plan)).await
}

#[tokio::test]
async fn a_session_is_told_of_once_and_truly() {
    let receiver = Receiver::start(Mood::Accepting).await;
    let (_store, town) = telling(&receiver, |plan| plan).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let id = session_of(&visitor);
    eventually("it is told of", || receiver.heard().len() == 1).await;
    sign_out(&visitor).await;
    eventually("the end is told of", || receiver.heard().len() == 2).await;

    let health = town.proxy.outbox().unwrap();
    eventually("both were accepted", || health.delivered() == 2).await;
    eventually("nothing waits", || health.waiting() == 0 && health.oldest().is_none()).await;
    let heard = receiver.heard();
    assert_eq!((heard.len(), health.failed()), (2, 0));
    assert_ne!(heard[0].id, heard[1].id);
    let created = &heard[0].body;
    assert_eq!((&created["event"], &created["sessionId"]), (&"session.created".into(), &id.as_str().into()));
    let matrix = &created["keyRotationMatrix"];
    assert_eq!((&matrix["algorithm"], &matrix["rotationPolicy"]), (&"HMAC-SHA256".into(), &"manual".into()));
    let cookie = visitor.cookie.unwrap();
    assert!(cookie.contains(matrix["keyVersion"].as_str().unwrap()), "the very key of the cookie: {matrix}");
    let ends = cookie::peek(cookie.as_bytes(), "genesys_session", None).unwrap().session.unwrap().expires_at;
    // Cookies know whole seconds.
    let seconds = |text: &str| text.split('.').next().map(str::to_owned);
    assert_eq!(seconds(created["expirationDirective"].as_str().unwrap()), seconds(&ends.to_string()));
    assert_eq!(heard[1].body["event"], "session.revoked");
    for minted in town.genesys.sessions() {
        assert!(heard.iter().all(|delivery| !delivery.body.to_string().contains(minted.token.expose())), "no token");
    }
}

/// Visitors who come one after the other.
const CROWD: usize = 4;

/// All of them together take less than one delivery to whoever does not answer.
async fn visit_quickly(town: &Town, mood: Mood) -> Vec<Visitor> {
    let (asked, mut crowd) = (Instant::now(), vec![town.visitor(); CROWD]);
    for visitor in &mut crowd {
        assert_eq!(visitor.visit("/").await.status, 200);
    }
    assert!(asked.elapsed() < Duration::from_millis(1_400), "{mood:?}: {:?}", asked.elapsed());
    crowd
}

#[tokio::test]
async fn whatever_the_kms_does_no_visit_waits_and_nothing_is_lost() {
    let receiver = Receiver::start(Mood::Accepting).await;
    let (_store, town) = telling(&receiver, |plan| plan.set("kms.timeout", "1500ms")).await;
    let answers = [500, 410, 308].map(Mood::Answering);
    for mood in answers.into_iter().chain([Mood::Silent, Mood::Gone, Mood::Lying, Mood::Endless]) {
        receiver.is_now(mood);
        let before = receiver.heard().len();
        let visitors = visit_quickly(&town, mood).await;
        eventually("it is tried", || receiver.heard().len() > before).await;
        assert!(visitors.iter().all(|visitor| !receiver.knows(&session_of(visitor))), "{mood:?}");
        receiver.is_now(Mood::Accepting);
        for visitor in visitors {
            eventually("it is told of after all", || receiver.knows(&session_of(&visitor))).await;
        }
    }
    receiver.is_now(Mood::Slow);
    for visitor in visit_quickly(&town, Mood::Slow).await {
        eventually("a slow one is told of too", || receiver.knows(&session_of(&visitor))).await;
    }
    receiver.is_now(Mood::Hasty);
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    eventually("whoever answers before having read has it all the same", || receiver.knows(&session_of(&visitor)))
        .await;
    let all = receiver.heard().iter().map(|delivery| delivery.id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(all.len(), 8 * CROWD + 1, "a delivery keeps its id, however often it is tried");
}

#[tokio::test]
async fn of_each_session_the_end_is_not_told_before_the_beginning() {
    let receiver = Receiver::start(Mood::Answering(500)).await;
    let (_store, town) = telling(&receiver, |plan| plan).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        let mut visitor = town.visitor();
        visitor.visit("/").await;
        sign_out(&visitor).await;
        ids.push(session_of(&visitor));
    }
    eventually("some are tried", || receiver.heard().len() > 10).await;
    receiver.is_now(Mood::Accepting);
    eventually("all are told of", || receiver.accepted().len() == 20).await;
    for id in ids {
        let told: Vec<_> = receiver.accepted().into_iter().filter(|(_, session)| *session == id).collect();
        assert_eq!(
            told.iter().map(|(event, _)| event.as_str()).collect::<Vec<_>>(),
            ["session.created", "session.revoked"]
        );
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_is_handed_to_nobody_and_everything_else_goes_on() {
    let receiver = Receiver::start(Mood::Accepting).await;
    let (store, town) = telling(&receiver, |plan| plan).await;
    let mut regular = town.visitor();
    regular.visit("/").await;
    eventually("it is told of", || receiver.heard().len() == 1).await;
    // Another process that was stopped in the middle of a write.
    let other = rusqlite::Connection::open(store.path().join("outbox.db")).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut newcomer = town.visitor();
    let answer = newcomer.visit("/").await;
    assert_eq!((answer.status.as_u16(), answer.session_cookie().is_some()), (200, false));
    assert_eq!(regular.visit("/account/").await.status, 200, "who has a session notices nothing");
    assert!(town.proxy.outbox().unwrap().is_unwritable());
    other.execute_batch("ROLLBACK").unwrap();
    newcomer.visit("/").await;
    eventually("it goes on by itself", || receiver.knows(&session_of(&newcomer))).await;
}

/// Another `proxy.toml`, of which the program is told.
async fn reconfigure(machine: &Machine, program: &Program, change: impl FnOnce(&mut Table)) {
    let read = || program.complained().matches("the configuration was read").count();
    let before = read();
    let mut table: Table = fs::read_to_string(machine.path("proxy.toml")).unwrap().parse().unwrap();
    change(&mut table);
    fs::write(machine.path("proxy.toml"), table.to_string()).unwrap();
    program.signal("HUP");
    eventually("it is read", || read() > before).await;
}

#[tokio::test]
async fn after_a_reload_events_said_what_had_been_in_use_at_the_start() {
    let receiver = Receiver::start(Mood::Accepting).await;
    let keys: Table = "file = 'keys.toml'\nrotate_every = '30d'".parse().unwrap();
    let machine = machine(&receiver.url(), |plan| plan.set("keys", keys)).await;
    assert_eq!(machine.says(&["keys", "new", "keys.toml"]).0, Some(0));
    let (program, address) = machine.run();
    // Of the last event of this name how cookies are protected, by which key, and what becomes of that.
    let matrix = async |event: &str, count: usize| {
        let told = || receiver.heard().into_iter().map(|it| it.body).filter(|it| it["event"] == event);
        eventually("it is told of", || told().count() == count).await;
        let matrix = told().next_back().unwrap()["keyRotationMatrix"].clone();
        ["algorithm", "keyVersion", "rotationPolicy"].map(|name| matrix[name].as_str().unwrap().to_owned())
    };
    let visitor = async || {
        let mut visitor = Visitor::over_http1(address);
        visitor.visit("/").await;
        visitor
    };
    let first = visitor().await;
    let [algorithm, key, policy] = matrix("session.created", 1).await;
    assert_eq!((algorithm.as_str(), policy.as_str()), ("HMAC-SHA256", "30d"));

    reconfigure(&machine, &program, |table| {
        table.insert("cookie".to_owned(), "protection = 'sealed'".parse::<Table>().unwrap().into());
        table["keys"]["rotate_every"] = "60d".into();
    })
    .await;
    let sealed = ["AES-256-GCM", &key, "60d"].map(str::to_owned);
    visitor().await;
    assert_eq!(matrix("session.created", 2).await, sealed);
    sign_out(&first).await;
    assert_eq!(matrix("session.revoked", 1).await, sealed);
    let said = program.complained();
    assert!(!said.contains("these stay as they were"), "nothing waits for a restart: {said}");
    reconfigure(&machine, &program, |table| table["store"]["path"] = "elsewhere".into()).await;
    let waiting = || program.complained().lines().find(|line| line.contains("stay as they were")).map(str::to_owned);
    eventually("something waits for a restart", || waiting().is_some()).await;
    assert!(waiting().unwrap().contains("\"store.path\""), "and nothing but that: {waiting:?}", waiting = waiting());

    reconfigure(&machine, &program, |table| {
        table.insert(
            "keys".to_owned(),
            "secret = 'another secret, long enough to be one'".parse::<Table>().unwrap().into(),
        );
    })
    .await;
    let [_, other, policy] = matrix("key.rotated", 1).await;
    assert!(other != key && policy == "manual", "{other} {policy}");
    assert_eq!(matrix("key.retired", 1).await[1], other);
    visitor().await;
    assert_eq!(matrix("session.created", 3).await, ["AES-256-GCM", &other, "manual"].map(str::to_owned));
}

#[tokio::test]
async fn what_becomes_of_keys_is_told_of_and_what_the_operator_takes_back() {
    let receiver = Receiver::start(Mood::Accepting).await;
    let admin: Table = format!("address = '{ANYWHERE}'\ntoken = 'a-token-of-the-tests'").parse().unwrap();
    let keys: Table = "file = 'keys.toml'".parse().unwrap();
    let machine = machine(&receiver.url(), |plan| plan.set("keys", keys).set("admin", admin)).await;
    assert_eq!(machine.says(&["keys", "new", "keys.toml"]).0, Some(0));
    let (program, address) = machine.run();
    let url = format!("http://{}/sessions/revoke", program.says("listening for the operator admin=").trim());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let revoke = async |what: Value| {
        let asked = client.post(&url).bearer_auth("a-token-of-the-tests").json(&what).send().await;
        assert_eq!(asked.unwrap().status(), 200);
    };
    let told = async |event: &str, count: usize| {
        let told = || receiver.heard().into_iter().map(|it| it.body).filter(|it| it["event"] == event);
        eventually("it is told of", || told().count() == count).await;
        told().next_back().unwrap()
    };
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    let first = told("session.created", 1).await["keyRotationMatrix"]["keyVersion"].clone();

    revoke(json!({ "session_id": session_of(&visitor) })).await;
    assert_eq!(told("session.revoked", 1).await["sessionId"], session_of(&visitor));
    revoke(json!({ "issued_before": "2026-01-01T00:00:00Z" })).await;
    let revoked = told("session.revoked", 2).await;
    assert_eq!((&revoked["sessionId"], &revoked["issuedBefore"]), (&Value::Null, &"2026-01-01T00:00:00.000Z".into()));

    assert_eq!(machine.says(&["keys", "rotate", "--now"]).0, Some(0));
    let rotated = told("key.rotated", 1).await;
    let second = &rotated["keyRotationMatrix"]["keyVersion"];
    assert!(rotated["previousKeyVersion"] == first && *second != first, "{rotated}");
    assert_eq!(rotated["keyRotationMatrix"]["rotationPolicy"], "90d");
    assert_eq!(machine.says(&["keys", "retire", first.as_str().unwrap(), "--force"]).0, Some(0));
    let retired = told("key.retired", 1).await;
    assert_eq!((&retired["retiredKeyVersion"], &retired["keyRotationMatrix"]["keyVersion"]), (&first, second));
}

#[tokio::test]
async fn over_tls_it_tells_nobody_but_whom_the_configured_authority_vouches_for() {
    let (receiver, authority) = Receiver::over_tls(Mood::Accepting).await;
    for (name, is_trusted) in [("authority.pem", true), ("other.pem", false)] {
        let machine = machine(&receiver.url(), |plan| plan.set("kms.ca", name)).await;
        fs::write(machine.path("authority.pem"), &authority).unwrap();
        fs::copy(machine.path("demo.pem"), machine.path("other.pem")).unwrap();
        let (program, address) = machine.run();
        let mut visitor = Visitor::over_http1(address);
        visitor.visit("/").await;
        match is_trusted {
            true => eventually("it is told of", || receiver.knows(&session_of(&visitor))).await,
            false => {
                let refused = "the KMS did not accept an event, which is tried again";
                eventually(refused, || program.complained().contains(refused)).await;
                let why = program.says(refused);
                assert!(why.contains("certificate"), "{why}");
                assert!(!receiver.knows(&session_of(&visitor)));
            }
        }
    }
}

#[tokio::test]
async fn after_a_kill_the_next_process_tells_the_rest() {
    let receiver = Receiver::start(Mood::Answering(503)).await;
    let machine = machine(&receiver.url(), |plan| plan).await;
    let (mut program, address) = machine.run();
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    eventually("it is tried", || !receiver.heard().is_empty()).await;
    program.signal("KILL");
    assert!(!program.ends_within(Duration::from_secs(5)).success());
    receiver.is_now(Mood::Accepting);
    let _program = machine.run();
    in_the_end("it is told of", || receiver.knows(&session_of(&visitor))).await;
    let ids: BTreeSet<_> = receiver.heard().into_iter().map(|delivery| delivery.id).collect();
    assert_eq!(ids.len(), 1, "under the same id");
}

#[tokio::test]
async fn a_stop_leaves_nothing_to_be_told_twice() {
    let receiver = Receiver::start(Mood::Accepting).await;
    let machine = machine(&receiver.url(), |plan| plan).await;
    let (mut program, address) = machine.run();
    Visitor::over_http1(address).visit("/").await;
    eventually("it is told of", || receiver.heard().len() == 1).await;
    program.signal("TERM");
    assert!(program.ends_within(Duration::from_secs(5)).success());
    let (_program, address) = machine.run();
    Visitor::over_http1(address).visit("/").await;
    eventually("the next one is told of", || receiver.heard().len() >= 2).await;
    assert_eq!(receiver.heard().len(), 2);
}

#[tokio::test]
async fn two_processes_tell_in_order_and_the_second_takes_over() {
    let receiver = Receiver::start(Mood::Answering(500)).await;
    let machine = machine(&receiver.url(), |plan| plan).await;
    let (mut first, at_first) = machine.run();
    let mut visitor = Visitor::over_http1(at_first);
    visitor.visit("/").await;
    eventually("the first one tells", || !receiver.heard().is_empty()).await;
    let (_second, at_second) = machine.run();
    sign_out(&Visitor::over_http1(at_second).holding(visitor.cookie.clone().unwrap())).await;
    let told = || receiver.accepted().into_iter().map(|(event, _)| event).collect::<Vec<_>>();
    receiver.is_now(Mood::Accepting);
    in_the_end("the first one tells what the second one wrote", || told() == ["session.created", "session.revoked"])
        .await;
    first.signal("TERM");
    assert!(first.ends_within(Duration::from_secs(10)).success());
    let mut visitor = Visitor::over_http1(at_second);
    visitor.visit("/").await;
    in_the_end("then the second one tells", || receiver.knows(&session_of(&visitor))).await;
    assert_eq!(receiver.accepted().len(), 3);
}

#[tokio::test]
async fn what_is_given_up_is_listed_sent_again_or_dropped() {
    let receiver = Receiver::start(Mood::Answering(500)).await;
    let machine = machine(&receiver.url(), |plan| plan.set("kms.give_up_after", "1s")).await;
    let said = |arguments: &[&str]| {
        let output = program::run(machine.folder(), &[&["outbox"], arguments].concat());
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    assert_eq!(said(&["list"]), (Some(0), "there are no dead letters: nothing was ever to be told\n".to_owned()));
    let (_program, address) = machine.run();
    let (mut one, mut other) = (Visitor::over_http1(address), Visitor::over_http1(address));
    one.visit("/").await;
    other.visit("/").await;
    let (one, other) = (session_of(&one), session_of(&other));
    eventually("both are given up", || said(&["list"]).1.lines().count() == 2).await;
    let (_, list) = said(&["list"]);
    let line = |id: &str| list.lines().find(|line| line.contains(id)).expect("it is listed").to_owned();
    assert!(line(&one).contains("session.created") && line(&one).contains("500"), "{list}");
    assert_eq!(said(&["list", "--limit", "1"]).1.lines().count(), 2, "one, and that there is more");

    let id = line(&one).split_once(' ').unwrap().0.to_owned();
    assert_eq!(said(&["drop", &id]), (Some(0), "1 dropped\n".to_owned()));
    let (code, complaint) = said(&["drop", &id]);
    assert_eq!(code, Some(1), "{complaint}");
    receiver.is_now(Mood::Accepting);
    assert_eq!(said(&["retry", "--all"]), (Some(0), "1 to be delivered again\n".to_owned()));
    // After several failures the receiver is left alone for longer than is waited here before one more is given up.
    let told = || receiver.knows(&other) || (said(&["retry", "--all"]).0 == Some(0) && receiver.knows(&other));
    in_the_end("it is told of", told).await;
    assert!(!receiver.knows(&one));
    assert_eq!(said(&["list"]), (Some(0), "there are no dead letters\n".to_owned()));
    assert_eq!(said(&["drop"]).0, Some(2), "an id or --all is needed");
}

#[tokio::test]
async fn an_operators_call_sends_what_was_given_up_again() {
    let receiver = Receiver::start(Mood::Answering(500)).await;
    // A port that was free a moment ago: the program does not say which one it took.
    let operator = TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let operated =
        |plan: Plan| plan.set("admin.address", operator.to_string()).set("admin.token", "a-token-of-the-tests");
    let machine = machine(&receiver.url(), |plan| operated(plan.set("kms.give_up_after", "1s"))).await;
    let (_program, address) = machine.run();
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    let list = || program::run(machine.folder(), &["outbox", "list"]).stdout;
    eventually("it is given up", || String::from_utf8(list()).unwrap().starts_with("msg_")).await;
    receiver.is_now(Mood::Accepting);

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{operator}/outbox/retry");
    let retry = async |token: &str, body: Value| {
        let answer = client.post(&url).bearer_auth(token).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["retried"].clone())
    };
    assert_eq!(retry("another-token-of-the-tests", json!({ "all": true })).await.0, 401);
    assert_eq!(retry("a-token-of-the-tests", json!({})).await.0, 400);
    assert_eq!(retry("a-token-of-the-tests", json!({ "ids": ["msg_nobodys"] })).await, (200, 0.into()));
    assert_eq!(retry("a-token-of-the-tests", json!({ "all": true })).await, (200, 1.into()));
    eventually("it is told of", || receiver.knows(&session_of(&visitor))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs half a minute"]
async fn killed_at_any_moment_it_has_a_line_for_every_session_that_somebody_holds_and_tells_of_it() {
    let receiver = Receiver::start(Mood::Accepting).await;
    let logging = |plan: Plan| {
        let plan = plan.set("audit.path", "audit/session.log").set("audit.mode", "required");
        // Small ones, so that some are just begun or closed, of which all are kept.
        plan.set("audit.max_size", "64KiB").set("audit.keep", 100_000)
    };
    let machine = machine(&receiver.url(), logging).await;
    let mut held = BTreeSet::new();
    killed_under_load(&machine, |sessions| {
        let minted = audit::minted(&machine);
        for id in sessions {
            assert!(minted.contains(id), "{id} has no line");
        }
        let (code, said) = machine.says(&["audit", "verify"]);
        assert_eq!(code, Some(0), "{said}");
        held.extend(sessions.iter().cloned());
    })
    .await;
    let _program = machine.run();
    let told = || receiver.accepted().into_iter().map(|(_, session)| session).collect::<BTreeSet<_>>();
    eventually("all are told of", || held.is_subset(&told())).await;
    assert!(held.len() > 20, "that was no load: {}", held.len());
}

#[tokio::test]
#[ignore = "needs prlimit"]
async fn without_room_nobody_gets_a_session_and_those_pass_who_have_one() {
    let receiver = Receiver::start(Mood::Answering(500)).await;
    let routes = [
        "path = \"/account/**\"\nsession = \"require\"",
        "path = \"/lounge/**\"\nsession = \"require\"\non_missing = \"issue\"",
        "path = \"/strict/**\"\non_mint_failure = \"refuse\"",
    ];
    let machine = machine(&receiver.url(), |plan| plan.routes(&routes)).await;
    let (mut program, address) = machine.run();
    let mut early = Visitor::over_http1(address);
    assert!(early.visit("/lounge/").await.headers.contains_key("set-cookie"));

    program.limit_files("0");
    for _ in 0..20 {
        for (path, status) in [("/", 200), ("/lounge/", 503), ("/strict/", 503)] {
            let mut late = Visitor::over_http1(address);
            let answer = late.visit(path).await;
            assert_eq!((answer.status.as_u16(), late.cookie.as_ref()), (status, None), "{path}");
        }
        assert_eq!(early.visit("/account/").await.status, 200, "who has a session notices nothing");
    }
    assert_eq!(program.complained().matches("the outbox cannot be written").count(), 1, "which is said once");
    receiver.is_now(Mood::Accepting);
    eventually("what is there is told of", || receiver.knows(&session_of(&early))).await;

    program.limit_files("unlimited");
    let mut late = Visitor::over_http1(address);
    assert!(late.visit("/lounge/").await.headers.contains_key("set-cookie"), "it goes on by itself");
    eventually("that one is told of", || receiver.knows(&session_of(&late))).await;
    program.signal("TERM");
    assert!(program.ends_within(Duration::from_secs(10)).success());
    let (_program, address) = machine.run();
    let mut last = Visitor::over_http1(address);
    last.visit("/").await;
    eventually("the last one is told of", || receiver.knows(&session_of(&last))).await;
    assert_eq!(receiver.accepted().len(), 3, "and nothing twice: what was delivered without room is remembered");
}

/// `npm ci` in `tests/webhooks` brings the library.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node and npm"]
async fn the_stock_library_of_standard_webhooks_verifies_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhooks");
    let mut command = Command::new("node");
    command.args(["receiver.mjs", WEBHOOK_SECRET]).current_dir(folder);
    let stock = Program::start(command);
    let address: SocketAddr = format!("127.0.0.1:{}", stock.says("receiving on ")).parse().unwrap();
    let machine = machine(&format!("http://{address}/"), |plan| plan).await;
    let (_program, address) = machine.run();
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    sign_out(&visitor).await;
    for event in ["session.created", "session.revoked"] {
        stock.says(&format!("{event} {}", session_of(&visitor)));
    }
    assert!(!stock.said().contains("rejected"), "{}", stock.said());
}
