//! Genesys, a site, the proxy in front of both, and a visitor, all on real sockets.
//!
//! A test reads: raise a town, make a visitor, let him visit, and look at what the visitor, the site and Genesys each
//! saw.

pub(crate) mod front;
pub(crate) mod flood;
pub(crate) mod frames;
pub(crate) mod house;
pub(crate) mod kills;
pub(crate) mod machine;
pub(crate) mod plan;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod recorder;
pub(crate) mod visitor;

use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guestpass::app::{self, Proxy, World};
use guestpass::clock::{Clock, SystemClock};
use guestpass::config;
use guestpass::context::Context;
use guestpass::demo::certificate;
use guestpass::demo::genesys::{self, Simulator};
use guestpass::demo::site::{self, Seen, Site};
use guestpass::event::{Event, Recording, Sink, Unrecorded};
use guestpass::random::{Random, SystemRandom};
use tempfile::TempDir;

pub(crate) use self::house::House;
pub(crate) use self::machine::Machine;
pub(crate) use self::plan::Plan;
pub(crate) use self::visitor::Visitor;

/// Any free port on loopback.
pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Everything that a test needs around it. All of it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) proxy: Proxy,
    pub(crate) genesys: Simulator,
    pub(crate) site: Site,
    _folder: TempDir,
    events: Arc<Notebook>,
}

impl Town {
    /// The proxy as it is out of the box, with `/public/**` open and `/account/**` required.
    pub(crate) async fn raise() -> Self {
        Self::planned(Plan::default()).await
    }

    pub(crate) async fn planned(plan: Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = plan.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let settings = genesys::Settings {
            faults: plan.faults.clone(),
            rate_limit: 1000,
            clock: Arc::clone(&clock),
            ..genesys::Settings::default()
        };
        let genesys = Simulator::start(ANYWHERE, settings).await.unwrap();
        let settings = site::Settings { answer_headers: plan.answers.clone(), ..site::Settings::recording() };
        let site = Site::start(ANYWHERE, settings).unwrap();
        let certificate = certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();

        let text = plan.text(&genesys, &site, &certificate);
        let loaded = config::parse("plan", &text, Path::new(""), &|_| None, clock.now());
        let config = loaded.config.unwrap_or_else(|| panic!("{}\n{text}", loaded.problems.render(false)));
        let events = Arc::<Notebook>::default();
        let world = World { clock, random: Arc::new(Impatient), sink: Arc::clone(&events) as Arc<dyn Sink> };
        let proxy = app::start(config, world).unwrap();
        Self { proxy, genesys, site, _folder: folder, events }
    }

    /// The proxy's first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.addresses()[0]
    }

    /// Somebody with an empty cookie jar.
    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::over_http1(self.address())
    }

    /// How many sessions Genesys made.
    pub(crate) fn minted(&self) -> usize {
        self.genesys.sessions().len()
    }

    /// What the site received last.
    pub(crate) fn site_saw(&self) -> Seen {
        self.site.seen().pop().expect("the site received something")
    }

    /// The names of the events so far, in order.
    pub(crate) fn events(&self) -> Vec<&'static str> {
        self.events.told.lock().unwrap().clone()
    }

    /// Whether what must be in writing can be written down.
    pub(crate) fn can_record(&self, it_can: bool) {
        self.events.is_full.store(!it_can, Ordering::Relaxed);
    }
}

/// Draws no lot, so that no back-off waits, and is otherwise the system's.
#[derive(Debug)]
pub(crate) struct Impatient;

impl Random for Impatient {
    fn fill(&self, bytes: &mut [u8]) {
        SystemRandom.fill(bytes);
    }

    fn unit(&self) -> f64 {
        0.0
    }
}

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Notebook {
    told: Mutex<Vec<&'static str>>,
    is_full: AtomicBool,
}

impl Sink for Notebook {
    fn record<'a>(&'a self, _event: &'a Event<'a>, _context: Option<&'a Context>) -> Recording<'a> {
        let is_full = self.is_full.load(Ordering::Relaxed);
        let unrecorded = || Unrecorded { by: "the notebook", why: "it is full".to_owned() };
        Box::pin(ready(if is_full { Err(unrecorded()) } else { Ok(()) }))
    }

    fn notice(&self, event: &Event<'_>, _context: Option<&Context>) {
        let name = match event {
            Event::Minted { .. } => "minted",
            Event::Answered { .. } => return,
            Event::Verified { .. } => "verified",
            Event::CookieRejected { .. } => "rejected",
            Event::Conflicted { .. } => "conflicted",
            Event::Revoked { .. } => "revoked",
            Event::MintFailed { .. } => "mint failed",
            Event::MintLimited => "mint limited",
            Event::Refused { .. } => "refused",
            Event::Shadowed { .. } => "shadowed",
            Event::UpstreamSetOurCookie { .. } => "upstream set our cookie",
            _ => "something else",
        };
        self.told.lock().unwrap().push(name);
    }
}

/// Asks again until it is so, and gives up after five seconds.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually_found(what, Duration::from_secs(5), async || is_so().then_some(())).await;
}

/// The same for what takes a call to find out: looks again until there is something.
pub(crate) async fn eventually_found<T>(what: &str, patience: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < patience, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
