//! The program as an operator runs it: in a folder of its own, in front of a site. No Genesys stands behind it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use guestpass::demo::site::{Settings, Site};
use tempfile::TempDir;

use super::program::{self, Program};
use super::{ANYWHERE, Visitor};

#[derive(Debug)]
pub(crate) struct House {
    folder: TempDir,
    pub(crate) site: Site,
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    upstream: Upstream,
}

/// Whom the program is in front of, and where it writes what it has asked them.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) servers: Vec<String>,
    pub(crate) log: &'static str,
}

impl House {
    /// With these lines in its configuration beside what is needed.
    pub(crate) fn build(extra: &str) -> Self {
        Self::build_with(extra, |_| {})
    }

    /// The same, with the environment as it is to be.
    pub(crate) fn build_with(extra: &str, surround: impl FnOnce(&mut std::process::Command)) -> Self {
        let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
        let upstream = Upstream { servers: vec![format!("http://{}", site.address())], log: "off" };
        Self::build_on(site, upstream, extra, surround)
    }

    /// In front of other servers than the site.
    pub(crate) fn build_before(upstream: Upstream, extra: &str) -> Self {
        Self::build_on(Site::start(ANYWHERE, Settings::default()).unwrap(), upstream, extra, |_| {})
    }

    fn build_on(
        site: Site,
        upstream: Upstream,
        extra: &str,
        surround: impl FnOnce(&mut std::process::Command),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
        fs::write(folder.path().join("proxy.toml"), upstream.text(extra)).unwrap();
        let mut command = program::command(folder.path(), &["run"]);
        command.env("HMAC_SECRET", "a secret of the environment, long enough");
        surround(&mut command);
        let program = Program::start(command);
        let address = program.says("listening address=").trim().parse().unwrap();
        Self { folder, site, program, address, upstream }
    }

    /// Writes another configuration, in one step, as a careful editor does.
    pub(crate) fn configure(&self, extra: &str) {
        self.write("proxy.toml", &self.upstream.text(extra));
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let fresh = self.path("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.path(name)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::over_http1(self.address)
    }

    /// Waits until its log says this again.
    pub(crate) async fn says_again(&self, words: &str, times: usize) {
        super::eventually(words, || self.program.complained().matches(words).count() >= times).await;
    }
}

impl Upstream {
    fn text(&self, extra: &str) -> String {
        let Self { servers, log } = self;
        format!(
            r#"
            {extra}
            listen = [{{ address = "127.0.0.1:0" }}]
            tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
            genesys = {{ base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }}
            upstream = [{{ name = "site", servers = {servers:?} }}]
            log.access = "{log}"
            "#
        )
    }
}
