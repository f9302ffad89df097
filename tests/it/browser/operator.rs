//! The operator's page in headless Chromium, driven by `tests/browser/operator.mjs`, and pictures of it.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use guestpass::clock::{Clock, SystemClock};
use guestpass::keys::{self, RingRecord};
use guestpass::random::SystemRandom;
use http::Method;
use serde_json::json;
use toml::Table;

use crate::harness::program::{self, Program};
use crate::harness::{Plan, Town, Visitor};

use super::{drive, kept};

const TOKEN: &str = "a-token-of-the-tests";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium, node and npm"]
async fn the_operators_page_keeps_to_itself_and_changes_things_with_the_token_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ring = folder.path().join("keys.toml");
    keys::create(&ring, "test", &RingRecord::generate(&SystemRandom, SystemClock::new().now())).unwrap();
    let file: Table = format!("file = '{}'", ring.display()).parse().unwrap();
    let plan = || Plan::default().set("admin.address", "127.0.0.1:0");
    let town = Town::planned(plan().set("admin.token", TOKEN).set("keys", file)).await;
    let without = Town::planned(plan()).await;
    let address = |town: &Town| format!("http://{}/", town.proxy.admin_address().unwrap());
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    without.visitor().visit("/").await;
    let world = json!({
        "operator": address(&town),
        "tokenless": address(&without),
        "token": TOKEN,
        "session": town.genesys.sessions()[0].id,
        "ring": ring,
    });
    drive("operator.mjs", &world);
    assert_eq!(visitor.visit("/account/").await.status, 403, "the page has revoked it");
}

/// The demo under load, well and while Genesys fails.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium, node and npm"]
async fn the_operators_page_is_kept_in_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Program::start(program::command(folder.path(), &["demo", "--port", "0"]));
    let port = demo.says("guestpass, in front of the site   https://localhost:");
    let site = SocketAddr::from(([127, 0, 0, 1], port.trim_end_matches('/').parse().unwrap()));
    let page = demo.says("how it fares, for its operator    ");
    let genesys = demo.says("Genesys Cloud, simulated          ");
    let visitors: Vec<_> = (0..6).map(|place| tokio::spawn(come_and_go(site, place))).collect();
    let picture = |name: &str, words: &str| {
        let world = json!({ "page": page, "folder": kept(), "name": name, "words": words });
        tokio::task::block_in_place(|| drive("pictures.mjs", &world));
    };
    tokio::time::sleep(Duration::from_secs(10)).await;
    picture("well", "Genesys answers.");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let faults = client.post(format!("{genesys}/simulator/faults")).body(r#"{"status":503}"#);
    assert!(faults.send().await.unwrap().status().is_success());
    picture("failing", "Genesys keeps failing");
    visitors.iter().for_each(tokio::task::JoinHandle::abort);
    for name in ["well", "failing"].into_iter().flat_map(|name| {
        ["desktop-light", "desktop-dark", "phone-light", "phone-dark"]
            .map(|looks| format!("operator-{name}-{looks}.png"))
    }) {
        let picture = fs::read(kept().join(&name)).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name}");
    }
}

/// One after another: each looks around with a session for a while, and some try what is refused.
async fn come_and_go(site: SocketAddr, place: usize) {
    let browser = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "none")];
    let mut visitor = Visitor::over_http1(site);
    for step in place * 7.. {
        match step % 40 {
            0 => {
                visitor = Visitor::over_http1(site);
                visitor.ask(Method::GET, "/", &browser).await;
            }
            11 => drop(visitor.holding("v1.x.y.z").visit("/account/").await),
            25 => drop(Visitor::over_http1(site).ask(Method::GET, "/account/orders?q=1", &browser).await),
            _ if visitor.cookie.is_none() => drop(visitor.ask(Method::GET, "/", &browser).await),
            _ => drop(visitor.ask(Method::GET, ["/", "/account/"][step % 2], &browser).await),
        }
        // As fast as somebody who clicks in a hurry.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
