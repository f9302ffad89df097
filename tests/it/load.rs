//! What is promised holds under load.
//!
//! What is measured is the program itself, in a process of its own, as it is built for release. How fast it is stands
//! nowhere here.

/// A client that makes the load.
pub(crate) mod h2load;

/// No request fails and no memory is lost, however many there are.
mod endurance;
/// A body takes no memory, however long it is.
mod bodies;
/// A slow client costs the others nothing.
mod slow;
/// Keys are rotated, and nobody is refused.
mod rotation;
/// Genesys is dead for a minute.
mod outage;
/// From the warm pool a first visit gets its session in no time.
mod warm_pool;

use std::net::SocketAddr;
use std::time::Duration;

use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use tempfile::TempDir;

use crate::harness::Visitor;
use crate::harness::program::{self, Program};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// The proxy in front of a site, each in a process of its own. Below `/quiet` stands another site like it, so that one
/// can tell what the proxy does to somebody from what a site does whom others keep busy.
pub(crate) struct Street {
    _folder: TempDir,
    _sites: [Program; 2],
    pub(crate) proxy: Program,
    pub(crate) address: SocketAddr,
}

impl Street {
    pub(crate) fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = ["simulate", "site", "--listen", "127.0.0.1:0"];
        let sites = [(); 2].map(|()| Program::start(program::command(folder.path(), &listen)));
        let [site, quiet] = sites.each_ref().map(|site| site.says("a sample site stands at "));
        certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
        // One core for all, so that whoever is held up shows. No Genesys is there, and none is needed.
        let text = format!(
            r#"
            workers = 1
            listen = [{{ address = "127.0.0.1:0" }}]
            tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
            genesys = {{ base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }}
            upstream = [{{ name = "site", servers = ["{}"] }}, {{ name = "quiet", servers = ["{}"] }}]
            route = [
                {{ path = "/**", session = "open" }},
                {{ path = "/quiet/**", session = "open", upstream = "quiet" }},
            ]
            log.access = "off"
            "#,
            site.trim_end_matches('/'),
            quiet.trim_end_matches('/')
        );
        std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
        let mut command = program::command(folder.path(), &["run"]);
        command.env("HMAC_SECRET", "a secret of the environment, long enough");
        let proxy = Program::start(command);
        let address = proxy.says("listening address=").trim().parse().unwrap();
        Self { _folder: folder, _sites: sites, proxy, address }
    }

    pub(crate) fn visitors(&self) -> [Visitor; 2] {
        [Visitor::over_http1(self.address), Visitor::over_http2(self.address)]
    }
}

pub(crate) fn memory(program: &Program) -> u64 {
    resident(program.id())
}

/// The bytes of a process that stand in memory now (proc_pid_status(5), `VmRSS`).
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Of a hundred equal parts of these, the one that `part` of them do not exceed.
pub(crate) fn percentile(mut all: Vec<Duration>, part: usize) -> Duration {
    assert!(!all.is_empty(), "nothing was measured");
    all.sort_unstable();
    all[(all.len() * part / 100).min(all.len() - 1)]
}
