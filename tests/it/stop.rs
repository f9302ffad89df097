//! SIGTERM and SIGINT finish what is under way, and no more than that.

use std::net::SocketAddr;
use std::time::Duration;

use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use guestpass::demo::site::{Settings, Site};
use http::Method;

use crate::harness::program::{self, Program};
use crate::harness::{ANYWHERE, Visitor, eventually};

/// The program in front of a site; no Genesys stands behind it, and none is needed.
async fn running(grace: &str) -> (tempfile::TempDir, Site, Program, Visitor) {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
    certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
    let text = format!(
        r#"
        listen = [{{ address = "127.0.0.1:0" }}]
        tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
        genesys = {{ base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }}
        upstream = [{{ name = "site", servers = ["http://{}"] }}]
        shutdown.grace = "{grace}"
        "#,
        site.address()
    );
    std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
    let mut command = program::command(folder.path(), &["run"]);
    command.env("HMAC_SECRET", "a secret of the environment, long enough");
    let program = Program::start(command);
    let address: SocketAddr = program.says("listening address=").trim().parse().unwrap();
    (folder, site, program, Visitor::over_http1(address))
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_then_it_ends() {
    let (_folder, site, mut program, visitor) = running("10s").await;
    let slow = tokio::spawn({
        let mut visitor = visitor.clone();
        async move { visitor.ask(Method::POST, "/slow?ms=600", &[]).await }
    });
    eventually("it is under way", || !site.seen().is_empty()).await;
    program.signal("TERM");
    assert_eq!(slow.await.unwrap().status, 200);
    assert!(program.ends_within(Duration::from_secs(3)).success());
    let refused = visitor.request(Method::POST, "/").send().await;
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_takes_longer_than_the_grace_is_cut() {
    let (_folder, site, mut program, visitor) = running("300ms").await;
    let slow = tokio::spawn(visitor.request(Method::POST, "/slow?ms=60000").send());
    eventually("it is under way", || !site.seen().is_empty()).await;
    program.signal("TERM");
    assert!(program.ends_within(Duration::from_secs(3)).success());
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let (_folder, site, mut program, visitor) = running("60s").await;
    let slow = tokio::spawn(visitor.request(Method::POST, "/slow?ms=60000").send());
    eventually("it is under way", || !site.seen().is_empty()).await;
    program.signal("TERM");
    program.says("stopping");
    program.signal("INT");
    assert!(program.ends_within(Duration::from_secs(3)).success());
    assert!(slow.await.unwrap().is_err());
}
