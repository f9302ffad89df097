//! Keys change under visitors who notice nothing, on every replica, by command and by themselves.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestpass::clock::{Clock, ManualClock, SystemClock, Timestamp};
use guestpass::cookie::{self, Jar};
use guestpass::genesys::EXPIRATION_SECONDS;
use guestpass::keys::{self, LONGEST_SESSION, RingRecord};
use guestpass::random::SystemRandom;
use guestpass::secret::SecretText;
use guestpass::session::Session;
use http::StatusCode;
use tempfile::TempDir;
use toml::Table;

use crate::harness::program::{self, Program};
use crate::harness::{Machine, Plan, Town, Visitor, eventually};

const STAGE_FOR: Duration = Duration::from_secs(600);

/// A ring file with one key.
struct Ring {
    _folder: TempDir,
    path: PathBuf,
}

impl Ring {
    fn new(now: Timestamp) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        keys::create(&path, "a test", &RingRecord::generate(&SystemRandom, now)).unwrap();
        Self { _folder: folder, path }
    }

    fn rotate(&self, stage_for: Duration, now: Timestamp) -> String {
        let rotate = |ring: &mut RingRecord| ring.rotate(stage_for, &SystemRandom, now);
        keys::change(&self.path, "a test", rotate).unwrap().to_string()
    }

    fn retire(&self, id: &str, now: Timestamp) {
        keys::change(&self.path, "a test", |ring| ring.retire(id, true, now)).unwrap();
    }

    fn count(&self) -> usize {
        keys::read(&self.path).unwrap().keys().count()
    }

    /// A proxy that uses it.
    async fn town(&self, clock: Arc<dyn Clock>) -> Town {
        let keys: Table = format!("file = '{}'", self.path.display()).parse().unwrap();
        let limit: Table = "per = '1m'\nbrowsers = 10000\nothers = 10000".parse().unwrap();
        let plan = Plan::default().set("keys", keys).set("session.mint_limit", limit);
        Town::planned(plan.clock(clock)).await
    }
}

fn winter() -> Timestamp {
    Timestamp::from_rfc3339("2026-11-22T00:00:00Z").unwrap()
}

fn key_of(visitor: &Visitor) -> String {
    visitor.cookie.as_deref().unwrap().split('.').nth(1).unwrap().to_owned()
}

async fn newcomer(town: &Town) -> Visitor {
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor
}

async fn status(visitor: &Visitor) -> StatusCode {
    visitor.clone().visit("/account/").await.status
}

/// Visits the protected path until that is what comes back.
async fn until_answered(visitor: &Visitor, expected: u16) {
    let patience = Instant::now() + Duration::from_secs(5);
    while status(visitor).await != expected {
        assert!(Instant::now() < patience, "the answer never was {expected}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends new visitors until one gets a cookie under this key.
async fn until_signed_with(town: &Town, id: &str) -> Visitor {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let visitor = newcomer(town).await;
        if key_of(&visitor) == id {
            return visitor;
        }
        assert!(Instant::now() < patience, "nothing was ever signed with {id}");
        // Sessions have a budget, and a clock that stands still never gives any of it back.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_key_verifies_for_as_long_as_a_session_can_last() {
    assert_eq!(LONGEST_SESSION.as_secs(), u64::from(*EXPIRATION_SECONDS.end()));
}

#[tokio::test]
async fn visitors_stay_through_a_rotation_and_go_with_their_key() {
    let clock = Arc::new(SystemClock::new());
    let ring = Ring::new(clock.now());
    let town = ring.town(clock.clone()).await;
    let early = newcomer(&town).await;
    let first = key_of(&early);

    let second = ring.rotate(Duration::ZERO, clock.now());
    let late = until_signed_with(&town, &second).await;
    assert_eq!((status(&early).await, status(&late).await), (StatusCode::OK, StatusCode::OK));

    ring.retire(&first, clock.now());
    // 401 and not 403: outdated, and not forged.
    until_answered(&early, 401).await;
    assert_eq!(status(&late).await, 200);
    let mut returning = early.clone();
    returning.visit("/").await;
    assert_eq!(key_of(&returning), second, "a visit gets a new session");
}

#[tokio::test]
async fn whoever_has_the_same_ring_accepts_the_cookie() {
    let clock = Arc::new(SystemClock::new());
    let ring = Ring::new(clock.now());
    let town = ring.town(clock.clone()).await;
    let visitor = newcomer(&town).await;
    let cookie = visitor.cookie.clone().unwrap();

    let replica = ring.town(clock.clone()).await;
    let stranger = Ring::new(clock.now()).town(clock.clone()).await;
    assert_eq!(status(&replica.visitor().holding(&cookie)).await, 200);
    assert_eq!(status(&stranger.visitor().holding(&cookie)).await, 401);
    assert_eq!((replica.minted(), stranger.minted()), (0, 0));

    drop(town);
    let restarted = ring.town(clock).await;
    assert_eq!(status(&restarted.visitor().holding(&cookie)).await, 200);
    assert_eq!(restarted.minted(), 0);
}

#[tokio::test]
async fn a_staged_key_is_known_everywhere_before_it_signs_anywhere() {
    let clock = Arc::new(ManualClock::at(winter()));
    let ring = Ring::new(winter());
    let town = ring.town(clock.clone()).await;
    let first = key_of(&newcomer(&town).await);
    let second = ring.rotate(STAGE_FOR, winter());
    let written = fs::read(&ring.path).unwrap();

    // The replica's clock is so fast that it signs with the new key already.
    let fast = ring.town(Arc::new(ManualClock::at(winter().plus(STAGE_FOR)))).await;
    let visitor = newcomer(&fast).await;
    assert_eq!(key_of(&visitor), second);
    until_answered(&town.visitor().holding(visitor.cookie.unwrap()), 200).await;
    assert_eq!(key_of(&newcomer(&town).await), first);

    clock.advance(STAGE_FOR);
    assert_eq!(key_of(&newcomer(&town).await), second, "at its moment, and without another look at the file");
    assert_eq!(fs::read(&ring.path).unwrap(), written, "which nobody wrote");
}

#[tokio::test]
async fn an_old_key_is_replaced_by_one_of_the_replicas() {
    let clock = Arc::new(ManualClock::at(winter()));
    let ring = Ring::new(winter());
    let towns = [ring.town(clock.clone()).await, ring.town(clock.clone()).await];
    clock.advance(keys::Config::ROTATE_EVERY);
    eventually("the next key is staged", || ring.count() > 1).await;
    clock.advance(keys::Config::STAGE_FOR);
    let second = keys::read(&ring.path).unwrap().keys().nth(1).unwrap().id().to_string();
    for town in &towns {
        until_signed_with(town, &second).await;
    }
    assert_eq!(ring.count(), 2, "and once is enough");
}

/// The program with a ring in its folder; no Genesys stands behind it, and none is needed.
fn running(folder: &Path) -> (Program, Visitor) {
    let text = r#"
        listen = [{ address = "127.0.0.1:0", tls = false, scheme = "https" }]
        genesys = { base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }
        upstream = [{ name = "site", servers = ["http://127.0.0.1:1"] }]
        keys.file = "keys.toml"
        route = [{ path = "/**", session = "require", on_missing = "refuse" }]
        "#;
    fs::write(folder.join("proxy.toml"), text).unwrap();
    let program = Program::start(program::command(folder, &["run"]));
    let address: SocketAddr = program.says("listening address=").trim().parse().unwrap();
    (program, Visitor::in_the_clear(address))
}

/// What `guestpass keys` prints in that folder.
fn guestpass_keys(folder: &Path, arguments: &[&str]) -> String {
    let output = program::run(folder, &[&["keys"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A session's cookie under the key that signs now.
fn cookie(ring: &Path) -> String {
    let now = SystemClock::new().now();
    let jar =
        Jar::new(cookie::Config::default(), keys::read(ring).unwrap().ring(), "o".to_owned(), Arc::new(SystemRandom));
    let session = Session {
        id: "session".to_owned(),
        token: SecretText::new("token".to_owned()),
        organization_id: "o".to_owned(),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(3600)),
    };
    let header = jar.write(&session, "localhost", now).unwrap();
    header.session.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn the_program_follows_its_ring_and_survives_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    guestpass_keys(folder.path(), &["new", "keys.toml"]);
    let (mut program, visitor) = running(folder.path());
    let early = visitor.holding(cookie(&path));
    // Nobody stands behind the proxy, so that whoever is let in reaches nothing.
    let (let_in, turned_away) = (502, 401);
    assert_eq!(status(&early).await, let_in);
    assert_eq!(status(&visitor).await, turned_away);

    // The ring is the one that the configuration in this folder names.
    let said = guestpass_keys(folder.path(), &["rotate", "--now"]);
    let second = said.split(' ').next().unwrap();
    program.says(&format!("the key ring was read signing={second}"));
    let late = visitor.holding(cookie(&path));
    assert_eq!((status(&early).await.as_u16(), status(&late).await.as_u16()), (let_in, let_in));

    let good = fs::read(&path).unwrap();
    fs::write(&path, "[[key]]\nid = ").unwrap();
    program.says("the key ring is broken");
    assert_eq!((status(&early).await.as_u16(), status(&late).await.as_u16()), (let_in, let_in));
    program.signal("HUP");
    eventually("asked for it, it says so again", || program.complained().matches("ring is broken").count() == 2).await;

    fs::write(&path, good).unwrap();
    let reads = || program.complained().matches("the key ring was read").count();
    eventually("it is read again", || reads() == 2).await;
    program.signal("HUP");
    eventually("and again, for the asking", || reads() == 3).await;
    assert_eq!(status(&late).await, let_in);
    assert!(!program.complained().contains("secret"), "{}", program.complained());
    program.signal("TERM");
    assert!(program.ends_within(Duration::from_secs(5)).success());
}

#[tokio::test]
async fn a_cookie_outlives_a_kill_and_is_good_at_a_second_replica() {
    for protection in ["signed", "sealed"] {
        let keys: Table = "file = 'keys.toml'".parse().unwrap();
        let plan = Plan::default().set("keys", keys).set("cookie.protection", protection);
        // Two machines, which have nothing in common but the ring.
        let [here, there] = [Machine::planned(plan.clone()).await, Machine::planned(plan).await];
        guestpass_keys(here.folder(), &["new", "keys.toml"]);
        fs::copy(here.folder().join("keys.toml"), there.folder().join("keys.toml")).unwrap();
        let (mut first, at_first) = here.run();
        let mut visitor = Visitor::over_http1(at_first);
        visitor.visit("/").await;
        let cookie = visitor.cookie.unwrap();
        let is_good =
            async |address| Visitor::over_http1(address).holding(&cookie).visit("/account/").await.status == 200;
        let (_second, at_second) = there.run();
        assert!(is_good(at_first).await && is_good(at_second).await, "{protection}");

        first.signal("KILL");
        assert!(!first.ends_within(Duration::from_secs(5)).success());
        let (_again, at_first) = here.run();
        assert!(is_good(at_first).await && is_good(at_second).await, "{protection}");
        assert_eq!((here.genesys.sessions().len(), there.genesys.sessions().len()), (1, 0));
    }
}

#[test]
fn the_command_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = program::run(folder.path(), arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["keys", "list"]);
    assert!(code == Some(78) && said.contains("proxy.toml") && said.contains("cannot be read"), "{code:?} {said}");
    // The configuration lacks everything else, and that does not matter here.
    fs::write(folder.path().join("proxy.toml"), "keys.file = 'ring.toml'\n").unwrap();
    let (code, said) = run(&["keys", "list"]);
    assert!(code == Some(1) && said.contains("ring.toml cannot be read: No such file"), "{code:?} {said}");
    fs::write(folder.path().join("proxy.toml"), "keys.secret = 'thirty-two bytes and a few more are here'\n").unwrap();
    let (code, said) = run(&["keys", "rotate"]);
    assert!(code == Some(1) && said.contains("guestpass keys new keys.toml"), "{code:?} {said}");
}

#[tokio::test]
async fn from_a_secret_to_a_ring_and_to_the_next_key_nobody_is_logged_out() {
    let machine = Machine::planned(Plan::default()).await;
    let (program, address) = machine.run();
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    let cookie = visitor.cookie.clone().unwrap();

    let (code, said) = machine.says(&["keys", "new", "keys.toml", "--from-secret"]);
    assert!(code == Some(0) && said.contains("env-"), "{said}");
    let mut planned: Table = fs::read_to_string(machine.path("proxy.toml")).unwrap().parse().unwrap();
    planned["keys"] = "file = 'keys.toml'".parse::<Table>().unwrap().into();
    fs::write(machine.path("proxy.toml"), planned.to_string()).unwrap();
    let said = program.says("the configuration was read again, and holds for every request from now on");
    assert!(said.contains("changed=\"keys\""), "{said}");
    assert!(visitor.visit("/").await.session_cookie().is_none());
    let (code, said) = machine.says(&["keys", "new", "again.toml", "--from-secret"]);
    assert!(code == Some(1) && said.contains("there is no secret to take over"), "{said}");

    let (code, said) = machine.says(&["keys", "rotate", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    program.says("the key ring was read");
    assert!(visitor.visit("/").await.session_cookie().is_none());
    assert_eq!(visitor.cookie.unwrap(), cookie, "the first cookie is good to its end");
    assert_eq!(machine.genesys.sessions().len(), 1);
}
