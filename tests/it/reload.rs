//! What has changed is read again while requests are under way, whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guestpass::app::{self, Given, World};
use guestpass::clock::SystemClock;
use guestpass::config::Watch;
use guestpass::context::Context;
use guestpass::demo::certificate;
use guestpass::demo::genesys::{self, DEMO_CLIENT, DEMO_ORGANIZATION, DEMO_SECRET, Simulator};
use guestpass::demo::site::{Settings, Site};
use guestpass::event::{Event, Sink};
use http::Method;
use rustls::pki_types::CertificateDer;

use crate::harness::{ANYWHERE, House, Visitor, eventually, raw};

const OPEN: &str = "route = [{ path = \"/**\", session = \"open\" }]";
const REQUIRED: &str = "route = [{ path = \"/**\", session = \"require\" }]";
const TAKEN: &str = "the configuration was read";
const REFUSED: &str = "the configuration cannot be used";

/// Without a session, to a path of the site.
async fn status(visitor: &Visitor) -> u16 {
    visitor.clone().ask(Method::GET, "/headers", &[]).await.status.as_u16()
}

#[tokio::test]
async fn a_connection_that_stays_open_meets_the_new_configuration() {
    let house = House::build(OPEN);
    let visitor = house.visitor();
    assert_eq!(status(&visitor).await, 200);
    house.configure(REQUIRED);
    house.says_again(TAKEN, 1).await;
    assert_eq!(status(&visitor).await, 401, "soon after the file has changed");
    house.configure(OPEN);
    house.program.signal("HUP");
    house.says_again(TAKEN, 2).await;
    assert_eq!(status(&visitor).await, 200, "at once when it is asked for");
}

#[tokio::test]
async fn a_request_under_way_ends_under_its_own_configuration() {
    let house = House::build(OPEN);
    let visitor = house.visitor();
    let slow = tokio::spawn(visitor.request(Method::POST, "/slow?ms=2500").send());
    eventually("it is under way", || !house.site.seen().is_empty()).await;
    house.configure(REQUIRED);
    house.says_again(TAKEN, 1).await;
    assert_eq!(status(&visitor).await, 401);
    assert!(!slow.is_finished());
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_bad_one_is_shown_with_its_line_and_leaves_the_last_good_one() {
    let house = House::build(REQUIRED);
    house.configure("route = [{ path = \"/**\", session = \"opne\" }]");
    house.says_again(REFUSED, 1).await;
    assert_eq!(status(&house.visitor()).await, 401);
    let said = house.program.complained();
    for words in ["proxy.toml:2:", "`route.session` is none of its values", "\"opne\"", "1 error"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    house.configure(OPEN);
    house.says_again(TAKEN, 1).await;
    assert_eq!(status(&house.visitor()).await, 200);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_is_taken() {
    let house = House::build(REQUIRED);
    house.configure(&format!("workers = 7\nlimits.headers = 50\nshutdown.grace = \"1s\"\n{OPEN}"));
    house.says_again("these stay as they were", 1).await;
    let said = house.program.complained();
    let said = said.lines().find(|line| line.contains("these stay as they were")).unwrap();
    assert!(said.contains("workers, limits, shutdown.grace\""), "{said}");
    assert_eq!(status(&house.visitor()).await, 200);
}

#[tokio::test]
async fn a_route_in_shadow_is_said_loudly_when_it_comes() {
    let house = House::build(REQUIRED);
    house.configure("route = [{ path = \"/**\", session = \"require\", shadow = true }]");
    house.says_again("NOTHING IS REFUSED on it", 2).await;
    assert_eq!(status(&house.visitor()).await, 200);
}

async fn shown(house: &House) -> CertificateDer<'static> {
    let stream = raw::connect(house.address, &["http/1.1"]).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn certificates_are_exchanged_by_themselves_and_a_bad_one_is_not_taken() {
    let house = House::build(OPEN);
    let first = shown(&house).await;
    // What is wrong with the configuration does not hold the certificates up.
    house.write("proxy.toml", "workers = 'many'");
    exchange_certificate(&house);
    house.says_again("the certificates were read", 1).await;
    let second = shown(&house).await;
    assert_ne!(first, second);
    house.write("demo.key", "no key");
    house.says_again("the certificates cannot be used", 1).await;
    assert_eq!(shown(&house).await, second);
    assert_eq!(status(&house.visitor()).await, 200);
}

/// As a certificate's tool does it: one file, then the other.
pub(crate) fn exchange_certificate(house: &House) {
    let fresh = tempfile::tempdir().unwrap();
    certificate::kept_in(fresh.path(), &SystemClock::new()).unwrap();
    for name in ["demo.pem", "demo.key"] {
        house.write(name, &std::fs::read_to_string(fresh.path().join(name)).unwrap());
    }
}

#[tokio::test]
async fn no_request_is_lost_while_it_reloads_again_and_again() {
    let house = House::build(OPEN);
    let done = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = [house.visitor(), Visitor::over_http2(house.address)]
        .into_iter()
        .flat_map(|visitor| [visitor.clone(), visitor])
        .map(|visitor| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                let mut count = 0_u32;
                while !done.load(Ordering::Relaxed) {
                    // A POST is not sent again by the client when its connection breaks.
                    let answer = visitor.request(Method::POST, "/echo-body").body("x").send().await.unwrap();
                    assert_ne!(answer.status(), 502);
                    answer.bytes().await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    while Instant::now() < until {
        rounds += 1;
        house.configure(&format!("{OPEN} # {rounds}"));
        house.program.signal("HUP");
        house.says_again(TAKEN, rounds).await;
    }
    done.store(true, Ordering::Relaxed);
    for visitor in crowd {
        assert!(visitor.await.unwrap() > 10);
    }
    assert!(rounds > 3);
}

#[tokio::test]
async fn what_outlives_a_configuration_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let genesys = Simulator::start(ANYWHERE, genesys::Settings::default()).await.unwrap();
    let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
    let path = folder.path().join("proxy.toml");
    let write = |others: u32, policy: &str| {
        let text = format!(
            r#"
            listen = [{{ address = "127.0.0.1:0", tls = false }}]
            genesys = {{ base_url = "{}", client_id = "{DEMO_CLIENT}", client_secret = "{DEMO_SECRET}", organization_id = "{DEMO_ORGANIZATION}" }}
            session.mint_limit = {{ per = "1h", browsers = 1, others = {others} }}
            keys.secret = "a test's secret, long enough to be one"
            store.path = "off"
            log.access = "off"
            upstream = [{{ name = "site", servers = ["http://{}"] }}]
            route = [{{ path = "/account/**", session = "{policy}" }}]
            "#,
            genesys.base_url(),
            site.address()
        );
        std::fs::write(&path, text).unwrap();
    };
    write(1, "require");
    let told = Arc::<Told>::default();
    let world = World { sink: Arc::clone(&told) as Arc<dyn Sink>, ..World::default() };
    let (watch, loaded) = Watch::open(&path, Box::new(|_| None), world.clock.now());
    let given = Given { watch: Some(watch), ..Given::default() };
    let proxy = app::start_given(loaded.config.unwrap(), world, given).unwrap();
    let newcomer = || Visitor::in_the_clear(proxy.addresses()[0]);
    let minted = || genesys.sessions().len();

    let mut visitor = newcomer();
    visitor.visit("/").await;
    newcomer().visit("/").await;
    assert_eq!(minted(), 1, "the second was one too many");

    write(1, "issue");
    proxy.reload().await;
    assert_eq!(newcomer().visit("/account/").await.status, 200, "the new one holds");
    assert_eq!(minted(), 1, "what an address has had is not forgotten");
    visitor.visit("/").await;
    assert!(site.seen().pop().unwrap().headers.contains_key("x-genesys-session-id"));

    write(2, "nonsense");
    proxy.reload().await;
    write(2, "issue");
    proxy.reload().await;
    newcomer().visit("/").await;
    assert_eq!(minted(), 2, "another limit begins anew");
    // Each may have been read by itself too, in the moment before it was asked for.
    let mut told = told.0.lock().unwrap().clone();
    told.dedup();
    assert_eq!(told, [true, false, true]);
}

/// Which reloads were taken.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<bool>>);

impl Sink for Told {
    fn notice(&self, event: &Event<'_>, _: Option<&Context>) {
        if let Event::ConfigReloaded { taken } = event {
            self.0.lock().unwrap().push(*taken);
        }
    }
}
