//! What `guestpass demo` and `guestpass simulate` start, and what the tests stand on: a Genesys simulator, a sample
//! site, and the proxy in front of both, over real HTTP on loopback.

pub mod certificate;
pub mod genesys;
pub mod narrator;
pub mod site;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};

use crate::app::{self, Proxy, World};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::random::{Random, SystemRandom};

use self::genesys::{Faults, Simulator};
use self::narrator::Narrator;
use self::site::Site;

/// How the demo is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The proxy's port on loopback; 0 takes any free one.
    pub port: u16,
    /// What goes wrong at the simulated Genesys.
    pub faults: Faults,
    /// Where the certificate is kept.
    pub certificates: PathBuf,
}

/// A demo that runs. All of it ends when it is dropped.
#[derive(Debug)]
pub struct Demo {
    /// The proxy.
    pub proxy: Proxy,
    /// Genesys.
    pub genesys: Simulator,
    /// The site.
    pub site: Site,
    /// What the operator's calls must bring, as long as it runs.
    pub admin_token: String,
}

impl Demo {
    /// Starts everything. Genesys and the site run on the current tokio runtime, the proxy on threads of its own.
    ///
    /// # Errors
    ///
    /// When the port is taken, or the certificate cannot be kept.
    pub async fn start(settings: Settings) -> Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let genesys = genesys::Settings { faults: settings.faults, ..genesys::Settings::default() };
        let genesys = Simulator::start(anywhere, genesys).await.context("the Genesys simulator cannot be started")?;
        let site = Site::start(anywhere, site::Settings::default()).context("the sample site cannot be started")?;
        let certificate = certificate::kept_in(&settings.certificates, &*clock)?;

        let admin_token = made_up::<8>();
        let files = [&*certificate.chain, &certificate.key];
        let text = configuration(settings.port, files, &admin_token, &genesys, &site);
        let loaded = config::parse("the demo's configuration", &text, Path::new(""), &|_| None, clock.now());
        let config = loaded.config.ok_or_else(|| anyhow!("{}", loaded.problems.render(false)))?;
        let sink = Arc::new(Narrator::start(Arc::clone(&clock))?);
        let proxy = app::start(config, World { clock, random: Arc::new(SystemRandom), sink })?;
        Ok(Self { proxy, genesys, site, admin_token })
    }
}

/// The demo is configured as any site is. Its key lasts as long as it runs, so a cookie of the last time is
/// Outdated, and no revocation need outlast it.
fn configuration(port: u16, [chain, key]: [&Path; 2], token: &str, genesys: &Simulator, site: &Site) -> String {
    let (chain, key, secret) = (chain.display(), key.display(), made_up::<32>());
    format!(
        r#"
[[listen]]
address = "127.0.0.1:{port}"

[tls]
[[tls.certificate]]
chain = "{chain}"
key = "{key}"

[genesys]
base_url = "{genesys}"
client_id = "{client_id}"
client_secret = "{client_secret}"
organization_id = "{organization}"

[session]
warm_pool = {{ size = 8 }}

[keys]
secret = "{secret}"

[store]
path = "off"

[audit]
path = "off"

[admin]
address = "127.0.0.1:0"
token = "{token}"

[[upstream]]
name = "site"
servers = ["http://{site}"]

[[route]]
path = "/public/**"
session = "open"

[[route]]
path = "/account/**"
session = "require"

[limits]
connections_per_address = 2000

[log]
access = "off"
"#,
        genesys = genesys.base_url(),
        client_id = genesys::DEMO_CLIENT,
        client_secret = genesys::DEMO_SECRET,
        organization = genesys::DEMO_ORGANIZATION,
        site = site.address(),
    )
}

/// So many bytes of chance, in hexadecimal.
fn made_up<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    SystemRandom.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
